"""The device sampler's kernels against ClipSampler. Run with TRITON_INTERPRET=1."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.effort import few
from support.sampling import make_pack, moving_pack, sampling_cases
from triton.runtime import interpreter

from fastpose.data.sampling.device import DeviceClipSampler
from fastpose.data.sampling.kernels_noise import noised_clips
from fastpose.data.sampling.philox import philox4x32_10
from fastpose.data.sampling.sample_prior import SamplePrior
from fastpose.data.sampling.sampler import ClipSampler
from fastpose.settings.families import FAMILIES


def assert_equals_native(pack, indices, *, request, **named):
    native = ClipSampler(pack, **named).batch(indices, **request)
    device = DeviceClipSampler(pack, device="cpu", **named).batch(indices, **request)
    assert torch.equal(device.frames, native.frames)
    assert torch.equal(device.labels, native.labels)
    assert torch.equal(device.indices, native.indices)
    assert (device.draws is None) == (native.draws is None)
    assert native.draws is None or torch.equal(device.draws, native.draws)
    assert torch.equal(device.keypoints[..., 2], native.keypoints[..., 2])
    np.testing.assert_allclose(device.keypoints, native.keypoints, rtol=0, atol=1e-4)
    return device


@few
@given(
    sampling_cases(
        seeds=st.sampled_from([0, 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1]),
        epochs=st.sampled_from([0, 1, 2**31, 2**32 - 1]),
    )
)
def test_equals_the_native_sampler(case):
    pack, sampler_settings, request = case
    assert_equals_native(pack, range(len(pack.labels)), **sampler_settings, request=request)


@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_equals_the_native_one(family):
    pack = make_pack([(1, 1), (3, 9), (2, 6)], 7, missing=0.2)
    alphas = np.array([0.3, 0.1, 0.2])
    for train, alpha in ((True, alphas), (False, 1000.0)):
        request = {"epoch": 3, "stream": 1, "alpha": alpha, "families": (family,)}
        assert_equals_native(pack, [0, 1, 2], clip_len=5, train=train, size=(20, 30), request=request)


@pytest.mark.parametrize("alpha", [0.0, 0.2])
def test_whole_noised_clips(alpha):
    pack = make_pack(
        [(1, 4), (3, 7)], 40, missing=0.2
    )  # 80 elements of two persons, more than a program takes
    pack.scores[0, 0] = 1e-44
    device = DeviceClipSampler(pack, device="cpu", max_persons=2)
    for families in [("gaussian",), FAMILIES, ("drop_random",)]:
        keypoints, lengths, places = noised_clips(
            device._arrays, device.settings, torch.tensor([1, 0, 1]), random=(0, 0, 3), alphas=(alpha, alpha),
            families=families, max_frames=7, train=False,
        )  # fmt: skip
        for i, clip in enumerate([1, 0, 1]):
            length = int(lengths[i])
            native = ClipSampler(
                pack, clip_len=length, size=(1920, 1920), crop="frame", max_persons=2, train=False
            ).batch([clip], stream=3, alpha=alpha, families=families)
            assert torch.equal(places[i, :length], native.frames[0])
            np.testing.assert_allclose(keypoints[i, :, :length], native.keypoints[0], rtol=0, atol=1e-3)
            assert torch.equal(keypoints[i, :, :length, :, 2], native.keypoints[0, ..., 2])
            assert not keypoints[i, :, length:].any()
            assert not places[i, length:].any()


@pytest.mark.parametrize("rule", ["segments", "means"])
@pytest.mark.parametrize(
    ("crop", "filter"), [("spread", "off"), ("box", "white"), ("spread", "colours"), ("frame", "colours")]
)
def test_a_front_end_equals_the_native_one(rule, crop, filter):
    prior = SamplePrior.fit(moving_pack([30] * 12), range(12), 6)
    pack = moving_pack([1, 9, 31, 14], persons=2, seed=5, missing=0.2)
    pack.scores[: 2 * 1] = 1
    options = {"clip_len": 6, "size": (40, 50), "frame_rule": rule, "crop": crop, "motion_filter": filter}
    options |= {"prior": prior, "evidence": True, "window": 0.6 if rule == "means" else 1.0}
    for train, families in ((True, ("gaussian",)), (False, ("gaussian", "drift", "drop_block", "dropout"))):
        request = {"epoch": 2, "stream": 1, "alpha": np.array([0.0, 0.05, 0.2, 0.1]), "families": families}
        native = ClipSampler(pack, train=train, **options).batch(range(4), **request)
        device = DeviceClipSampler(pack, train=train, device="cpu", **options).batch(range(4), **request)
        assert torch.equal(device.frames, native.frames)
        assert torch.equal(device.labels, native.labels)
        torch.testing.assert_close(device.presence, native.presence, rtol=0, atol=1e-6)
        torch.testing.assert_close(device.noise_levels, native.noise_levels, rtol=0, atol=2e-3)
        assert torch.equal(device.keypoints[..., 2] > 0, native.keypoints[..., 2] > 0)
        np.testing.assert_allclose(device.keypoints, native.keypoints, rtol=0, atol=5e-3)


def test_damaged_keypoints_are_missing():
    pack = make_pack([(2, 30)], 6)
    pack.keypoints[:, 0] = np.nan
    pack.keypoints[:, 1, 0] = 1e9
    pack.scores[:, 2] = np.inf
    pack.scores[:, 3] = -1
    assert_equals_native(pack, [0], request={"alpha": 0.1, "families": ("student",)})
    batch = assert_equals_native(pack, [0], request={"alpha": 0.1})
    assert batch.keypoints[..., 2].count_nonzero() > 0
    assert (batch.keypoints[..., 2].count_nonzero(-1) == 2).all()


def test_more_clips_than_a_program_takes_and_repeats():
    pack = make_pack([(1, 1 + i) for i in range(8)], 1)
    assert_equals_native(pack, [*range(8)] * 5, clip_len=2, request={"epoch": 3})


def test_addresses_have_64_bits(monkeypatch):
    monkeypatch.setattr(interpreter.GridExecutor, "_restore_args_dev", lambda *arguments: None)
    pack = make_pack([(1, 30)], 2)
    expected = ClipSampler(pack, clip_len=4).batch([0], alpha=0.1)
    sampler = DeviceClipSampler(pack, clip_len=4, device="cpu")
    rows = 2**30
    for array in ("keypoints", "scores"):
        small = sampler._arrays[array]
        sampler._arrays[array] = torch.from_numpy(
            np.zeros((rows, *small.shape[1:]), np.float32)
        )  # touched nowhere else
        sampler._arrays[array][-30:] = small
    sampler._arrays["offsets"] += rows - 30
    np.testing.assert_allclose(sampler.batch([0], alpha=0.1).keypoints, expected.keypoints, rtol=0, atol=1e-4)


def test_philox_words_are_exact():
    import triton
    import triton.language as tl

    @triton.jit
    def words(counter, out, seed):
        i = tl.arange(0, 4)
        at = tl.load(counter + i).to(tl.uint32, bitcast=True)
        w0, w1, w2, w3 = tl.philox(seed, at, at, at, at)
        for word, k in ((w0, 0), (w1, 1), (w2, 2), (w3, 3)):
            tl.store(out + i * 4 + k, word.to(tl.int32, bitcast=True))

    counters = np.array([0, 0xFFFFFFFF, 0x243F6A88, 12345], np.uint32)
    out = torch.zeros(4, 4, dtype=torch.int32)
    words[(1,)](torch.from_numpy(counters.view(np.int32)), out, -1)
    expected = philox4x32_10(np.repeat(counters[:, None], 4, axis=1), (0xFFFFFFFF, 0xFFFFFFFF))
    assert np.array_equal(out.numpy().view(np.uint32), expected)


def test_an_empty_batch():
    batch = DeviceClipSampler(make_pack([(1, 9)]), device="cpu").batch([])
    assert batch.keypoints.shape == (0, 1, 24, 5, 3)


@pytest.mark.parametrize(
    ("indices", "request_", "message"),
    [
        ([1], {}, "clip index 1 at position 0 is out of range"),
        ([0], {"epoch": -1}, "epoch must be an integer from 0"),
        ([0], {"stream": 16}, "stream must be an integer from 0 to 15"),
        ([0], {"alpha": -0.1}, "alpha must be between 0 and"),
        ([0], {"alpha": [0.1, 0.2]}, r"one per clip \[1\]"),
        ([0], {"families": ("salt",)}, "no noise family 'salt'"),
    ],
)
def test_wrong_requests(indices, request_, message):
    with pytest.raises(ValueError, match=message):
        DeviceClipSampler(make_pack([(1, 9)]), device="cpu").batch(indices, **request_)
