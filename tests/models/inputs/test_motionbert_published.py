"""The published data path against its own outputs, clip by clip and through pack, sampler and model input."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.shared import shared_folder

from fastpose.data.pack.clip_check import check_clip
from fastpose.data.pack.layouts import COCO17, H36M17, convert
from fastpose.data.pack.packed import PackedClips, PoseClip
from fastpose.data.sampling.sampler import ClipSampler
from fastpose.models.inputs import motionbert_published as motionbert
from fastpose.models.inputs.joint_input import JointInput


@pytest.fixture(scope="module")
def oracle():
    with np.load(shared_folder() / "oracles" / "motionbert_data.npz") as arrays:
        return dict(arrays)


def pack_of(*clips: PoseClip) -> PackedClips:
    """A pack whose persons keep the slots they have, as a reader that knows its persons makes it."""
    checked = [check_clip(clip, COCO17, clip.name, persons_first=True) for clip in clips]
    return PackedClips.from_checked(checked, COCO17, ("a",))


@pytest.fixture(scope="module")
def packed(oracle):
    image_size = tuple(map(int, oracle["img_shape"]))
    keypoints, scores = oracle["kp"].astype(np.float32), oracle["score"].astype(np.float32)
    return pack_of(
        PoseClip("two", keypoints, scores, 0, image_size),
        PoseClip("one", keypoints[:1], scores[:1], 0, image_size),
    )


def test_each_step_is_the_published_one(oracle):
    height, width = oracle["img_shape"]
    camera = motionbert.to_camera(oracle["kp"], (height, width))
    np.testing.assert_allclose(camera, oracle["cam"], rtol=0, atol=1e-15)
    portrait = motionbert.to_camera(oracle["kp"], (width, height))
    np.testing.assert_allclose(portrait, oracle["cam_portrait"], rtol=0, atol=1e-15)
    matched = motionbert.match_persons(camera)
    assert not np.array_equal(matched, camera)
    np.testing.assert_allclose(matched, oracle["track"], rtol=0, atol=1e-15)
    h36m = motionbert.to_h36m(matched)
    np.testing.assert_allclose(h36m, oracle["h36m"], rtol=0, atol=1e-15)
    frames = motionbert.resample(camera.shape[1], 24)
    joints = motionbert.with_scores(h36m, oracle["score"])[:, frames]
    np.testing.assert_array_equal(joints, oracle["motion24"])
    for ratio in (1, 2):
        placed = motionbert.crop_scale(joints, ratio)
        np.testing.assert_allclose(placed, oracle[f"crop_scale_{ratio}"], rtol=0, atol=5e-7)


@pytest.mark.parametrize("count", [24, 100, 243])
def test_resampled_frames_are_the_published_ones(oracle, count):
    frames = motionbert.resample(oracle["kp"].shape[1], count)
    np.testing.assert_array_equal(frames, oracle[f"res_det_{count}"])


def test_one_person_becomes_two(oracle):
    joints = motionbert.two_persons(oracle["motion24"][:1])
    np.testing.assert_array_equal(joints, oracle["one_person_in"])
    placed = motionbert.crop_scale(joints, 2)
    np.testing.assert_allclose(placed, oracle["one_person_crop_2"], rtol=0, atol=5e-7)
    assert placed[1].any()  # the absent person moves
    assert motionbert.two_persons(oracle["motion24"]) is oracle["motion24"]


def test_random_move_is_the_published_one(oracle):
    draws = np.random.RandomState(3).random_sample(8)  # the generator that the published code drew from
    moved = motionbert.random_move(oracle["motion24"], draws)
    np.testing.assert_allclose(moved, oracle["random_move_seed3"], rtol=0, atol=1e-6)
    still = motionbert.random_move(oracle["motion24"], np.full(8, 0.5))
    np.testing.assert_allclose(still, oracle["motion24"], atol=1e-6)


def test_the_sampler_and_the_model_input_make_what_the_published_code_makes(oracle, packed):
    sampler = ClipSampler(
        motionbert.match_clips(packed),
        clip_len=24,
        size=(56, 56),
        train=False,
        frame_rule="resample",
        crop="frame",
    )
    batch = sampler.batch([0, 1])
    np.testing.assert_array_equal(batch.frames[0], oracle["res_det_24"])
    joints = JointInput(layout=packed.layout, published=True).prepare(batch)
    np.testing.assert_allclose(joints[0], oracle["crop_scale_2"], rtol=0, atol=2e-6)
    alone = motionbert.to_h36m(oracle["cam"][:1])[:, oracle["res_det_24"]]
    alone = motionbert.with_scores(alone, oracle["score"][:1, oracle["res_det_24"]])
    expected = motionbert.crop_scale(motionbert.two_persons(alone), 2)
    np.testing.assert_allclose(joints[1], expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("clip_len", [24, 243])
def test_training_is_the_published_path_with_the_clips_own_draws(oracle, packed, clip_len):
    settings = {"clip_len": clip_len, "frame_rule": "resample", "crop": "frame", "flip_probability": 0.0}
    sampler = ClipSampler(motionbert.match_clips(packed), seed=3, **settings)
    batch = sampler.batch([1, 0], epoch=2, stream=1)
    joints = JointInput(layout=packed.layout, published=True).prepare(batch)
    frames, draws = batch.frames[1].numpy(), batch.draws[1].numpy()
    plain = motionbert.with_scores(oracle["h36m"][:, frames], oracle["score"][:, frames])
    plain = motionbert.crop_scale(motionbert.random_move(plain, draws[:8]), 1 + 2 * draws[8])
    np.testing.assert_allclose(joints[1], plain, rtol=0, atol=5e-6)


def test_persons_that_change_places_are_put_back():
    keypoints = np.zeros((3, 5, 17, 2))
    keypoints[0], keypoints[1], keypoints[2] = 10, 50, 90
    keypoints[:2, 2:4] = keypoints[1::-1, 2:4]
    matched = motionbert.match_persons(keypoints)
    assert (matched[0] == 10).all()
    assert (matched[1] == 50).all()
    assert (matched[2] == 90).all()  # a third person is left alone
    for alone in (keypoints[:1], keypoints[:, :1]):
        assert motionbert.match_persons(alone) is alone


def test_a_pack_is_copied_only_where_persons_change_places(packed):
    matched = motionbert.match_clips(packed)
    assert matched is not packed
    assert matched.path is None
    rows = slice(packed.offsets[1], packed.offsets[2])
    np.testing.assert_array_equal(matched.keypoints[rows], packed.keypoints[rows])
    np.testing.assert_array_equal(matched.scores, packed.scores)
    np.testing.assert_array_equal(matched.total_difference, packed.total_difference)
    single = packed.subset([1])
    assert motionbert.match_clips(single) is single


@given(st.integers(0, 10**6))
def test_h36m_coordinates_are_those_of_the_layouts_and_scores_are_not(seed):
    generator = np.random.default_rng(seed)
    keypoints, scores = generator.normal(size=(2, 3, 17, 2)), generator.random((2, 3, 17))
    expected, mapped = convert(keypoints, scores, COCO17, H36M17)
    np.testing.assert_allclose(motionbert.to_h36m(keypoints), expected, atol=1e-15)
    assert not np.array_equal(motionbert.with_scores(expected, scores)[..., 2], mapped.astype(np.float32))


@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 10**6))
def test_resampled_frames_are_in_order_and_cover_the_clip(length, count, seed):
    for random in (None, np.random.default_rng(seed)):
        frames = motionbert.resample(length, count, random)
        assert frames.shape == (count,)
        assert 0 <= frames.min() <= frames.max() < length
        assert (np.diff(frames) >= 0).all()
        assert np.abs(frames - np.arange(count) * length / count).max() <= max(1, length / count)


@given(st.integers(0, 10**6), st.floats(1, 3))
def test_crop_scale_fills_its_share_of_the_square(seed, ratio):
    generator = np.random.default_rng(seed)
    joints = generator.normal(size=(2, 4, 17, 3)) * [3, 1, 0]
    joints[0, ..., 2] = 1
    placed = motionbert.crop_scale(joints, ratio)
    assert np.abs(placed[..., :2]).max() <= 1
    seen = placed[0, ..., :2].reshape(-1, 2)
    assert np.ptp(seen, axis=0).max() == pytest.approx(2 / ratio)
    np.testing.assert_allclose(seen.min(axis=0) + seen.max(axis=0), 0, atol=1e-12)
    np.testing.assert_array_equal(placed[..., 2], joints[..., 2])


def test_crop_scale_of_too_few_joints_or_one_point_is_zero():
    joints = np.zeros((1, 1, 17, 3))
    joints[0, 0, :3] = [[0.1, 0.2, 1], [0.3, 0.4, 1], [0.5, 0.9, 1]]
    assert not motionbert.crop_scale(joints, 2).any()
    joints[0, 0, :5] = [0.1, 0.2, 1]
    assert not motionbert.crop_scale(joints, 2).any()
