"""Damaged joints, requests, settings and packs."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.sampling import SwapPairs, assert_matches_reference, make_pack

from fastpose.data.sampling.batch import AlphaRange
from fastpose.data.sampling.sampler import ClipSampler

BAD_NUMBERS = [math.nan, math.inf, -math.inf, 1e30, -1e30, 1.1e6, 3.4e38]


@pytest.mark.parametrize("number", BAD_NUMBERS)
@pytest.mark.parametrize("axis", [0, 1])
def test_a_damaged_coordinate_makes_its_joint_missing(number, axis):
    pack = make_pack([(1, 12)], 7)
    damaged = SimpleNamespace(**vars(pack))
    damaged.keypoints = pack.keypoints.copy()
    damaged.keypoints[5, 3, axis] = number
    missing = SimpleNamespace(**vars(pack))
    missing.scores = pack.scores.copy()
    missing.scores[5, 3] = 0
    got, expected = (ClipSampler(p).batch([0], alpha=0.1).keypoints for p in (damaged, missing))
    assert torch.equal(got, expected)
    assert torch.isfinite(got).all()


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf, -1.0, -0.0])
def test_a_score_that_is_not_positive_and_finite_means_missing(score):
    pack = make_pack([(1, 12)], 7)
    pack.scores[4, 2] = 0
    expected = ClipSampler(pack).batch([0], alpha=0.1).keypoints
    pack.scores[4, 2] = score
    assert torch.equal(ClipSampler(pack).batch([0], alpha=0.1).keypoints, expected)
    assert_matches_reference(ClipSampler(pack), [0], alpha=0.1)


@given(data=st.data(), alpha=st.sampled_from([0.0, 0.5, 1000.0]), train=st.booleans())
def test_nothing_non_finite_ever_comes_out(data, alpha, train):
    pack = make_pack([(2, 6)], 4)
    numbers = st.one_of(st.floats(width=32), st.sampled_from(BAD_NUMBERS), st.floats(-1e6, 1e6, width=32))
    for name in ("keypoints", "scores"):
        flat = getattr(pack, name).reshape(-1)
        for position in data.draw(st.lists(st.integers(0, flat.size - 1), max_size=20)):
            flat[position] = data.draw(numbers)
    sampler = ClipSampler(
        pack, clip_len=5, train=train, min_box=1.0, crop_area=(1e-3, 1), crop_aspect=(1e-2, 1e2)
    )
    assert torch.isfinite(sampler.batch([0], alpha=alpha).keypoints).all()


@pytest.mark.parametrize("train", [True, False])
def test_all_joints_missing(train):
    pack = make_pack([(1, 30), (1, 30)], missing=1.0)
    assert (ClipSampler(pack, train=train).batch([0, 1], alpha=0.1).keypoints == 0).all()


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"alpha": -0.1}, "alpha must be between 0 and 1000, got -0.1"),
        ({"alpha": math.nan}, "got nan"),
        ({"alpha": math.inf}, "got inf"),
        ({"alpha": [0.1, -2.0]}, "got -2.0"),
        ({"alpha": [0.1]}, r"one per clip \[2\], got shape \[1\]"),
        ({"alpha": "strong"}, "alpha must be a number"),
        ({"indices": [0, 2]}, "clip index 2 at position 1 is out of range for a pack of 2 clips"),
        ({"indices": [-1, 0]}, "clip index -1 at position 0"),
        ({"indices": np.array([2**63], np.uint64)}, "clip index 9223372036854775808"),
        ({"indices": [0.0, 1.0]}, "integers"),
        ({"indices": [True, False]}, "integers"),
        ({"indices": [[0], [1]]}, r"shape \[2, 1\]"),
        ({"epoch": -1}, "epoch"),
        ({"epoch": 2**32}, "epoch"),
        ({"stream": 16}, "stream must be an integer from 0 to 15, got 16"),
        ({"stream": 1.0}, "stream"),
    ],
)
def test_bad_requests(request_, message):
    sampler = ClipSampler(make_pack([(1, 30), (1, 30)]))
    with pytest.raises(ValueError, match=message):
        sampler.batch(**{"indices": [0, 1], **request_})


@pytest.mark.parametrize(("low", "high"), [(-0.1, 1), (0.2, 0.1), (math.nan, 1), (0, math.inf)])
def test_bad_alpha_ranges(low, high):
    with pytest.raises(ValueError, match="AlphaRange"):
        AlphaRange(low, high)


@pytest.mark.parametrize(
    "setting",
    [
        {"clip_len": 0},
        {"clip_len": 2.5},
        {"clip_len": 2**25},
        {"size": (0, 56)},
        {"size": (56, 10**6)},
        {"size": 56},
        {"size": (56, 56, 3)},
        {"seed": -1},
        {"seed": 2**64},
        {"max_persons": 0},
        {"crop_padding": 0.5},
        {"crop_padding": math.nan},
        {"min_box": 0},
        {"crop_area": (0, 1)},
        {"crop_area": (0.9, 0.5)},
        {"crop_area": 0.5},
        {"crop_area": ("small", "large")},
        {"crop_padding": "wide"},
        {"crop_aspect": (0.75, math.inf)},
        {"flip_probability": 1.1},
        {"threads": -1},
    ],
    ids=str,
)
def test_bad_settings(setting):
    (name,) = setting
    with pytest.raises(ValueError, match=f"{name}.*(: expected | must be )"):
        ClipSampler(make_pack([(1, 30)]), **setting)


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("offsets", lambda a: a + 1, "offsets must run from 0"),
        ("offsets", lambda a: a * 2, "offsets must run from 0"),
        ("offsets", lambda a: a[[0, 2, 1, 3]], "clip 0 of the pack has offsets that contradict"),
        ("offsets", lambda a: a[:-1], "offsets must be contiguous int64"),
        ("num_frames", lambda a: a + np.int32(1), "clip 0 of the pack has offsets that contradict"),
        ("num_frames", lambda a: a * np.int32(0), "clip 0 of the pack has num_frames below 1"),
        ("num_frames", lambda a: a * np.int32(-1), "num_frames below 1"),
        (
            "num_persons",
            lambda a: np.array([1, 2, 0], np.int32),
            "clip 2 of the pack has num_persons below 1",
        ),
        ("image_sizes", lambda a: a * np.int32(0), "image size"),
        ("total_difference", lambda a: a * np.nan, "total_difference"),
        ("total_difference", lambda a: a * -1, "total_difference"),
        ("keypoints", lambda a: a[:-1], "keypoints must be contiguous"),
        ("keypoints", lambda a: a.astype(np.float64), "got float64"),
        ("scores", lambda a: np.asfortranarray(a), "scores must be contiguous"),
        ("scores", lambda a: a[..., None], "scores"),
        ("name_hashes", lambda a: a.astype(np.int64), "name_hashes"),
        ("labels", lambda a: a[:1], "labels"),
        ("layout", lambda a: SwapPairs(7), "flip_index"),
        ("layout", lambda a: SimpleNamespace(flip_index=lambda: np.array([1, 2, 0, 3, 4])), "exchange pairs"),
    ],
)
def test_damaged_packs_are_refused(name, damage, message):
    pack = make_pack([(1, 30), (2, 20), (1, 7)])
    setattr(pack, name, damage(getattr(pack, name)))
    with pytest.raises(ValueError, match=message):
        ClipSampler(pack)
