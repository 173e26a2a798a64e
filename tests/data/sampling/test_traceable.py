"""The sampler of programs from keypoints makes the samples that ClipSampler makes outside training."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.sampling import make_pack, moving_pack

from fastpose.data.sampling.sample_prior import SamplePrior
from fastpose.data.sampling.sampler import ClipSampler
from fastpose.data.sampling.traceable import TraceableSampler
from fastpose.settings import SamplingConfig

JOINTS, CLIP_LEN = 5, 9
PRIOR = SamplePrior.fit(moving_pack([30] * 12, 1, joints=JOINTS), range(12), CLIP_LEN)


def sample(config, keypoints, image_size=(480, 640)):
    """What a program makes of float keypoints [M, L, V, 3]."""
    return TraceableSampler(config, PRIOR).sample(
        torch.as_tensor(keypoints, dtype=torch.float32), torch.tensor(image_size)
    )


@settings(max_examples=40)
@given(
    persons=st.integers(1, 3),
    length=st.integers(1, 70),
    most=st.integers(1, 4),
    image_size=st.tuples(st.integers(100, 2000), st.integers(100, 2000)),
    missing=st.sampled_from([0.0, 0.2]),
    config=st.builds(
        SamplingConfig,
        clip_len=st.integers(1, 12) | st.just(CLIP_LEN),
        size=st.tuples(st.integers(2, 80), st.integers(2, 80)),
        max_persons=st.none(),
        frame_rule=st.sampled_from(["segments", "resample", "means"]),
        crop=st.sampled_from(["box", "frame", "spread"]),
        motion_filter=st.sampled_from(["off", "white", "colours"]),
        evidence=st.booleans(),
        min_box=st.sampled_from([10.0, 1e6]),
    ),
    seed=st.integers(0, 1000),
)
def test_samples_are_those_of_the_clip_sampler(persons, length, most, image_size, missing, config, seed):
    pack = moving_pack([length], seed, persons, JOINTS, image_size=image_size, missing=missing)
    expected = ClipSampler(pack, config, train=False, max_persons=most, prior=PRIOR).batch([0])
    clip = np.concatenate([pack.keypoints, pack.scores[..., None]], axis=-1)
    config = ClipSampler(pack, config, train=False, max_persons=most, prior=PRIOR).settings
    got = sample(config, clip.reshape(persons, length, JOINTS, 3), image_size)
    assert torch.equal(got.frames, expected.frames)
    assert torch.equal(got.keypoints[..., 2] > 0, expected.keypoints[..., 2] > 0)
    torch.testing.assert_close(got.keypoints, expected.keypoints, rtol=0, atol=1e-3)
    assert (got.presence is None) == (expected.presence is None) == (not config.has_front_end)
    if got.presence is not None:
        torch.testing.assert_close(got.presence, expected.presence, rtol=0, atol=1e-6)
        torch.testing.assert_close(got.noise_levels, expected.noise_levels, rtol=0, atol=1e-2)


def test_persons_without_joints_are_left_out_and_further_ones_too():
    clip = np.ones((4, 3, JOINTS, 3)) * np.arange(1, 5)[:, None, None, None] * 20
    clip[..., 2] = 0.5
    clip[1, ..., 2] = 0
    got = sample(SamplingConfig(clip_len=3, max_persons=2, crop="frame", size=(64, 64)), clip)
    assert got.keypoints.shape == (1, 2, 3, JOINTS, 3)
    assert got.keypoints[0, :, 0, 0].tolist() == [[2, 2, 0.5], [6, 6, 0.5]]


@pytest.mark.parametrize(
    "joint",
    [
        (0, 0, 1),
        (-1, -1, 1),
        (5, 5, 0),
        (5, 5, -1),
        (np.nan, 5, 1),
        (5, np.inf, 1),
        (5, 5, np.nan),
        (2e6, 5, 1),
    ],
)
@pytest.mark.parametrize("rule", ["segments", "means"])
def test_missing_joints(joint, rule):
    clip = make_pack([(1, 3)], JOINTS).keypoints.reshape(1, 3, JOINTS, 2)
    clip = np.concatenate([clip, np.ones((1, 3, JOINTS, 1))], axis=-1)
    clip[0, 1, 2] = joint
    config = SamplingConfig(clip_len=3, max_persons=1, crop="frame", frame_rule=rule)
    got = sample(config, clip)
    assert got.keypoints[0, 0, 1, 2].tolist() == [0, 0, 0]
    assert torch.isfinite(got.keypoints).all()
    assert (got.keypoints[..., 2] > 0).sum() == 3 * JOINTS - 1
    if got.presence is not None:
        assert got.presence.sum() == 3 * JOINTS - 1
