"""What the device sampler refuses without a GPU."""

import pytest
import torch
from support.sampling import make_pack

from fastpose.data import DeviceClipSampler


def test_the_cpu_is_refused():
    with pytest.raises(ValueError, match="needs a CUDA device, got cpu; ClipSampler serves the CPU"):
        DeviceClipSampler(make_pack([(1, 9)]), device="cpu")


def test_a_missing_device_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="needs a CUDA device, and torch finds none for cuda"):
        DeviceClipSampler(make_pack([(1, 9)]))
