import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fastpose.evaluation.metrics import (
    Accuracy,
    AccuracyMeter,
    format_interval,
    majority_percent,
    wilson_interval,
)


def test_a_case_by_hand():
    meter = AccuracyMeter(3)
    scores = torch.tensor([[3.0, 1, 2], [1, 3, 2], [1, 2, 3], [3, 2, 1]])
    meter.update(scores, torch.tensor([0, 0, 2, 2]))
    accuracy = meter.compute()
    assert accuracy.top1_percent == 50
    assert accuracy.top5_percent == 100
    assert accuracy.mean_class_percent == 50
    assert accuracy.confusion.tolist() == [[1, 1, 0], [0, 0, 0], [1, 0, 1]]


@settings(deadline=None, max_examples=30)
@given(classes=st.integers(2, 12), clips=st.integers(1, 40), seed=st.integers(0, 99))
def test_agrees_with_plain_numpy_in_any_batches(classes, clips, seed):
    rng = np.random.default_rng(seed)
    scores, labels = rng.normal(size=(clips, classes)), rng.integers(classes, size=clips)
    meter = AccuracyMeter(classes)
    cut = rng.integers(clips + 1)
    for part in (slice(0, cut), slice(cut, None)):
        meter.update(torch.tensor(scores[part]), torch.tensor(labels[part]))
    accuracy = meter.compute()
    ranked = np.argsort(-scores, axis=1)
    assert accuracy.top1_percent == pytest.approx(100 * np.mean(ranked[:, 0] == labels))
    assert accuracy.top5_percent == pytest.approx(100 * np.mean((ranked[:, :5] == labels[:, None]).any(1)))
    per_class = [np.mean(ranked[labels == k, 0] == k) for k in range(classes) if (labels == k).any()]
    assert accuracy.mean_class_percent == pytest.approx(100 * np.mean(per_class), rel=1e-5)
    assert accuracy.num_clips == clips


def test_scores_that_are_not_finite_are_wrong():
    meter = AccuracyMeter(2)
    meter.update(torch.tensor([[float("nan"), 1.0], [2.0, 1.0]]), torch.tensor([1, 0]))
    accuracy = meter.compute()
    assert accuracy.top1_percent == 50
    assert accuracy.top5_percent == 50
    assert accuracy.confusion.sum() == 1


def test_nothing_scored_is_an_error():
    with pytest.raises(ValueError, match="no clip was scored"):
        AccuracyMeter(3).compute()


@given(total=st.integers(1, 3000), data=st.data())
def test_wilsons_interval_ends_where_the_share_is_1_96_errors_away(total, data):
    hits = data.draw(st.integers(0, total))
    share = hits / total
    low, high = wilson_interval(Accuracy(100 * share, 100, 50, total))
    assert 0 <= low <= 100 * share <= high <= 100
    assert high - low > 0
    for end in (low / 100, high / 100):
        error = (end * (1 - end) / total) ** 0.5
        assert abs(share - end) == pytest.approx(1.959964 * error, abs=1e-9)


def test_all_wrong_is_not_certain():
    assert wilson_interval(Accuracy(0.0, 0, 0, 4)) == (0, pytest.approx(48.99, abs=0.01))
    assert wilson_interval(Accuracy(100.0, 0, 0, 10)) == (pytest.approx(72.25, abs=0.01), 100)
    told = format_interval(Accuracy(0.0, 0, 0, 4))
    assert told.startswith("0.0 % of 4 clips")
    assert "0.0 to 49.0 %" in told


def test_the_largest_class():
    assert majority_percent(np.array([2, 0, 2, 1])) == 50
