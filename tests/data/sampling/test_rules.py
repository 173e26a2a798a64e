"""The sampler's other rules: frames resampled as MotionBERT does, the whole frame as input, draws for the input."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from support.sampling import make_pack

from fastpose.data.sampling.batch import AlphaRange
from fastpose.data.sampling.loader import PoseDataset
from fastpose.data.sampling.sampler import ClipSampler
from fastpose.models.inputs import motionbert_published as motionbert


@pytest.mark.parametrize(
    ("length", "expected"),
    [(1, [0, 0, 0, 0]), (3, [0, 0, 1, 2]), (4, [0, 1, 2, 3]), (7, [0, 1, 3, 5]), (21, [0, 5, 10, 15])],
)
def test_resampled_frames_in_testing(length, expected):
    sampler = ClipSampler(make_pack([(1, length)]), clip_len=4, train=False, frame_rule="resample")
    assert sampler.batch([0]).frames.tolist() == [expected]
    assert motionbert.resample(length, 4).tolist() == expected


@pytest.mark.parametrize(
    ("length", "clip_len"), [(3, 7), (5, 7), (1, 3), (4, 8)], ids=lambda number: str(number)
)
def test_short_clips_are_resampled_as_published(length, clip_len):
    sampler = ClipSampler(make_pack([(1, length)], 1), clip_len=clip_len, frame_rule="resample")
    epochs = 4000
    drawn = Counter(tuple(sampler.batch([0], epoch=k).frames[0].tolist()) for k in range(epochs))
    generator = np.random.default_rng(0)
    published = Counter(
        tuple(motionbert.resample(length, clip_len, generator).tolist()) for _ in range(epochs)
    )
    for frames in drawn.keys() | published.keys():
        assert list(frames) == sorted(frames)
        assert abs(drawn[frames] - published[frames]) <= 6 * math.sqrt(2 * max(drawn[frames], 10))


def test_long_clips_draw_one_frame_of_each_part():
    sampler = ClipSampler(make_pack([(1, 10)], 1), clip_len=4, frame_rule="resample")
    frames = np.array([sampler.batch([0], epoch=k).frames[0].tolist() for k in range(3000)])
    for i, weights in enumerate([{0: 2, 1: 2, 2: 1}, {2: 1, 3: 2, 4: 2}, {5: 2, 6: 2, 7: 1}]):
        share = np.bincount(frames[:, i], minlength=10) / 3000
        expected = np.zeros(10)
        expected[list(weights)] = np.array(list(weights.values())) / 5
        np.testing.assert_allclose(share, expected, atol=0.05)


@pytest.mark.parametrize("train", [True, False])
def test_the_whole_frame_from_its_corner(train):
    pack = make_pack([(2, 9)], 4, image_size=(100, 200), missing=0.3)
    sampler = ClipSampler(pack, clip_len=9, size=(50, 40), train=train, crop="frame", frame_rule="resample")
    keypoints = sampler.batch([0], flip=False).keypoints[0].numpy()
    present = pack.scores.reshape(2, 9, 4, 1) > 0
    expected = pack.keypoints.reshape(2, 9, 4, 2) * [40 / 200, 50 / 200]
    np.testing.assert_allclose(keypoints[..., :2], np.where(present, expected, 0), atol=1e-4)
    mirrored = sampler.batch([0], flip=True).keypoints[0].numpy()[:, :, [0, 2, 1, 3]]
    np.testing.assert_allclose(mirrored[..., 0], np.where(keypoints[..., 2] > 0, 39 - keypoints[..., 0], 0))


def test_noise_comes_before_the_whole_frame_too():
    pack = make_pack([(1, 30)], 4)
    settings = {"train": False, "crop": "frame", "size": (1920, 1920)}
    still, noisy = (ClipSampler(pack, **settings).batch([0], alpha=a).keypoints for a in (0, 0.01))
    moved = (noisy - still)[..., :2]
    boxed = [
        ClipSampler(pack, train=False, size=(1920, 1920), min_box=1e6).batch([0], alpha=a) for a in (0, 0.01)
    ]
    torch.testing.assert_close(moved, (boxed[1].keypoints - boxed[0].keypoints)[..., :2], atol=1e-3, rtol=0)
    assert 10 < moved[..., 0].std() < 30  # α·c·w = 19.2 pixels


def test_draws_belong_to_the_clip_epoch_and_stream():
    pack = make_pack([(1, 5 + 3 * i) for i in range(40)], 3)
    sampler = ClipSampler(pack, seed=5, frame_rule="resample", crop="frame")
    request = {"epoch": 7, "stream": 1, "alpha": AlphaRange(0, 0.1)}
    everything = sampler.batch(range(40), **request)
    assert everything.draws.shape == (40, 12)
    assert 0 <= everything.draws.min() < 0.05
    assert 0.95 < everything.draws.max() < 1
    assert len(everything.draws.unique()) == 480
    order = np.random.default_rng(0).permutation(40)
    other = ClipSampler(pack, seed=5, frame_rule="resample", crop="frame", threads=3).batch(order, **request)
    for name in ("draws", "frames", "keypoints"):
        assert torch.equal(getattr(other, name), getattr(everything, name)[order])
    for changed in ({**request, "epoch": 8}, {**request, "stream": 0}):
        assert not (sampler.batch(range(40), **changed).draws == everything.draws).any()
    assert everything.to("cpu").draws is everything.draws
    assert ClipSampler(pack, train=False).batch([0], draw_frames=True).draws is None


@pytest.mark.parametrize("train", [True, False])
def test_collated_batches_keep_their_draws(train):
    sampler = ClipSampler(make_pack([(1, 9)] * 3, 3), train=train)
    dataset = PoseDataset(sampler)
    batch = PoseDataset.collate([dataset[i] for i in range(3)])
    expected = sampler.batch(range(3)).draws
    assert batch.draws is None if expected is None else torch.equal(batch.draws, expected)


@pytest.mark.parametrize("setting", [{"frame_rule": "uniform"}, {"crop": "centre"}])
def test_unknown_rules(setting):
    with pytest.raises(ValueError, match="expected one of"):
        ClipSampler(make_pack([(1, 9)]), **setting)
