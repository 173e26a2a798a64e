import csv

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fastpose.evaluation.confusion import (
    ClassRow,
    class_rows,
    confused_pairs,
    format_classes,
    format_pairs,
    write_confusion,
)
from fastpose.evaluation.metrics import Accuracy

NAMES = ("wave", "kick", "sit", "fall")
COUNTS = [[5, 3, 0, 2], [0, 4, 0, 0], [1, 2, 1, 0], [0, 0, 0, 0]]


def accuracy_of(counts):
    matrix = torch.tensor(counts)
    total = int(matrix.sum())
    return Accuracy(100 * int(matrix.trace()) / max(total, 1), 100, 50, total, matrix)


def test_a_case_by_hand(tmp_path):
    accuracy = accuracy_of(COUNTS)
    rows = class_rows(accuracy, NAMES)
    assert rows == [
        ClassRow("wave", 10, 5, 50.0, pytest.approx(100 * 5 / 6), ("kick", 3)),
        ClassRow("kick", 4, 4, 100.0, pytest.approx(100 * 4 / 9), None),
        ClassRow("sit", 4, 1, 25.0, 100.0, ("kick", 2)),
        ClassRow("fall", 0, 0, None, 0.0, None),
    ]
    assert confused_pairs(accuracy) == [(0, 1, 3), (0, 3, 2), (2, 1, 2), (2, 0, 1)]
    told = format_pairs(accuracy, NAMES, "run")
    assert told.startswith("run, most confused: wave taken for kick (3 of 10); wave taken for fall (2 of 10)")
    lines = format_classes(accuracy, NAMES, "run").splitlines()
    assert " ".join(lines[0].split()) == "run, by class clips recall % precision % most often taken for"
    assert [line.split() for line in lines[1:]] == [
        ["sit", "4", "25.0", "100.0", "kick", "(2)"],
        ["wave", "10", "50.0", "83.3", "kick", "(3)"],
        ["kick", "4", "100.0", "44.4"],
    ]
    write_confusion(tmp_path / "c", accuracy, NAMES, "run")
    assert (tmp_path / "c.png").read_bytes()[:4] == b"\x89PNG"
    classes = list(csv.DictReader((tmp_path / "c-classes.csv").read_text().splitlines()))
    assert [row["class"] for row in classes] == list(NAMES)
    assert [row["recall_percent"] for row in classes] == ["50.000", "100.000", "25.000", ""]
    assert classes[0]["most_often_taken_for"] == "kick"
    pairs = list(csv.DictReader((tmp_path / "c-pairs.csv").read_text().splitlines()))
    assert [tuple(row.values()) for row in pairs[:2]] == [
        ("wave", "kick", "3", "30.000"),
        ("wave", "fall", "2", "20.000"),
    ]


def test_nothing_confused(tmp_path):
    accuracy = accuracy_of([[3, 0], [0, 2]])
    assert format_pairs(accuracy, ("a", "b"), "run") == "run, most confused: no clip"
    write_confusion(tmp_path / "c", accuracy, ("a", "b"), "run")
    assert (tmp_path / "c-pairs.csv").read_text() == "true,predicted,clips,percent_of_true\n"


def test_of_many_classes_the_worst_are_listed():
    counts = np.diag(np.arange(1, 31))
    counts[7, 8] = 30
    names = [f"class {k}" for k in range(30)]
    lines = format_classes(accuracy_of(counts.tolist()), names, "run").splitlines()
    assert lines[0].startswith("run, of the 10 worst of 30 classes")
    assert len(lines) == 11
    assert lines[1].startswith("class 7 ")


@given(st.data())
def test_tables_account_for_every_clip(data):
    size = data.draw(st.integers(1, 6))
    cells = st.lists(st.integers(0, 4), min_size=size, max_size=size)
    counts = data.draw(st.lists(cells, min_size=size, max_size=size))
    accuracy = accuracy_of(counts)
    rows = class_rows(accuracy, [str(k) for k in range(size)])
    pairs = confused_pairs(accuracy)
    assert sum(row.clips for row in rows) == accuracy.num_clips
    assert sum(row.clips - row.correct for row in rows) == sum(count for *_, count in pairs)
    assert [count for *_, count in pairs] == sorted((count for *_, count in pairs), reverse=True)
    assert all(counts[true][predicted] == count > 0 for true, predicted, count in pairs)
