import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fastpose.training.early_stop import EarlyStop


def validated(stop, model, scores, first=1):
    """Feed scores until the run ends; the weight at each epoch is its number. Returns the epochs done."""
    for epoch, score in enumerate(scores, first):
        if stop.exhausted:
            return epoch - 1
        nn.init.constant_(model.weight, epoch)
        stop.update(score, epoch, model)
    return first + len(scores) - 1


@settings(deadline=None, max_examples=60)
@given(scores=st.lists(st.integers(0, 4), min_size=1, max_size=12), patience=st.integers(1, 4), cut=st.data())
def test_the_first_best_is_kept_whenever_it_is_interrupted(scores, patience, cut):
    model, stop = nn.Linear(1, 1), EarlyStop(patience)
    done = validated(stop, model, scores)
    seen = scores[:done]
    assert stop.best_epoch == seen.index(max(seen)) + 1
    stale = [i - scores.index(max(scores[: i + 1])) for i in range(len(scores))]
    assert done == next((i + 1 for i, count in enumerate(stale) if count == patience), len(scores))
    stop.restore_best(model)
    assert model.weight.item() == stop.best_epoch

    begin = cut.draw(st.integers(0, done))
    before, after = EarlyStop(patience), EarlyStop(patience)
    validated(before, model, scores[:begin])
    after.load_state_dict(before.state_dict(), model)
    assert validated(after, model, scores[begin:], begin + 1) == done
    assert (after.best_score, after.best_epoch, after.stale) == (stop.best_score, stop.best_epoch, stop.stale)
    after.restore_best(model)
    assert model.weight.item() == stop.best_epoch


def test_weights_of_another_model_are_refused():
    stop = EarlyStop(1)
    stop.update(0.5, 1, nn.Linear(2, 3))
    state = stop.state_dict()
    with pytest.raises(ValueError, match="not of this model"):
        EarlyStop(1).load_state_dict(state, nn.Linear(3, 2))
    with pytest.raises(ValueError, match="not of this model"):
        EarlyStop(1).load_state_dict(state | {"weights": {}}, nn.Linear(2, 3))


def test_the_kept_weights_do_not_follow_the_model():
    model, stop = nn.BatchNorm1d(2), EarlyStop(3)
    stop.update(1.0, 1, model)
    model(torch.randn(8, 2))
    moved = model.running_mean.clone()
    stop.restore_best(model)
    assert not torch.equal(moved, model.running_mean)
    assert model.num_batches_tracked == 0
