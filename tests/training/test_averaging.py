import pytest
import torch
from torch import nn

from fastpose.training.averaging import MovingAverage


@pytest.mark.parametrize("graphed", [False, True])
def test_weights_are_averaged_with_a_rising_decay_and_statistics_taken_over(graphed):
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    average = MovingAverage(model, decay=0.3, graphed=graphed)
    expected = None
    for count in range(8):
        with torch.no_grad():
            model[0].weight.normal_()
            model[1].running_mean.normal_()
            model[1].num_batches_tracked += 1
        average.update_parameters(model)
        decay = 0 if count == 0 else min(0.3, (1 + count) / (10 + count))
        weight = model[0].weight.detach().clone()
        expected = weight if expected is None else decay * expected + (1 - decay) * weight
        torch.testing.assert_close(average.module[0].weight.detach(), expected)
        assert torch.equal(average.module[1].running_mean, model[1].running_mean)
        assert average.module[1].num_batches_tracked == count + 1
    assert not torch.equal(average.module[0].weight, model[0].weight)


@pytest.mark.parametrize("graphed", [False, True])
def test_an_update_reads_nothing_from_the_device(graphed):
    """The meta device has no values: reading one, which on a GPU would wait for it, is an error there."""
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)).to("meta")
    with pytest.raises(RuntimeError, match="meta"):
        model[0].weight.sum().item()
    average = MovingAverage(model, decay=0.9, graphed=graphed)
    for _ in range(3):
        average.update_parameters(model)
    assert average.n_averaged == 3
