"""Random packed clips, and the comparison of ClipSampler with its definition."""

import copy
from types import SimpleNamespace
from unittest import mock

import numpy as np
from hypothesis import strategies as st

from fastpose.data.core import REFERENCES
from fastpose.data.sampling import sampler as sampler_module
from fastpose.data.sampling.sampler import AlphaRange, ClipSampler
from fastpose.settings.families import FAMILIES


class SwapPairs:
    """Joints 1 and 2, 3 and 4, ... are left and right; limbs join each joint to the next."""

    def __init__(self, num_joints):
        self.num_joints = num_joints
        self.limbs = tuple((i, i + 1) for i in range(num_joints - 1))

    def flip_index(self):
        order = np.arange(self.num_joints)
        for left in range(1, self.num_joints - 1, 2):
            order[left], order[left + 1] = left + 1, left
        return order


def make_pack(shapes, num_joints=5, *, image_size=(1080, 1920), seed=0, missing=0.0, movement=20000.0):
    """Random clips of the shapes (persons, frames); movement 20000 px makes the noise coefficient 1."""
    rng = np.random.default_rng(seed)
    num_persons, num_frames = np.array(shapes, np.int32).reshape(-1, 2).T
    offsets = np.concatenate([[0], np.cumsum(num_persons.astype(np.int64) * num_frames)])
    rows = int(offsets[-1])
    count = len(num_frames)
    return SimpleNamespace(
        keypoints=rng.uniform(100, 900, (rows, num_joints, 2)).astype(np.float32),
        scores=np.where(rng.random((rows, num_joints)) < missing, 0, rng.uniform(0.1, 1, (rows, num_joints)))
        .astype(np.float32),
        offsets=offsets,
        num_persons=np.ascontiguousarray(num_persons),
        num_frames=np.ascontiguousarray(num_frames),
        image_sizes=np.tile(np.array(image_size, np.int32), (count, 1)),
        name_hashes=rng.integers(0, 2**64, count, dtype=np.uint64),
        total_difference=np.full(count, movement),
        labels=np.arange(count, dtype=np.int64) * 3,
        layout=SwapPairs(num_joints),
    )  # fmt: skip


some_families = st.lists(st.sampled_from(FAMILIES), min_size=1, max_size=3, unique=True)


def moving_pack(lengths, seed=0, persons=1, joints=5, **options):
    """Clips in which each joint moves smoothly about a place of its own, up to 100 px."""
    rng = np.random.default_rng(seed)
    pack = make_pack([(persons, length) for length in lengths], joints, seed=seed, **options)
    side = np.where(np.arange(joints) % 2, -1, 1) * (
        (np.arange(joints) + 1) // 2
    )  # left and right of joint 0
    places = np.stack([500 + 80.0 * side, 400 + 60.0 * abs(side)], axis=1)
    row = 0
    for length in lengths:
        for _ in range(persons):
            time = (np.arange(length) + 0.5) / length
            waves = np.stack([np.cos(np.pi * k * time) / (1 + k) for k in range(4)], axis=1)  # [L, 4]
            together = np.stack(
                [np.ones(joints), side < 0, side > 0]
            )  # all joints, those on the left, on the right
            sizes = rng.normal(0, 40, (4, 2, 3)) @ together
            pack.keypoints[row : row + length] = places + np.einsum("lk,kdv->lvd", waves, sizes)
            row += length
    return pack


ANY_SEED, ANY_EPOCH = st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1)


@st.composite
def sampling_cases(draw, seeds=ANY_SEED, epochs=ANY_EPOCH):
    """A pack, the settings of a sampler of it, and a request for all its clips."""
    shapes = draw(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 70)), min_size=1, max_size=4))
    seed = draw(seeds)
    pack = make_pack(
        shapes,
        draw(st.integers(1, 27)),
        image_size=draw(st.tuples(st.integers(100, 2000), st.integers(100, 2000))),
        seed=seed % 1000,
        missing=draw(st.sampled_from([0.0, 0.3, 1.0])),
        movement=draw(st.sampled_from([0.0, 3000.0, 1e5])),
    )
    settings = {
        "clip_len": draw(st.integers(1, 30)),
        "size": draw(st.tuples(st.integers(1, 80), st.integers(1, 80))),
        "train": draw(st.booleans()),
        "seed": seed,
        "max_persons": draw(st.sampled_from([None, 1, 4])),
        "frame_rule": draw(st.sampled_from(["segments", "resample"])),
        "crop": draw(st.sampled_from(["box", "frame"])),
    }
    per_clip = np.linspace(0, 0.1, len(shapes))
    request = {
        "epoch": draw(epochs),
        "stream": draw(st.integers(0, 15)),
        "alpha": draw(st.sampled_from([0.0, 0.01, 0.3, AlphaRange(0.0, 0.2), per_clip])),
        "draw_frames": draw(st.sampled_from([None, True, False])),
        "flip": draw(st.sampled_from([None, True, False])),
        "families": draw(st.one_of(st.just(("gaussian",)), some_families)),
    }
    return pack, settings, request


def whole_frame(pack, **keywords):
    """A sampler whose input pixels are a translation of the clip's: every box counts as too small."""
    side = int(pack.image_sizes.max())
    return ClipSampler(pack, size=(side, side), train=False, min_box=1e6, **keywords)


def reference_of(sampler):
    """The same sampler, which samples with the NumPy definition."""
    with mock.patch.object(sampler_module, "core", REFERENCES):
        return copy.copy(sampler)


def assert_matches_reference(sampler, indices, **request):
    got, expected = sampler.batch(indices, **request), reference_of(sampler).batch(indices, **request)
    np.testing.assert_array_equal(got.frames, expected.frames)
    np.testing.assert_array_equal(got.keypoints[..., 2], expected.keypoints[..., 2])
    np.testing.assert_allclose(got.keypoints, expected.keypoints, rtol=0, atol=1e-3)
    assert (got.draws is None) == (expected.draws is None) == (not sampler.train)
    if sampler.train:
        np.testing.assert_array_equal(got.draws, expected.draws)
