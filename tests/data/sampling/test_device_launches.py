"""The device sampler's kernels compiled for what its callers pass: see support.dry_launch."""

import itertools

import numpy as np
import pytest
import torch
from support.dry_launch import dry_launches
from support.effort import FULL
from support.sampling import make_pack, moving_pack

from fastpose.data import DeviceClipSampler
from fastpose.data.sampling import kernels
from fastpose.data.sampling.batch import AlphaRange
from fastpose.data.sampling.front_end import SeenClips
from fastpose.data.sampling.sample_prior import SamplePrior
from fastpose.settings.families import FAMILIES

ARCHITECTURES = (80, 90, 100)
RULES = [
    {},
    {"frame_rule": "resample", "crop": "frame"},
    {"frame_rule": "resample", "clip_len": 16, "size": (64, 48), "max_persons": 1},
    {"clip_len": 1, "size": (1, 1), "max_persons": 3, "flip_probability": 0.0},
]
REQUESTS = [
    (8, {}),
    (16, {"alpha": 0.1, "draw_frames": True, "flip": True}),
    (1, {"alpha": AlphaRange(0.0, 0.2), "epoch": 2**32 - 1, "stream": 15}),
    (7, {"alpha": np.full(7, 0.1), "draw_frames": False, "flip": False}),
]
CASES = list(
    zip(
        [True, False, True, False, False, True, False, True],
        RULES * 2,
        REQUESTS + REQUESTS[1:] + REQUESTS[:1],
        strict=False,
    )
)
if FULL:
    CASES = list(itertools.product([True, False], RULES, REQUESTS))


@pytest.mark.parametrize("architecture", ARCHITECTURES if FULL else (90,))
@pytest.mark.parametrize(("train", "rules", "request_"), CASES)
def test_any_request_compiles(architecture, train, rules, request_):
    count, request = request_
    pack = make_pack([(1 + i % 2, 20 + i) for i in range(33)], 17)
    with dry_launches(architecture) as launches:
        batch = DeviceClipSampler(pack, train=train, device="cpu", seed=2**63 + 5, **rules).batch(
            np.arange(count), **request
        )
    assert [launch.kernel for launch in launches] == ["choose_frames", "place_joints"]
    assert launches[1].grid == (count,)
    assert (batch.draws is None) == (not train)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_training_and_evaluation_compile_everywhere(architecture):
    pack = make_pack([(1, 9)], 25)  # sizes of 1 are specialised
    with dry_launches(architecture) as launches:
        for train in (True, False):
            sampler = DeviceClipSampler(pack, train=train, device="cpu")
            sampler.batch(torch.zeros(1, dtype=torch.int64), alpha=0.1)
    assert len(launches) == 4


@pytest.mark.parametrize("architecture", ARCHITECTURES if FULL else (90,))
@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize(("families", "alpha"), [(FAMILIES, 0.1), (("drift",), np.full(7, 0.1))])
def test_families_compile(architecture, train, families, alpha):
    pack = make_pack([(1 + i % 2, 20 + i) for i in range(33)], 17)
    with dry_launches(architecture) as launches:
        sampler = DeviceClipSampler(pack, train=train, device="cpu")
        sampler.batch(np.arange(7), alpha=alpha, families=families)
        sampler.batch(np.arange(7), alpha=0.0, families=families)  # which changes nothing
    kernels = [launch.kernel for launch in launches]
    assert kernels == ["noise_clips", "choose_frames", "place_joints", "choose_frames", "place_joints"]
    assert launches[0].grid == (7, 1)


@pytest.mark.parametrize("architecture", ARCHITECTURES if FULL else (90,))
@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("crop", ["spread", "box"])
def test_front_ends_compile(monkeypatch, architecture, train, crop):
    """What torch makes of the kernels' results between them is left out: without a GPU there are none."""
    monkeypatch.setattr(kernels, "_see", unseen)
    pack = moving_pack([20 + i for i in range(9)], persons=2)
    prior = SamplePrior.fit(pack, range(9), 8)
    options = {"clip_len": 8, "frame_rule": "means", "crop": crop, "motion_filter": "colours"}
    with dry_launches(architecture) as launches:
        batch = DeviceClipSampler(pack, train=train, device="cpu", prior=prior, **options).batch(
            np.arange(7), alpha=0.1
        )
    names = [launch.kernel for launch in launches]
    assert names == ["noise_clips", "choose_frames", *(["draw_uniform"] if train else []), "place_joints"]
    assert batch.presence.shape == batch.keypoints.shape[:-1]
    assert batch.noise_levels.shape == (7, 2)


def unseen(noised, lengths, frames, drawn, settings, filter):
    count, persons, _, joints, _ = noised.shape
    keypoints = torch.zeros(count, persons, settings.clip_len, joints, 3)
    seen = SeenClips(
        keypoints, keypoints[..., 0], torch.zeros(count, 2), torch.zeros(count, 2), torch.zeros(count)
    )
    return seen, torch.zeros(count, settings.clip_len, dtype=torch.int64)
