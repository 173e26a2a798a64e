import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fastpose.evaluation.metrics import AccuracyMeter


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
