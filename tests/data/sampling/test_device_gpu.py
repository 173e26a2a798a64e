"""The device sampler on a GPU, against ClipSampler."""

import numpy as np
import pytest
import torch
from support.sampling import make_pack

from fastpose.data import DeviceClipSampler
from fastpose.data.sampling.batch import AlphaRange
from fastpose.data.sampling.sampler import ClipSampler
from fastpose.settings.families import FAMILIES

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize(
    "rules", [{}, {"frame_rule": "resample", "crop": "frame"}], ids=["default", "published MotionBERT"]
)
@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("alpha", [0.0, 0.3, AlphaRange(0.0, 0.2), "per clip"], ids=str)
@pytest.mark.parametrize("clip_len", [1, 24, 100])
def test_equals_the_native_sampler(clip_len, alpha, train, rules):
    pack = make_pack([(1 + i % 3, 1 + 2 * i) for i in range(150)], 25, missing=0.1, movement=5000.0)
    settings = {"clip_len": clip_len, "train": train, "seed": 2**63 + 5, **rules}
    native, device = ClipSampler(pack, **settings), DeviceClipSampler(pack, **settings)
    order = np.random.default_rng(0).permutation(150)
    if isinstance(alpha, str):
        alpha = np.linspace(0, 0.3, 150)
    for indices in (order, torch.from_numpy(order).cuda()):
        for flip in (None, True):
            request = {"epoch": 2**32 - 1, "stream": 15, "alpha": alpha, "flip": flip}
            expected, got = native.batch(order, **request), device.batch(indices, **request)
            for name in ("labels", "frames", "indices"):
                assert torch.equal(getattr(got, name).cpu(), getattr(expected, name))
            assert (got.draws is None) == (not train)
            assert not train or torch.equal(got.draws.cpu(), expected.draws)
            assert torch.equal(got.keypoints[..., 2].cpu(), expected.keypoints[..., 2])
            torch.testing.assert_close(got.keypoints.cpu(), expected.keypoints, rtol=0, atol=1e-3)


@pytest.mark.parametrize("family", [*FAMILIES, "all"])
def test_families_equal_those_of_the_native_sampler(family):
    families = FAMILIES if family == "all" else (family,)
    pack = make_pack([(1 + i % 3, 1 + 2 * i) for i in range(150)], 25, missing=0.1, movement=5000.0)
    for train in (True, False):
        samplers = (
            sampler(pack, train=train, seed=2**63 + 5) for sampler in (ClipSampler, DeviceClipSampler)
        )
        expected, got = (
            sampler.batch(range(150), epoch=3, stream=1, alpha=AlphaRange(0.0, 0.3), families=families)
            for sampler in samplers
        )
        assert torch.equal(got.frames.cpu(), expected.frames)
        assert torch.equal(got.keypoints[..., 2].cpu(), expected.keypoints[..., 2])
        torch.testing.assert_close(got.keypoints.cpu(), expected.keypoints, rtol=0, atol=1e-3)


def test_a_batch_does_not_wait_for_the_device():
    sampler = DeviceClipSampler(make_pack([(2, 90)] * 64, 17))
    indices = torch.arange(64, device="cuda")
    sampler.batch(indices, alpha=0.1, families=FAMILIES)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for families in (("gaussian",), FAMILIES):
            sampler.batch(indices, epoch=1, alpha=AlphaRange(0.0, 0.1), families=families)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize(
    "indices", [torch.zeros(2, 2, dtype=torch.int64), torch.zeros(2)], ids=["2-d", "float"]
)
def test_wrong_device_indices(indices):
    with pytest.raises(ValueError, match=r"indices must be integers \[B\]"):
        DeviceClipSampler(make_pack([(1, 9)])).batch(indices.cuda())
