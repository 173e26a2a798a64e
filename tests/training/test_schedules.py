import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from fastpose.settings import OptimConfig
from fastpose.training.schedules import learning_rate_factor

EPOCHS, STEPS = st.integers(1, 7), st.integers(1, 9)


def factors(optim, steps):
    return [learning_rate_factor(step, steps, optim) for step in range(optim.epochs * steps)]


def of_torch(make, count):
    """The learning rates that a scheduler of torch gives an optimiser of rate 1, step by step."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = make(optimizer)
    rates = []
    for _ in range(count):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if len(rates) < count:
            scheduler.step()
    return rates


@settings(deadline=None, max_examples=30)
@given(
    epochs=EPOCHS, steps=STEPS, share=st.floats(0.05, 0.95), low=st.floats(1, 100), final=st.floats(1, 1e5)
)
def test_one_cycle_is_that_of_torch(epochs, steps, share, low, final):
    total = epochs * steps
    optim = OptimConfig(
        epochs=epochs, schedule="one_cycle", pct_start=share, div_factor=low, final_div_factor=final
    )
    if share * total == 1:  # where torch divides by 0
        return
    expected = of_torch(
        lambda optimizer: lr_scheduler.OneCycleLR(
            optimizer, 1.0, total, pct_start=share, div_factor=low, final_div_factor=final,
            cycle_momentum=False,
        ),
        total,
    )  # fmt: skip
    assert factors(optim, steps) == pytest.approx(expected, rel=1e-9)


@settings(deadline=None, max_examples=20)
@given(epochs=EPOCHS, steps=STEPS)
def test_cosine_is_that_of_torch(epochs, steps):
    total = epochs * steps
    expected = of_torch(lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, total), total)
    assert factors(OptimConfig(epochs=epochs, schedule="cosine"), steps) == pytest.approx(expected, abs=1e-9)


@settings(deadline=None, max_examples=20)
@given(epochs=EPOCHS, steps=STEPS, decay=st.floats(0.1, 1))
def test_step_is_that_of_torch(epochs, steps, decay):
    total = epochs * steps
    expected = of_torch(lambda optimizer: lr_scheduler.StepLR(optimizer, steps, decay), total)
    optim = OptimConfig(epochs=epochs, schedule="step", lr_decay=decay)
    assert factors(optim, steps) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("schedule", ["constant", "cosine", "one_cycle"])
def test_after_the_warm_up_comes_the_schedule_of_the_other_epochs(schedule):
    warmed = OptimConfig(epochs=10, schedule=schedule, warmup_epochs=2)
    rest = factors(OptimConfig(epochs=8, schedule=schedule), 5)
    rates = factors(warmed, 5)
    assert rates[10:] == pytest.approx(rest, abs=1e-12)
    assert rates[:10] == pytest.approx([rest[0] * step / 10 for step in range(10)])


def test_step_counts_the_epochs_of_the_warm_up():
    optim = OptimConfig(epochs=4, schedule="step", lr_decay=0.5, warmup_epochs=2)
    assert factors(optim, 2) == [0, 0.25, 0.5, 0.75, 0.25, 0.25, 0.125, 0.125]


@settings(deadline=None, max_examples=60)
@given(
    schedule=st.sampled_from(["constant", "cosine", "one_cycle", "step"]),
    epochs=EPOCHS,
    steps=STEPS,
    share=st.floats(0, 1),
    peak=st.floats(0.01, 0.99),
)
def test_a_rate_is_never_above_the_setting(schedule, epochs, steps, share, peak):
    """Warm-ups of any part of an epoch, and of the whole run, included."""
    optim = OptimConfig(epochs=epochs, schedule=schedule, warmup_epochs=share * epochs, pct_start=peak)
    assert all(0 <= factor <= 1 for factor in factors(optim, steps))
