"""Denoising whole clips, smoothing on one thread: fastpose, and a smoother of one fixed width as users have today."""

import numpy as np
import pytest
import scipy.signal
from measuring import measure

from fastpose.data import Denoiser, Layout, PackedClips, PoseClip

SECTION = "denoise whole clips, one thread"
NUM_CLIPS, JOINTS, DEVIATION = 200, 13, 8.0  # pixels
FRAMES = (42, 70)  # of a clip, as in Penn Action
WINDOW, ORDER = 15, 2  # of the Savitzky-Golay filter


def motion(seed: int) -> np.ndarray:
    """Return a person [1, T, V, 2] whose joints swing at a few frequencies."""
    rng = np.random.default_rng(seed)
    time = np.linspace(0, 2, int(rng.integers(*FRAMES)))[:, None, None]
    swings = [
        rng.uniform(5, 60) * np.sin(2 * np.pi * k * time + rng.uniform(0, 6, (JOINTS, 2)))
        for k in (0.5, 1, 2)
    ]
    return (rng.uniform(150, 450, (JOINTS, 2)) + sum(swings))[None]


def pack(seed: int, deviation: float) -> PackedClips:
    rng = np.random.default_rng(seed)
    people = [motion(seed + i) for i in range(NUM_CLIPS)]
    clips = [
        PoseClip(
            name=str(i),
            keypoints=(person + deviation * rng.standard_normal(person.shape)).astype(np.float32),
            scores=np.ones(person.shape[:3], np.float32),
            label=0,
            image_size=(600, 600),
        )
        for i, person in enumerate(people)
    ]
    layout = Layout("thirteen", [f"joint_{i}" for i in range(JOINTS)], pairs=[], limbs=[])
    return PackedClips.from_clips(clips, layout=layout, class_names=("any",), source="benchmark")


@pytest.fixture(scope="module")
def noisy():
    return pack(10_000, DEVIATION)


def error(filtered: list[np.ndarray]) -> float:
    """Return how far keypoints are from the truth, in pixels."""
    pairs = zip(filtered, (motion(10_000 + i) for i in range(NUM_CLIPS)), strict=True)
    return float(np.sqrt(np.mean([((ours - truth) ** 2).mean() for ours, truth in pairs])))


@pytest.mark.parametrize("kind", ["smoothing", "prior"])
def test_fastpose(benchmark, noisy, kind):
    denoiser = Denoiser() if kind == "smoothing" else Denoiser.fit(pack(0, 0.0))
    filtered = denoiser.filter_clips(noisy, threads=1)
    left = error([filtered.clip(i).keypoints for i in range(NUM_CLIPS)])
    assert left < 0.7 * DEVIATION
    note = f"{left:.1f} px left of {DEVIATION:.0f}"
    measure(
        benchmark, lambda: denoiser.filter_clips(noisy, 1), SECTION, row=kind, clips=NUM_CLIPS, note=note,
        seconds=0.5,
    )  # fmt: skip


def test_savitzky_golay(benchmark, noisy):
    clips = [noisy.clip(i).keypoints for i in range(NUM_CLIPS)]

    def filter_all():
        return [scipy.signal.savgol_filter(clip, WINDOW, ORDER, axis=1) for clip in clips]

    note = f"{error(filter_all()):.1f} px left of {DEVIATION:.0f}"
    measure(
        benchmark,
        filter_all,
        SECTION,
        who="peer",
        row="Savitzky-Golay",
        clips=NUM_CLIPS,
        note=note,
        seconds=0.5,
    )
