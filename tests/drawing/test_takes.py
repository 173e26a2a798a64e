"""What is drawn is what a sampler gives a model, in pixels of the video or of the input."""

import numpy as np
import pytest
from support.scenes import one_clip

from fastpose.data import ClipSampler
from fastpose.data.sampling.noised import noised_clips
from fastpose.drawing.takes import make_scene
from fastpose.settings.families import FAMILIES

LEAVING_OUT = [family for family in FAMILIES if family.startswith("drop_")]


def test_all_frames_in_pixels_of_the_video():
    packed = one_clip(30)
    scene = make_scene(packed, clip_len=8)
    (take,) = scene.takes
    clip = packed.clip(0)
    present = clip.scores > 0
    assert np.array_equal(take.scores, clip.scores)
    np.testing.assert_allclose(take.keypoints[present], clip.keypoints[present], atol=1e-3)
    assert take.title == "clean"
    assert take.frames.tolist() == list(range(30))
    assert not take.left_out.any()
    expected = ClipSampler(packed, clip_len=8, train=False).batch([0]).frames[0].tolist()
    assert take.sampled.tolist() == take.given.tolist() == expected
    assert (scene.size, scene.num_frames, scene.length) == ((240, 320), 30, 30)
    assert scene.details == ("2 persons, 30 frames of 320 × 240 pixels", "joints: coco17", "class: walk")


@pytest.mark.parametrize("family", [family for family in FAMILIES if family not in LEAVING_OUT])
def test_noise_is_that_of_evaluation(family):
    packed = one_clip(30)
    scene = make_scene(packed, noise=0.1, family=family, seed=3)
    clean, noisy = scene.takes
    clip = noised_clips(packed, 0.1, seed=3, family=family).clip(0)
    present = clip.scores > 0
    assert np.array_equal(noisy.scores > 0, present)
    np.testing.assert_allclose(noisy.scores, np.where(present, clip.scores, 0), atol=1e-6)
    np.testing.assert_allclose(noisy.keypoints[present], clip.keypoints[present], atol=2e-3)
    assert (clean.title, noisy.title) == ("clean", f"{family} noise, α = 0.1")
    assert (clean.keypoints != noisy.keypoints).any() or (clean.scores != noisy.scores).any()


@pytest.mark.parametrize("family", LEAVING_OUT)
def test_frames_that_the_noise_leaves_out(family):
    packed = one_clip(30)
    clean, noisy = make_scene(packed, noise=0.2, family=family, clip_len=6).takes
    kept = int(noised_clips(packed, 0.2, family=family).num_frames[0])
    assert 0 < kept < 30
    assert np.count_nonzero(~noisy.left_out) == kept
    assert (noisy.scores[:, noisy.left_out] == 0).all()
    assert np.array_equal(noisy.keypoints[:, ~noisy.left_out], clean.keypoints[:, ~noisy.left_out])
    assert not noisy.left_out[noisy.sampled].any()


def test_the_input_is_that_of_a_model():
    packed = one_clip(30)
    scene = make_scene(packed, noise=0.05, seed=7, clip_len=10, input_size=(48, 64))
    sampler = ClipSampler(packed, clip_len=10, size=(48, 64), train=False, seed=7)
    for take, alpha in zip(scene.takes, (0.0, 0.05), strict=True):
        batch = sampler.batch([0], stream=3, alpha=alpha)
        assert np.array_equal(take.keypoints, batch.keypoints[0, ..., :2])
        assert np.array_equal(take.scores, batch.keypoints[0, ..., 2])
        assert take.frames.tolist() == batch.frames[0].tolist()
        assert take.sampled.tolist() == list(range(10))
    assert (scene.size, scene.num_frames, scene.length) == ((48, 64), 30, 10)
    assert scene.details[-1] == "cropped as a model is given it"


def test_a_short_clip_is_sampled_again_and_names_keep_to_one_line():
    scene = make_scene(one_clip(3, name="a\nclip\x1b[31m"), clip_len=8)
    assert set(scene.takes[0].given.tolist()) == {0, 1, 2}
    assert scene.name == "a clip [31m"


def test_wrong_settings():
    with pytest.raises(ValueError, match="no noise family 'blur'"):
        make_scene(one_clip(), noise=0.1, family="blur")
    with pytest.raises(ValueError, match="alpha must be between 0 and 1000, got -1"):
        make_scene(one_clip(), noise=-1)
    with pytest.raises(ValueError, match="clip_len = 0: expected an integer from 1"):
        make_scene(one_clip(), clip_len=0)
