from dataclasses import replace

import numpy as np
import pytest
from support.clips import waving_clips

from fastpose.data.pack import split_checks
from fastpose.data.pack.split_checks import clips_without_joints, odd_splits

PACKED = waving_clips(12)  # labels 0, 1, 2, 0, 1, 2, …; 8 to train, 4 to test
TRAIN, TEST = PACKED.split("train"), PACKED.split("test")


def without_joints(*clips):
    scores = PACKED.scores.copy()
    for clip in clips:
        scores[PACKED.offsets[clip] : PACKED.offsets[clip + 1]] = 0
    return replace(PACKED, scores=scores)


def test_nothing_odd_is_nothing_said():
    assert odd_splits(PACKED, TRAIN, TEST) == []


def test_classes_that_are_missing():
    labels = np.where(np.arange(12) < 4, 3, np.where(np.arange(12) < 8, 5, 9))
    packed = replace(PACKED, labels=labels, class_names=tuple(map(str, range(10))))
    assert odd_splits(packed, TRAIN, TEST) == [
        "7 of 10 classes have no clip: '0', '1', '2', '4', '6', '7', '8'",
        "class '9' has no training clip: 4 of the 4 clips to measure on are of it, and can only be wrong",
    ]
    both = replace(packed, labels=np.where(np.arange(12) == 11, 8, labels))
    assert odd_splits(both, TRAIN, TEST)[1] == (
        "classes '8', '9' have no training clip: 4 of the 4 clips to measure on are of them, and can only be wrong"
    )


def test_one_class():
    packed = replace(PACKED, labels=np.zeros(12, np.int64), class_names=("wave",))
    assert odd_splits(packed, TRAIN, TEST) == [
        "all 8 training clips are of one class, 'wave': there is nothing to tell apart"
    ]


def test_clips_that_are_measured_and_trained_on():
    (told,) = odd_splits(PACKED, TRAIN, TRAIN)
    assert told.startswith("8 of the 8 clips to measure on are trained on as well (first 'clip000')")
    twins = PACKED.subset([0, 1, 2, 3])
    twice = waving_clips(8).from_clips(
        [twins.clip(i) for i in range(4)] + [replace(twins.clip(i), name=f"again{i}") for i in (1, 2)],
        layout=PACKED.layout,
        class_names=3,
    )
    (told,) = odd_splits(twice, np.arange(4), np.array([4, 5]))
    assert told.startswith(
        "2 of the 2 clips to measure on are trained on as well (first 'again1', which is 'clip001')"
    )


def test_clips_without_any_joint(monkeypatch):
    monkeypatch.setattr(split_checks, "CLIPS_AT_ONCE", 5)  # the last part is smaller
    packed = without_joints(2, 9, 11)
    assert np.flatnonzero(clips_without_joints(packed)).tolist() == [2, 9, 11]
    assert odd_splits(packed, TRAIN, TEST) == [
        "all joints are missing in 1 of the 8 clips to train on (first 'clip002')",
        "all joints are missing in 2 of the 4 clips to measure on (first 'clip009')",
    ]
    with pytest.raises(
        ValueError, match=r"all joints of the 4 clips to measure on are missing \(first clip 'clip008'"
    ):
        odd_splits(without_joints(8, 9, 10, 11), TRAIN, TEST)
    with pytest.raises(ValueError, match="all joints of the 8 clips to train on are missing"):
        odd_splits(without_joints(*range(8)), TRAIN, TEST)
