"""The noise of ClipSampler: its distribution, and what it leaves alone."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.clips import waving_clips
from support.sampling import ANY_EPOCH, ANY_SEED, make_pack, whole_frame

from fastpose.data.sampling.batch import AlphaRange
from fastpose.data.sampling.noise import noise_coefficient
from fastpose.data.sampling.noised import noised_clips
from fastpose.data.sampling.sampler import ClipSampler


def test_noise_has_the_deviation_of_the_method():
    pack = make_pack([(2, 48)], 25, image_size=(720, 1280), movement=1000.0)
    c = noise_coefficient(1000.0, (720, 1280))
    assert 0.2 < c < 1
    clean = whole_frame(pack, clip_len=48).batch([0]).keypoints[..., :2]
    samplers = [whole_frame(pack, clip_len=48, seed=seed) for seed in range(40)]
    draws = torch.stack([sampler.batch([0], stream=3, alpha=0.03).keypoints[..., :2] for sampler in samplers])
    noise = (draws - clean).double() / 0.03 / c
    count = noise[..., 0].numel()
    for axis, side in ((0, 1280), (1, 720)):
        values = (noise[..., axis] / side).ravel()
        assert abs(values.mean()) < 5 / math.sqrt(count)
        assert abs(values.std() - 1) < 5 / math.sqrt(2 * count)
        assert abs((values**4).mean() - 3) < 5 * math.sqrt(96 / count)
    # Independent per draw, person, frame, joint and axis: neighbours along each are uncorrelated.
    normal = noise / torch.tensor([1280.0, 720.0])
    for dim in (0, 2, 3, 4, 5):
        pairs = normal.narrow(dim, 1, normal.shape[dim] - 1) * normal.narrow(dim, 0, normal.shape[dim] - 1)
        assert abs(pairs.mean()) < 5 / math.sqrt(pairs.numel()), f"{dim = }"


@given(
    length=st.integers(1, 40),
    clip_len=st.integers(1, 60),
    persons=st.integers(1, 2),
    frame_rule=st.sampled_from(["segments", "resample"]),
    train=st.booleans(),
    epochs=st.tuples(ANY_EPOCH, ANY_EPOCH).filter(lambda epochs: epochs[0] != epochs[1]),
)
def test_a_video_has_one_noise(length, clip_len, persons, frame_rule, train, epochs):
    pack = make_pack([(2, length)], 5, image_size=(1000, 1000))

    def noise_of(clip_len, epoch, **settings):
        sampler = ClipSampler(
            pack,
            clip_len=clip_len,
            size=(1000, 1000),
            crop="frame",
            flip_probability=0,
            train=train,
            **settings,
        )
        drawn = settings != {}
        clean, noisy = (sampler.batch([0], epoch, 3, alpha, draw_frames=drawn) for alpha in (0.0, 0.1))
        return (noisy.keypoints - clean.keypoints)[0], clean.frames[0].long()

    video, frames = noise_of(length, epochs[0])
    assert torch.equal(frames, torch.arange(length))
    assert video[..., 0].unique().numel() == 2 * length * 5
    sampled, frames = noise_of(clip_len, epochs[0], frame_rule=frame_rule, max_persons=persons)
    torch.testing.assert_close(sampled, video[:persons, frames], rtol=0, atol=1e-3)
    later, _ = noise_of(length, epochs[1])
    assert torch.equal(later, video) is not train  # training noises a video anew in every epoch


@given(count=st.integers(1, 4), seed=ANY_SEED, alpha=st.sampled_from([0.0, 0.01, 0.3]))
def test_whole_clips_get_the_noise_of_their_samples(count, seed, alpha):
    clips = waving_clips(4).subset(range(count))
    noisy = noised_clips(clips, alpha, seed=seed)
    length = int(clips.num_frames.max())
    options = {"clip_len": length, "crop": "frame", "train": False}
    side = int(clips.image_sizes[0].max())
    for i in range(count):
        sampled = ClipSampler(clips, size=(side, side), seed=seed, **options).batch(
            [i], stream=3, alpha=alpha
        )
        whole = ClipSampler(noisy, size=(side, side), **options).batch([i], stream=3)
        torch.testing.assert_close(whole.keypoints, sampled.keypoints, rtol=0, atol=2e-3)
    assert np.array_equal(noisy.total_difference, clips.total_difference)


def test_every_alpha_shares_the_normals():
    pack = make_pack([(1, 60)], 17)
    sampler = whole_frame(pack)
    clean, weak, strong = (sampler.batch([0], stream=3, alpha=a).keypoints for a in (0.0, 0.05, 0.1))
    shift = strong - clean
    assert shift.abs().max() > 100
    torch.testing.assert_close(shift[..., :2], 2 * (weak - clean)[..., :2], rtol=0, atol=2e-3)
    assert torch.equal(clean[..., 2], strong[..., 2])


def test_alpha_per_clip_and_alpha_range():
    pack = make_pack([(1, 30)] * 300)
    sampler = whole_frame(pack, clip_len=8)
    indices = np.arange(300)
    alphas = np.linspace(0, 0.2, 300)
    per_clip = sampler.batch(indices, alpha=alphas).keypoints
    for i in (0, 17, 299):
        assert torch.equal(per_clip[i], sampler.batch([i], alpha=alphas[i]).keypoints[0])
    clean, one = sampler.batch(indices).keypoints, sampler.batch(indices, alpha=1.0).keypoints
    drawn = sampler.batch(indices, alpha=AlphaRange(0.05, 0.2)).keypoints
    noise, unit = (drawn - clean).flatten(1).norm(dim=1), (one - clean).flatten(1).norm(dim=1)
    strength = (noise / unit).sort().values
    # Kolmogorov-Smirnov distance to U(0.05, 0.2), p = 1e-5.
    assert (strength - torch.linspace(0.05, 0.2, 300)).abs().max() / 0.15 < 2.5 / math.sqrt(300)
    assert torch.equal(
        sampler.batch(indices, alpha=AlphaRange(0.1, 0.1)).keypoints,
        sampler.batch(indices, alpha=0.1).keypoints,
    )


@pytest.mark.parametrize("alpha", [0.0, 0.3])
def test_missing_joints_stay_missing_and_out_of_the_box(alpha):
    pack = make_pack([(2, 30)], 9, missing=0.4)
    missing = pack.scores == 0
    batch = ClipSampler(pack, clip_len=30).batch([0], alpha=alpha, flip=False)
    gone = torch.from_numpy(missing.reshape(2, 30, 9))
    assert torch.equal((batch.keypoints == 0).all(-1)[0], gone)
    pack.keypoints[missing] = 7e5
    assert torch.equal(
        ClipSampler(pack, clip_len=30).batch([0], alpha=alpha, flip=False).keypoints, batch.keypoints
    )
