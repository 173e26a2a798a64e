"""ClipSampler against its NumPy definition, and frames, crop and flip against hand-made cases."""

import itertools
import math
import pickle
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from support.sampling import assert_matches_reference, make_pack, reference_of, sampling_cases, whole_frame

from fastpose.data.pack.packed import PackedClips, PoseClip
from fastpose.data.sampling import philox
from fastpose.data.sampling.batch import AlphaRange, PoseBatch
from fastpose.data.sampling.sampler import ClipSampler


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
    ids=["zeros", "ones", "pi"],
)
def test_philox_gives_the_published_words(counter, key, expected):
    assert philox.philox4x32_10(np.array(counter, np.uint32), tuple(key)).tolist() == expected


@given(sampling_cases())
def test_native_agrees_with_the_reference(case):
    pack, sampler_settings, request = case
    assert_matches_reference(ClipSampler(pack, **sampler_settings), range(len(pack.labels)), **request)


def test_noise_of_long_clips_runs_through_several_buffers():
    pack = make_pack([(3, 40)], 67)  # 3·24·67 elements, an odd number of joints
    assert_matches_reference(ClipSampler(pack), [0], alpha=0.3)


def test_more_joints_than_a_noise_buffer():
    assert_matches_reference(ClipSampler(make_pack([(2, 7)], 543), clip_len=3), [0], alpha=0.1)


def test_bits_do_not_depend_on_threads_order_subset_or_repeats():
    pack = make_pack([(1 + i % 2, 5 + 3 * i) for i in range(40)], 17, missing=0.1)
    request = {"epoch": 7, "stream": 1, "alpha": AlphaRange(0, 0.1)}
    everything = ClipSampler(pack, seed=5).batch(range(40), **request)
    assert everything.keypoints.abs().sum() > 0
    order = np.random.default_rng(0).permutation(40)
    for threads in (1, 2, 5, 0):
        got = ClipSampler(pack, seed=5, threads=threads).batch(order, **request)
        assert torch.equal(got.keypoints, everything.keypoints[order])
        assert torch.equal(got.frames, everything.frames[order])
    reference = reference_of(ClipSampler(pack, seed=5))
    expected = reference.batch(range(40), **request)
    for clips in (order, order[:7], [11]):
        got = reference.batch(clips, **request)
        for field in ("keypoints", "frames", "draws"):
            assert torch.equal(getattr(got, field), getattr(expected, field)[clips])
    repeated = ClipSampler(pack, seed=5).batch([3, 3, 9, 3], **request)
    assert torch.equal(repeated.keypoints, everything.keypoints[[3, 3, 9, 3]])
    assert repeated.indices.tolist() == [3, 3, 9, 3]
    assert repeated.labels.tolist() == [9, 9, 27, 9]


def test_a_clip_samples_alike_in_another_pack():
    pack = make_pack([(1, 50), (2, 60), (1, 70)])
    other = SimpleNamespace(**vars(pack))
    rows = slice(pack.offsets[2], pack.offsets[3])
    other.keypoints, other.scores = pack.keypoints[rows], pack.scores[rows]
    other.offsets = np.array([0, 70])
    for name in ("num_persons", "num_frames", "image_sizes", "name_hashes", "total_difference", "labels"):
        setattr(other, name, getattr(pack, name)[2:])
    here = ClipSampler(pack, max_persons=1).batch([2], alpha=0.1)
    there = ClipSampler(other).batch([0], alpha=0.1)
    assert torch.equal(here.keypoints, there.keypoints)


@pytest.mark.parametrize("change", [{"seed": 1}, {"epoch": 1}, {"stream": 1}, {"hash": 1}])
def test_seed_epoch_stream_and_name_each_change_the_draws(change):
    pack = make_pack([(1, 90)])
    base = ClipSampler(pack).batch([0], alpha=0.1)
    if "hash" in change:
        pack.name_hashes = pack.name_hashes + np.uint64(1)
    sampler = ClipSampler(pack, seed=change.get("seed", 0))
    other = sampler.batch([0], change.get("epoch", 0), change.get("stream", 0), alpha=0.1)
    assert not torch.equal(base.frames, other.frames)
    assert not torch.equal(base.keypoints, other.keypoints)


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (1, [0, 0, 0, 0]),
        (3, [0, 1, 2, 0]),
        (4, [0, 1, 2, 3]),
        (7, [0, 2, 4, 6]),
        (8, [1, 3, 5, 7]),
        (21, [2, 7, 13, 18]),
    ],
)
def test_middle_frames(length, expected):
    sampler = ClipSampler(make_pack([(1, length)]), clip_len=4, train=False)
    assert sampler.batch([0]).frames.tolist() == [expected]


def frames_over_epochs(length, clip_len, epochs):
    sampler = ClipSampler(make_pack([(1, length)], 1), clip_len=clip_len)
    return [tuple(sampler.batch([0], epoch=epoch).frames[0].tolist()) for epoch in range(epochs)]


def test_short_clips_start_anywhere_and_wrap_round():
    counts = Counter(frames_over_epochs(3, 5, 900))
    assert set(counts) == {(0, 1, 2, 0, 1), (1, 2, 0, 1, 2), (2, 0, 1, 2, 0)}
    assert all(abs(count - 300) < 75 for count in counts.values())  # 5 sigma


def test_each_choice_of_gaps_is_equally_likely():
    counts = Counter(frames_over_epochs(6, 4, 3000))
    expected = set()
    for gaps in itertools.combinations(range(5), 2):
        expected.add(tuple(i + sum(gap <= i for gap in gaps) for i in range(4)))
    assert set(counts) == expected
    assert len(expected) == 10
    assert all(abs(count - 300) < 5 * math.sqrt(270) for count in counts.values())


def test_long_clips_draw_one_frame_of_each_part():
    frames = np.array(frames_over_epochs(11, 4, 2000))  # edges 0, 2, 5, 8, 11
    for i, (begin, end) in enumerate([(0, 2), (2, 5), (5, 8), (8, 11)]):
        share = np.bincount(frames[:, i], minlength=11) / 2000
        np.testing.assert_allclose(share[begin:end], 1 / (end - begin), atol=0.06)
        assert share[:begin].sum() + share[end:].sum() == 0


def test_evaluation_can_draw_frames_without_cropping():
    pack = make_pack([(1, 200)])
    drawn = ClipSampler(pack, train=False)
    frames = [
        tuple(drawn.batch([0], epoch=k, stream=3, draw_frames=True).frames[0].tolist()) for k in range(3)
    ]
    assert len(set(frames)) == 3
    sampler = ClipSampler(pack, train=True)
    assert torch.equal(
        sampler.batch([0], stream=3).frames, drawn.batch([0], stream=3, draw_frames=True).frames
    )


def one_frame_pack(points, image_size=(100, 200), scores=None):
    pack = make_pack([(1, 1)], len(points), image_size=image_size)
    pack.keypoints = np.array(points, np.float32)[None]
    pack.scores = np.ones((1, len(points)), np.float32) if scores is None else np.array([scores], np.float32)
    return pack


def test_evaluation_crops_the_padded_box():
    sampler = ClipSampler(one_frame_pack([(10, 20), (50, 40)]), clip_len=1, size=(20, 50), train=False)
    # Square of 50 px round (30, 30), from (5, 5): x' = (x - 5)·50/50, y' = (y - 5)·20/50.
    np.testing.assert_allclose(sampler.batch([0]).keypoints[0, 0, 0], [[5, 6, 1], [45, 14, 1]], atol=1e-5)
    mirrored = sampler.batch([0], flip=True).keypoints[0, 0, 0]
    np.testing.assert_allclose(mirrored, [[44, 6, 1], [4, 14, 1]], atol=1e-5)


def test_a_box_under_ten_pixels_gives_way_to_the_squared_frame():
    small = ClipSampler(one_frame_pack([(10, 20), (19.9, 29)]), clip_len=1, size=(40, 40), train=False)
    # The frame of 200×100 squared runs from (0, -50) to (200, 150).
    np.testing.assert_allclose(small.batch([0]).keypoints[0, 0, 0], [[2, 14, 1], [3.98, 15.8, 1]], atol=1e-5)
    enough = ClipSampler(one_frame_pack([(10, 20), (20, 29)]), clip_len=1, size=(40, 40), train=False)
    np.testing.assert_allclose(enough.batch([0]).keypoints[0, 0, 0, :, 0], [4, 36], atol=1e-5)


def test_flip_exchanges_left_and_right():
    pack = make_pack([(2, 40)], 5, missing=0.2)
    sampler = ClipSampler(pack, size=(30, 70), train=False)
    plain, mirrored = (sampler.batch([0], flip=flip).keypoints for flip in (False, True))
    expected = plain.clone()
    expected[..., 0] = 69 - expected[..., 0]
    expected[plain[..., 2] == 0] = 0
    assert torch.equal(mirrored, expected[..., [0, 2, 1, 4, 3], :])
    assert torch.equal(sampler.batch([0]).keypoints, plain)


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_flip_probability(probability):
    pack = make_pack([(1, 10)] * 400)
    sampler = ClipSampler(pack, clip_len=4, flip_probability=probability)
    drawn, never, always = (sampler.batch(range(400), flip=flip).keypoints for flip in (None, False, True))
    flipped = (drawn == always).all(dim=(1, 2, 3, 4))
    assert torch.equal(drawn, torch.where(flipped[:, None, None, None, None], always, never))
    assert abs(flipped.double().mean() - probability) <= 5 * math.sqrt(probability * (1 - probability) / 400)


def test_training_crops_within_the_square_by_area_and_aspect():
    pack = make_pack([(1, 1)] * 2000, 2, image_size=(100, 200))
    pack.keypoints[:] = [(20, 20), (60, 40)]  # the square of 50 px from (15, 5)
    pack.scores[:] = 1
    keypoints = (
        ClipSampler(pack, clip_len=1, size=(50, 50))
        .batch(range(2000), flip=False)
        .keypoints[:, 0, 0]
        .double()
    )
    width = 50 * 40 / (keypoints[:, 1, 0] - keypoints[:, 0, 0])
    height = 50 * 20 / (keypoints[:, 1, 1] - keypoints[:, 0, 1])
    x0 = 20 - keypoints[:, 0, 0] * width / 50
    y0 = 20 - keypoints[:, 0, 1] * height / 50
    for low, side, start in ((x0, width, 15), (y0, height, 5)):
        assert (low >= start - 1e-3).all()
        assert (low + side <= start + 50 + 1e-3).all()
        place = ((low - start) / (50 - side))[side < 49]
        assert abs(place.mean() - 0.5) < 5 * math.sqrt(1 / 12 / len(place))
    inside = (width < 49.99) & (height < 49.99)
    area, aspect = (width * height / 2500)[inside], (width / height)[inside]
    assert 0.559 < area.min() < 0.58
    assert 0.7499 < aspect.min() < 0.77
    assert 1.31 < aspect.max() < 1.3334


def test_absent_and_surplus_persons():
    pack = make_pack([(1, 30), (3, 30)])
    three = ClipSampler(pack, train=False).batch([0, 1], alpha=0.1)
    assert three.keypoints.shape == (2, 3, 24, 5, 3)
    assert (three.keypoints[0, 1:] == 0).all()
    assert (three.keypoints[:, 0, ..., 2] > 0).all()
    two = whole_frame(pack, max_persons=2).batch([0, 1], alpha=0.1)
    assert torch.equal(two.keypoints, whole_frame(pack).batch([0, 1], alpha=0.1).keypoints[:, :2])


def test_empty_batch():
    batch = ClipSampler(make_pack([(2, 30)])).batch([], alpha=AlphaRange(0, 1))
    assert batch.keypoints.shape == (0, 2, 24, 5, 3)
    assert batch.frames.shape == (0, 24)
    assert batch.labels.shape == batch.indices.shape == (0,)
    assert len(batch) == 0


def test_shapes_dtypes_and_moving_of_a_batch():
    pack = make_pack([(2, 30), (1, 9)])
    batch = ClipSampler(pack, clip_len=6, size=(8, 9)).batch(torch.tensor([1, 0, 1]))
    assert batch.keypoints.shape == (3, 2, 6, 5, 3)
    dtypes = [tensor.dtype for tensor in (batch.keypoints, batch.labels, batch.frames, batch.indices)]
    assert dtypes == [torch.float32, torch.int64, torch.int32, torch.int64]
    moved = batch.to("cpu")
    assert isinstance(moved, PoseBatch)
    assert torch.equal(moved.keypoints, batch.keypoints)


def test_a_sampler_survives_pickling():
    sampler = ClipSampler(
        make_pack([(2, 30)]), clip_len=6, size=(8, 9), train=False, seed=3, crop_padding=1.5, threads=2
    )
    copy = pickle.loads(pickle.dumps(sampler))
    assert torch.equal(copy.batch([0], alpha=0.1).keypoints, sampler.batch([0], alpha=0.1).keypoints)


def test_read_only_packs_are_read_in_place():
    pack = make_pack([(1, 30)])
    for name in ("keypoints", "scores", "offsets", "labels"):
        getattr(pack, name).flags.writeable = False
    sampler = ClipSampler(pack)
    sampler.batch([0]).labels[0] = 9
    assert pack.labels[0] == 0


def test_packed_clips_sample_from_their_mapped_file(tmp_path):
    rng = np.random.default_rng(0)
    clips = [
        PoseClip(
            f"clip {i}",
            rng.uniform(0, 480, (1 + i % 2, 20 + 9 * i, 17, 2)).astype(np.float32),
            rng.choice([0, 1], (1 + i % 2, 20 + 9 * i, 17)).astype(np.float32),
            i % 3,
            (480, 640),
        )
        for i in range(5)
    ]
    packed = PackedClips.from_clips(clips, layout="coco17", class_names=("a", "b", "c"))
    packed.save(tmp_path / "clips.safetensors")
    mapped = PackedClips.load(tmp_path / "clips.safetensors")
    assert_matches_reference(ClipSampler(mapped), range(5), alpha=0.05)
    batch = ClipSampler(mapped).batch([3, 1], alpha=0.05)
    assert torch.equal(batch.keypoints, ClipSampler(packed).batch([3, 1], alpha=0.05).keypoints)
    assert batch.labels.tolist() == [0, 1]
