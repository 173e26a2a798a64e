"""Where models run: names, and what each of them excludes."""

import pytest
import torch

from fastpose.system import environment
from fastpose.system.placement import Placement


@pytest.mark.parametrize(
    ("precision", "dtype", "autocasts"),
    [("fp32", torch.float32, False), ("bf16", torch.bfloat16, True), ("int8", torch.int8, False)],
)
def test_dtypes(precision, dtype, autocasts):
    placement = Placement.choose("cpu", precision, evaluates=True)
    assert placement.dtype == dtype
    assert str(placement) == f"{str(dtype).removeprefix('torch.')} on cpu"
    with placement.autocast():
        assert torch.is_autocast_enabled("cpu") == autocasts


def test_training_has_no_whole_numbers():
    with pytest.raises(ValueError, match="precision = 'int8': expected auto, bf16 or fp32"):
        Placement.choose("cpu", "int8")
    with pytest.raises(ValueError, match="precision = 'int4': expected auto, bf16, fp32 or int8"):
        Placement.choose("cpu", "int4", evaluates=True)


def test_whole_numbers_without_their_instructions(monkeypatch, recwarn):
    for flags, told in [({"avx2", "avx_vnni"}, 1), ({"avx512f", "avx512_vnni"}, 0)]:
        monkeypatch.setattr(environment, "cpu_flags", lambda flags=flags: flags)
        recwarn.clear()
        Placement.choose("cpu", "int8", evaluates=True)
        assert [str(each.message) for each in recwarn] == told * [
            "precision = 'int8' is slower than fp32 on this processor, which has no AVX512-VNNI"
        ]


def test_whole_numbers_are_refused_on_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(
        ValueError, match=r"precision = 'int8' runs on the CPU alone: device = 'cpu' is expected"
    ):
        Placement.choose("auto", "int8", evaluates=True)
    assert Placement.choose("cpu", "int8", evaluates=True).device.type == "cpu"
