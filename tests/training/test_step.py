"""Steps that take less memory, know how much they take, and say so where there is too little."""

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.clips import waving_clips
from support.training import TINY

from fastpose.settings import ModelConfig
from fastpose.system.memory import counted_bytes
from fastpose.system.processes import Processes
from fastpose.training import fitting, step
from fastpose.training.fitting import SAFE_SHARE, largest_batch
from fastpose.training.setup import Setup
from fastpose.training.trainer import Trainer

MANY = 16
DROPPING = ModelConfig(model="x3d_shallow", input="heatmap", dropout=0.5)


def make_trainer(folder, **optim):
    config = replace(TINY, model=DROPPING, optim=replace(TINY.optim, batch_size=MANY, **optim))
    return Trainer(Setup(config, waving_clips()), folder, quiet=True)


def draw(trainer, size=MANY):
    return trainer.setup.draw(np.resize(trainer.setup.train_indices, size), 0)


@given(
    fixed=st.integers(0, 10**6),
    slope=st.integers(0, 10**5),
    available=st.integers(0, 10**8),
    most=st.integers(1, 5000),
    limit=st.none() | st.integers(1, 5000),
)
def test_the_largest_power_of_two_that_fits(fixed, slope, available, most, limit):
    """Of a step whose bytes grow with its clips and which, unforeseen, fails beyond ``limit`` clips."""

    def measure(size):
        return math.inf if limit is not None and size > limit else fixed + slope * size

    size = largest_batch(measure, available, most, verified=True)
    fits = [2**k for k in range(most.bit_length()) if measure(2**k) <= available]
    assert size == max(fits, default=0)


def test_without_verification_only_few_clips_are_run():
    asked = []
    assert largest_batch(lambda n: asked.append(n) or 10 * n, 999, 5000, verified=False) == 64
    assert asked == [2, 4]


def test_measuring_changes_nothing(tmp_path):
    trainer = make_trainer(tmp_path)
    trainer.setup.step(draw(trainer), 0, 1e-3)
    before = copy.deepcopy((trainer.setup.model.state_dict(), trainer.setup.optimizer.state_dict()))
    random = torch.get_rng_state()
    assert trainer.setup.memory.measure(draw(trainer, 4), 0) > 0
    assert torch.equal(torch.get_rng_state(), random)
    for old, new in zip(before[0].values(), trainer.setup.model.state_dict().values(), strict=True):
        assert torch.equal(old, new)
    assert before[1]["state"][0]["step"] == trainer.setup.optimizer.state_dict()["state"][0]["step"]
    assert all(parameter.grad is None for parameter in trainer.setup.model.parameters())


@pytest.mark.parametrize("input", ["skeleton", "heatmap"])
def test_bytes_of_many_clips_follow_from_those_of_few(tmp_path, input):
    config = replace(TINY, model=replace(TINY.model, input=input))
    trainer = Trainer(Setup(config, waving_clips()), tmp_path, quiet=True)
    small, large, many = (trainer.setup.memory.measure(draw(trainer, size), 0) for size in (2, 4, 12))
    assert small + (large - small) / 2 * 10 == pytest.approx(many, rel=0.05)
    assert large - small > 2**18


def test_recomputing_takes_less(tmp_path):
    whole, again = (make_trainer(tmp_path, checkpoint_activations=value) for value in (False, True))
    growth = [trainer.setup.memory.measure(draw(trainer, 12), 0) for trainer in (whole, again)]
    growth = [
        many - trainer.setup.memory.measure(draw(trainer, 4), 0)
        for many, trainer in zip(growth, (whole, again), strict=True)
    ]
    assert growth[1] < 0.4 * growth[0]


def test_parts_take_less(tmp_path):
    peaks = []
    for micro_batch in (None, 4):
        trainer = make_trainer(tmp_path, micro_batch=micro_batch)
        trainer.setup.step(draw(trainer), 0, 1e-3)
        batches = draw(trainer)
        with counted_bytes(trainer.setup.placement.device) as count:
            trainer.setup.step(batches, 0, 1e-3)
        peaks.append(count())
    assert peaks[1] < 0.4 * peaks[0]


def test_a_compiled_model_is_measured_too(tmp_path):
    trainer = make_trainer(tmp_path)
    plain = trainer.setup.memory.measure(draw(trainer, 2), 0)
    trainer.setup.model.compile(backend="aot_eager", fullgraph=True)
    assert trainer.setup.memory.measure(draw(trainer, 2), 0) == pytest.approx(plain, rel=0.01)


@pytest.mark.parametrize("joint_pass", [False, True])
def test_statistics_move_once_for_each_part(tmp_path, joint_pass):
    trainer = make_trainer(tmp_path, micro_batch=5, joint_pass=joint_pass, checkpoint_activations=True)
    trainer.setup.step(draw(trainer), 0, 1e-3)
    passes = 4 * (1 if joint_pass else 2)  # 16 clips in 4 parts, two views
    for name, value in trainer.setup.model.named_buffers():
        if name.endswith("num_batches_tracked"):
            assert int(value) == passes


def free(monkeypatch, count):
    monkeypatch.setattr(fitting, "available_memory", lambda device: int(count))


def test_a_graph_keeps_its_memory_beside_that_of_others(tmp_path, monkeypatch):
    trainer = make_trainer(tmp_path)
    two, four = (trainer.setup.memory.measure(draw(trainer, size), 0) for size in (2, 4))
    eight = four + 2 * (four - two)
    state = 2 * sum(parameter.nbytes for parameter in trainer.setup.model.parameters())
    free(monkeypatch, state + 2.02 * eight / SAFE_SHARE)
    found = [trainer.setup.memory.fitting_batch(lambda size: draw(trainer, size), 0, 16)]
    monkeypatch.setattr(fitting, "graphs", lambda optim, device: True)
    found.append(trainer.setup.memory.fitting_batch(lambda size: draw(trainer, size), 0, 16))
    assert found == [16, 8]


def test_a_batch_that_will_not_fit_is_refused_before_the_first_step(tmp_path, monkeypatch):
    trainer = make_trainer(tmp_path)
    state = 2 * sum(parameter.nbytes for parameter in trainer.setup.model.parameters())
    of_four = trainer.setup.memory.measure(draw(trainer, 4), 0)
    batches = draw(trainer)
    before = copy.deepcopy(trainer.setup.model.state_dict())
    free(monkeypatch, state + 1.1 * of_four / SAFE_SHARE)
    with pytest.raises(
        ValueError, match=r"a step on 16 clips does not fit in the memory there is \("
    ) as caught:
        trainer.setup.memory.check(batches, 0)
    assert "; what fits: --batch-size 4, or --micro-batch 4 for the same batch in parts" in str(caught.value)
    assert "--checkpoint-activations" in str(caught.value)
    assert all(torch.equal(value, before[name]) for name, value in trainer.setup.model.state_dict().items())
    make_trainer(tmp_path, micro_batch=4).setup.memory.check(batches, 0)
    free(monkeypatch, state)
    with pytest.raises(ValueError, match="nor does a smaller one"):
        trainer.setup.memory.check(batches, 0)
    with pytest.raises(ValueError, match="does not fit"):
        trainer.fit()
    free(monkeypatch, 2**40)
    trainer.setup.memory.check(batches, 0)


def test_processes_share_the_memory_of_a_machine(tmp_path, monkeypatch):
    config = make_trainer(tmp_path).config
    setup = Setup(config, waving_clips(), Processes(rank=1, size=4, here=2))
    free(monkeypatch, 10**9)
    assert setup.memory.free_bytes() == 10**9 // 2 - 2 * sum(
        weight.nbytes for weight in setup.model.parameters()
    )
    monkeypatch.setattr(setup.memory, "fitting_batch", lambda *_: 2)
    refused = setup.memory.does_not_fit(setup.draw(setup.train_indices[:4], 0), 0)  # of 16 for all
    assert "a step on 4 clips" in str(refused)
    assert "what fits: --batch-size 8, or --micro-batch 2 for the same batch in parts" in str(refused)


def test_a_micro_batch_that_does_not_fit(tmp_path, monkeypatch):
    trainer = make_trainer(
        tmp_path, micro_batch=12, checkpoint_activations=True
    )  # of 16 clips: two parts of 8
    accumulate = step.accumulate_gradient

    def exhausted(task, model, batches, *settings):
        if len(batches["clean"]) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return accumulate(task, model, batches, *settings)

    for module in (step, fitting):
        monkeypatch.setattr(module, "accumulate_gradient", exhausted)
    with pytest.raises(
        ValueError, match=r"a step on 8 clips does not fit .* free\); what fits: --micro-batch 4$"
    ) as caught:
        trainer.setup.step(draw(trainer), 0, 1e-3)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("size", "limit", "message"),
    [
        (8, 3, "a step on 8 clips .*; what fits: --batch-size 2, or --micro-batch 2 "),
        (4, 3, "a step on 4 clips .*; what fits: --batch-size 2, or --micro-batch 2 "),
        (3, 2, "a step on 3 clips .*; what fits: --batch-size 2, or --micro-batch 2 "),
        (3, 1, "a step on 3 clips .*; what fits: --batch-size 1, or --micro-batch 1 "),
        (2, 1, "a step on 2 clips .*; what fits: --batch-size 1, or --micro-batch 1 "),
        (2, 0, "a step on 2 clips .* free\\), nor does a smaller one; try fewer frames"),
        (1, 0, "a step on 1 clip does not fit in the memory there is .* free\\); try fewer frames"),
    ],
)
def test_few_clips_that_do_not_fit(tmp_path, monkeypatch, size, limit, message):
    trainer = make_trainer(tmp_path)
    accumulate = step.accumulate_gradient

    def exhausted(task, model, batches, *settings):
        if len(batches["clean"]) > limit:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return accumulate(task, model, batches, *settings)

    for module in (step, fitting):
        monkeypatch.setattr(module, "accumulate_gradient", exhausted)
    with pytest.raises(ValueError, match=message):
        trainer.setup.step(draw(trainer, size), 0, 1e-3)


def test_other_errors_stay_what_they_are(tmp_path, monkeypatch):
    trainer = make_trainer(tmp_path)

    def broken(*_):
        raise RuntimeError("shapes cannot be multiplied")

    monkeypatch.setattr(step, "accumulate_gradient", broken)
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        trainer.setup.step(draw(trainer), 0, 1e-3)
