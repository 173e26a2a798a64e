"""Denoiser: what it does to noise, to clean clips, to missing joints, and what it refuses."""

import base64
import subprocess
import sys

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from fastpose.data import Denoiser, Layout, PackedClips, PoseClip
from fastpose.data.denoising.motion_prior import MotionPrior

JOINTS, SIDE = 8, 500
LAYOUT = Layout("eight", [f"joint_{i}" for i in range(JOINTS)], pairs=[(0, 1), (2, 3)], limbs=[])


def moves(count, frames=60, seed=0):
    """People of one kind: waves of a few frequencies, of random phases, common to pairs of joints."""
    rng = np.random.default_rng(seed)
    time = np.linspace(0, 1, frames)[:, None, None]
    people = []
    for _ in range(count):
        phase, size = rng.uniform(0, 2 * np.pi, (3, 1, 1)), rng.uniform(0.5, 1.5, 3)
        body = np.stack([np.arange(JOINTS) * 12.0, np.arange(JOINTS)[::-1] * 20.0], axis=-1)
        swing = sum(size[k] * 40 * np.sin(2 * np.pi * (k + 1) * time + phase[k] + np.arange(JOINTS)[:, None] // 2)
                    for k in range(3))  # fmt: skip
        people.append(200 + rng.uniform(-40, 40, 2) + body + swing * np.array([1.0, 0.5]))
    return np.stack(people)


def pack(people):
    scores = np.ones((1, *people.shape[1:3]), np.float32)
    clips = [
        PoseClip(f"clip{i}", person[None].astype(np.float32), scores, i % 2, (SIDE, SIDE))
        for i, person in enumerate(people)
    ]
    return PackedClips.from_clips(clips, layout=LAYOUT, class_names=("a", "b"), source="test")


@pytest.fixture(scope="module")
def fitted():
    return Denoiser.fit(pack(moves(200)))


def rms(difference):
    return np.sqrt((difference.astype(np.float64) ** 2).mean())


@pytest.mark.parametrize("deviation", [5.0, 20.0, 60.0])
def test_a_prior_filters_better_than_smoothing_alone(fitted, deviation):
    truth = moves(20, seed=1)
    noisy = truth + deviation * np.random.default_rng(2).standard_normal(truth.shape)
    smoothed, filtered = Denoiser().filter(noisy), fitted.filter(noisy)
    assert rms(smoothed - truth) < 0.7 * rms(noisy - truth)
    assert rms(filtered - truth) < 0.7 * rms(smoothed - truth)


def test_clean_clips_are_unharmed_and_others_lose_little(fitted):
    truth = moves(20, seed=3)
    assert rms(fitted.filter(truth) - truth) < 0.01 * truth.std()
    rng = np.random.default_rng(4)
    steps = 200 + 60 * np.sign(
        np.sin(np.arange(90)[:, None, None] / 7 + rng.uniform(0, 6, (10, 1, JOINTS, 2)))
    )
    noisy = steps + 10 * rng.standard_normal(steps.shape)  # which no clip of the prior resembles
    assert rms(fitted.filter(noisy) - steps) < 1.15 * rms(Denoiser().filter(noisy) - steps)


def test_missing_joints_stay_missing_and_count_nowhere(fitted):
    rng = np.random.default_rng(5)
    truth = moves(6, seed=6)
    scores = (rng.random(truth.shape[:3]) > 0.3).astype(np.float32)
    scores[0, :, 2] = 0  # never seen
    noisy = (truth + 20 * rng.standard_normal(truth.shape)).astype(np.float32)
    for denoiser in (Denoiser(), fitted):
        found = denoiser.filter(noisy, scores)
        stray = np.where(scores[..., None] > 0, noisy, np.nan)
        assert np.array_equal(found[scores == 0], noisy[scores == 0])
        assert np.array_equal(denoiser.filter(stray, scores)[scores > 0], found[scores > 0])
        seen = scores > 0
        assert rms(found[seen] - truth[seen]) < 0.6 * rms(noisy[seen] - truth[seen])


def test_packed_clips_are_filtered_person_by_person(fitted):
    people = moves(5, seed=7) + 15 * np.random.default_rng(8).standard_normal((5, 60, JOINTS, 2))
    for denoiser in (Denoiser(), fitted):
        packed = denoiser.filter_clips(pack(people))
        for i, person in enumerate(people):
            np.testing.assert_allclose(packed.clip(i).keypoints, denoiser.filter(person[None]), atol=1e-3)
        assert (packed.total_difference < pack(people).total_difference).all()  # less to and fro


def test_a_prior_is_kept_in_a_file(fitted, tmp_path):
    path = tmp_path / "prior.safetensors"
    fitted.save(path)
    noisy = moves(2, seed=9) + 10.0
    assert np.array_equal(Denoiser.load(path).filter(noisy), fitted.filter(noisy))
    written = path.read_bytes()
    fitted.save(path)
    assert path.read_bytes() == written
    path.write_bytes(written[: len(written) // 2])
    with pytest.raises(ValueError, match="prior.safetensors: not a prior of body motion"):
        Denoiser.load(path)
    pack(moves(2)).save(path)
    with pytest.raises(ValueError, match="it holds something else"):
        Denoiser.load(path)
    with pytest.raises(ValueError, match="has nothing to save"):
        Denoiser().save(path)


def test_a_full_disk_leaves_the_file_as_it_was(fitted, tmp_path, monkeypatch):
    path = tmp_path / "prior.safetensors"
    fitted.save(path)
    written = path.read_bytes()

    def fail(*_, **__):
        raise safetensors.SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(safetensors.numpy, "save_file", fail)
    with pytest.raises(OSError, match=r"No space left.*prior\.safetensors"):
        fitted.save(path)
    assert path.read_bytes() == written
    assert list(tmp_path.iterdir()) == [path]


def test_as_text_it_filters_bitwise_alike(fitted, tmp_path):
    assert (Denoiser().to_text(), Denoiser.from_text("sure").prior) == ("sure", None)
    text = fitted.to_text()
    assert text == fitted.to_text()
    fitted.save(tmp_path / "prior.safetensors")
    assert base64.b64decode(text.removeprefix("prior:")) == (tmp_path / "prior.safetensors").read_bytes()
    again = Denoiser.from_text(text)
    assert again.layout == fitted.layout
    noisy = moves(3, seed=9) + 20 * np.random.default_rng(1).standard_normal((3, 60, JOINTS, 2))
    assert np.array_equal(again.filter(noisy), fitted.filter(noisy))


def test_damaged_texts_are_refused(fitted):
    text = fitted.to_text()
    content = base64.b64decode(text.removeprefix("prior:"))

    def as_text(content):
        return "prior:" + base64.b64encode(content).decode()

    packed = safetensors.numpy.save({"mean": np.ones(3)}, metadata={"format": "fastpose packed clips"})
    for wrong, message in {
        "": "is 'sure' or 'prior:' and base64, got ''",
        "off": "got 'off'",
        "prior:": "not a prior of body motion",
        "prior:" + "?" * 8: "base64",
        text[:-4]: "not a prior of body motion",
        as_text(content[:-8]): "not a prior of body motion",
        as_text(content[:4]): "not a prior of body motion",
        as_text(content.replace(b"fastpose motion prior", b"fastpose motion crier")): "something else",
        as_text(content.replace(b'"version":"1"', b'"version":"7"')): "of version '7'",
        as_text(packed): "it holds something else",
        as_text(safetensors.numpy.save({"mean": np.ones(3)})): "it holds something else",
    }.items():
        with pytest.raises(ValueError, match=message):
            Denoiser.from_text(wrong)


def test_other_joints_are_refused_by_name(fitted):
    with pytest.raises(ValueError, match="knows 8 joints in 2D .layout 'eight'., the keypoints have 5 in 2D"):
        fitted.filter(np.ones((1, 4, 5, 2)))
    with pytest.raises(ValueError, match="knows 8 joints in 2D .layout 'eight'., the keypoints have 8 in 3D"):
        fitted.filter(np.ones((1, 4, 8, 3)))
    other = Layout("other", [f"point_{i}" for i in range(JOINTS)], pairs=[], limbs=[])
    packed = pack(moves(2))
    object.__setattr__(packed, "layout", other)
    with pytest.raises(ValueError, match="layout 'eight', the clips have those of 'other'"):
        fitted.filter_clips(packed)
    with pytest.raises(ValueError, match="layout 'eight', the model takes those of 'other'"):
        fitted.check_layout(other, "the model takes")
    shape = (JOINTS, 3, 16)
    deep = Denoiser(MotionPrior(np.zeros(shape), np.eye(JOINTS * 48)[:, :2], np.ones(2)), LAYOUT)
    with pytest.raises(ValueError, match="knows 8 joints in 3D .layout 'eight'., the keypoints have 8 in 2D"):
        deep.check_layout(LAYOUT)


@pytest.mark.parametrize("keypoints", [np.ones((4, 5, 2)), np.ones((1, 4, 5, 4)), np.ones((1, 4, 5))])
def test_shapes_are_checked(keypoints):
    with pytest.raises(ValueError, match="keypoints must be"):
        Denoiser().filter(keypoints)
    with pytest.raises(ValueError, match="scores must be"):
        Denoiser().filter(np.ones((1, 4, 5, 2)), np.ones((1, 4, 4)))


def test_a_prior_needs_clips():
    with pytest.raises(ValueError, match="needs two tracks or more, got 1"):
        Denoiser.fit(pack(moves(1)))


@given(
    frames=st.integers(1, 40),
    persons=st.integers(0, 3),
    scale=st.sampled_from([0.0, 1.0, 1e5]),
    missing=st.sampled_from([0.0, 0.5, 1.0]),
    seed=st.integers(0, 9),
)
def test_whatever_comes_the_result_is_finite(fitted, frames, persons, scale, missing, seed):
    rng = np.random.default_rng(seed)
    keypoints = (scale * rng.standard_normal((persons, frames, JOINTS, 2))).astype(np.float32)
    scores = (rng.random(keypoints.shape[:3]) >= missing).astype(np.float32)
    for denoiser in (Denoiser(), fitted):
        found = denoiser.filter(keypoints, scores)
        assert found.shape == keypoints.shape
        assert found.dtype == np.float32
        assert np.isfinite(found).all()
        if scale == 0:
            assert np.array_equal(found, keypoints)


def test_it_works_without_torch():
    program = (
        "import sys; sys.modules['torch'] = None; import numpy as np; from fastpose.data import Denoiser; "
        "print(Denoiser().filter(np.random.default_rng(0).standard_normal((1, 30, 5, 3))).shape)"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert found.stdout.strip() == "(1, 30, 5, 3)", found.stderr
