"""Detections linked to persons on one thread, and the check that slots of packed persons are steady."""

import numpy as np
from measuring import measure

from fastpose.data.pack.persons import match_slots
from fastpose.data.sources.linking import Detections, link

SECTION = "linking, one thread"
PERSONS, FRAMES, JOINTS = 10, 1000, 17


def walking(persons: int, frames: int) -> np.ndarray:
    """Return persons [M, T, V, 2] of 300 pixels who walk through a street of 1920, and past each other."""
    rng = np.random.default_rng(0)
    poses = rng.uniform(0, 1, (persons, 1, JOINTS, 2)) * [120, 300] + rng.uniform(0, 700, (persons, 1, 1, 2))
    path = rng.normal(0, 3, (persons, 1, 1, 2)) * np.arange(frames)[:, None, None]
    return (poses + path + rng.normal(0, 2, (persons, frames, JOINTS, 2))).astype(np.float32)


def test_link(benchmark):
    persons = walking(PERSONS, FRAMES)
    rng = np.random.default_rng(1)
    frames = [
        Detections(persons[rng.permutation(PERSONS), frame], rng.uniform(0.5, 1, (PERSONS, JOINTS)))
        for frame in range(FRAMES)
    ]
    assert len(link(frames).ids) == PERSONS
    measure(benchmark, lambda: link(frames), SECTION, row=f"{PERSONS} persons a frame", frames=FRAMES)


def test_match_slots(benchmark):
    persons = walking(2, 100)
    given = persons, None, np.ones(persons.shape[:3], bool)
    assert match_slots(*given)[2] == 0
    row = "check of 2 persons whose slots are steady"
    measure(benchmark, lambda: match_slots(*given), SECTION, row=row, frames=100, seconds=0.3)
