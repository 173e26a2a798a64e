"""Steps that are compiled, or replayed, against steps that run as they are."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from support.clips import waving_clips
from support.training import TINY, assert_equal_runs

from fastpose.settings import LossConfig, ModelConfig
from fastpose.training.compiled import CompiledObjective
from fastpose.training.graph import EAGER_STEPS, GraphedStep
from fastpose.training.optimizer import make_optimizer, restore_optimizer, set_rate
from fastpose.training.setup import Setup
from fastpose.training.task import PoseTask
from fastpose.training.trainer import Trainer

CONFIG = replace(
    TINY,
    arm="contrastive",
    model=ModelConfig(model="x3d_shallow", input="heatmap"),
    loss=LossConfig(gamma1=1.0, gamma2=0.3, sup_thresh=2),
    optim=replace(TINY.optim, precision="fp32", batch_size=6, ema=0.9),
)


def trainer_of(tmp_path, config=CONFIG):
    return Trainer(Setup(config, waving_clips()), tmp_path, quiet=True)


def views_of(trainer, seed, size=6):
    clips = np.random.default_rng(seed).choice(trainer.setup.train_indices, size)
    return trainer.setup.draw(clips, seed)


class Recorder:
    """Stands in for CUDA graphs: records a function without effect, and repeats it on the same memory."""

    def __init__(self, trainer):
        setup = trainer.setup
        self.state = [setup.model, setup.optimizer, setup.average]
        self.captures, self.replays = 0, 0

    def __call__(self, function):
        self.captures += 1
        kept = copy.deepcopy([part.state_dict() for part in self.state])
        random = torch.get_rng_state()
        result = function()
        for part, state in zip(self.state, kept, strict=True):
            part.load_state_dict(state)
        torch.set_rng_state(random)

        def replay():
            self.replays += 1
            for name, value in function().items():
                result[name].copy_(value)

        return result, replay


def test_replayed_steps_are_the_steps_themselves(tmp_path):
    plain, graphed = trainer_of(tmp_path / "plain"), trainer_of(tmp_path / "graphed")
    recorder = Recorder(graphed)
    step = graphed.setup.step
    step._take = GraphedStep(step._launch, graphed.setup.task, recorder)
    sizes = [6, 6, 4, 6, 6, 6, 4, 6, 6, 6, 6, 6]
    for seed, size in enumerate(sizes):
        epoch = seed // 5  # the loss gains its other terms in epoch 2
        results = []
        for trainer in (plain, graphed):
            torch.manual_seed(seed)
            results.append(trainer.setup.step(views_of(trainer, seed, size), epoch, 1e-3 * (seed + 1)))
        assert results[0].keys() == results[1].keys()
        assert all(torch.equal(value, results[1][name]) for name, value in results[0].items()), seed
    for name, value in plain.setup.trained_model.state_dict().items():
        assert torch.equal(value, graphed.setup.trained_model.state_dict()[name]), name
    # of six clips before the threshold; two of six after it are not enough, nor two of four before it
    assert recorder.captures == 1
    assert recorder.replays == sizes[:10].count(6) - EAGER_STEPS


def test_a_run_of_replayed_steps_is_the_run_itself(tmp_path):
    config = replace(CONFIG, optim=replace(CONFIG.optim, epochs=5))
    plain, graphed = (trainer_of(tmp_path / name, config) for name in ("plain", "graphed"))
    recorder = Recorder(graphed)
    step = graphed.setup.step
    step._take = GraphedStep(step._launch, graphed.setup.task, recorder)
    for trainer in (plain, graphed):
        trainer.folder.mkdir()
        trainer.fit()
    # 16 clips in batches of 6, 6 and 4: two epochs before the threshold, three from it on
    assert recorder.replays == (2 * 2 - EAGER_STEPS) + (2 * 3 - EAGER_STEPS)
    assert_equal_runs(plain.folder, graphed.folder)


def test_what_cannot_be_captured_is_launched(tmp_path):
    """One shape that cannot be captured leaves the graphs of the others."""
    trainer = trainer_of(tmp_path)
    recorder = Recorder(trainer)

    def refuse_four(function):
        if refuse_four.size == 4:
            raise RuntimeError("operation not permitted when stream is capturing\nmore")
        return recorder(function)

    step = GraphedStep(trainer.setup.step._launch, trainer.setup.task, refuse_four)

    def losses_of(size, steps):
        refuse_four.size = size
        return [float(step(views_of(trainer, 0, size), 0)["loss"]) for _ in range(steps)]

    refused = r"keypoints \[4, .* from epoch 0 on .*\(operation not permitted when stream is capturing\); they go on"
    with pytest.warns(UserWarning, match=refused) as warned:
        losses = losses_of(4, EAGER_STEPS + 3)
    assert len(warned) == 1
    assert len(step.failed) == 1
    assert len(set(losses)) == len(losses)  # every one of them has moved the weights
    losses_of(6, EAGER_STEPS + 2)
    assert len(step.failed) == 1
    assert recorder.replays == 2


def test_out_of_memory_is_not_hidden(tmp_path):
    trainer = trainer_of(tmp_path)

    def refuse(function):
        raise torch.OutOfMemoryError("CUDA out of memory")

    step = GraphedStep(trainer.setup.step._launch, trainer.setup.task, refuse)
    with pytest.raises(torch.OutOfMemoryError):
        for _ in range(EAGER_STEPS + 1):
            step(views_of(trainer, 0), 0)


def test_compiled_steps_for_one_size_and_both_phases(tmp_path):
    trainer = trainer_of(tmp_path)
    graphs = []

    def count(graph, inputs):
        graphs.append(graph)
        return graph.forward

    torch.compiler.reset()
    objective = CompiledObjective(trainer.setup.task, backend=count)
    reference = PoseTask(CONFIG)
    model = trainer.setup.model.eval()  # so that a step does not change the next one's result
    for epoch, size in [(0, 6), (1, 6), (1, 4), (2, 6), (3, 6)]:
        views = views_of(trainer, epoch, size)
        found = objective(model, views, epoch, trainer.setup.placement.autocast)
        expected = reference.step(model, views, epoch, trainer.setup.placement.autocast)
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5)
    assert not objective.failed
    assert len(graphs) == 2


def test_compiled_steps_with_few_labels(tmp_path):
    """Which clips are labelled, and of which the model is sure, differs from step to step; the program does not."""
    graphs = []

    def count(graph, inputs):
        graphs.append(graph)
        return graph.forward

    config = replace(
        CONFIG,
        data=replace(CONFIG.data, labels_per_class=2),
        loss=replace(
            CONFIG.loss, pseudo_threshold=0.3, pseudo_after=1, supcon_weight=0.2, class_weights="sqrt"
        ),
    )
    trainer = trainer_of(tmp_path, config)
    torch.compiler.reset()
    task = trainer.setup.task
    objective = CompiledObjective(task, backend=count)
    model = trainer.setup.model.eval()
    guessed = []
    for epoch, seed in [(0, 0), (1, 1), (1, 2), (2, 3), (4, 4)]:
        views = views_of(trainer, seed)
        assert -1 in views["clean"].labels
        found = objective(model, views, epoch, trainer.setup.placement.autocast)
        expected = task.step(model, views, epoch, trainer.setup.placement.autocast)
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5)
        guessed.append(float(found["pseudo_labelled_share"]))
    assert not objective.failed
    assert len(graphs) == 3  # of one phase each
    assert guessed[0] == 0 < max(guessed)


def test_a_compiler_that_fails_is_left_out(tmp_path):
    trainer = trainer_of(tmp_path)

    def refuse(graph, inputs):
        raise RuntimeError("no such target")

    torch.compiler.reset()
    objective = CompiledObjective(trainer.setup.task, backend=refuse)
    views = views_of(trainer, 0)
    with pytest.warns(UserWarning, match="torch.compile failed .*training goes on without it"):
        found = objective(trainer.setup.model.eval(), views, 0, trainer.setup.placement.autocast)
    assert objective.failed
    expected = trainer.setup.task.step(trainer.setup.model, views, 0, trainer.setup.placement.autocast)
    assert torch.equal(found["loss"], expected["loss"])


def test_rates_that_are_tensors_survive_a_checkpoint():
    model = torch.nn.Sequential(torch.nn.Linear(3, 3, bias=False), torch.nn.Linear(3, 3, bias=False))
    model.head_prefix = "1."
    optim = replace(CONFIG.optim, head_lr=10 * CONFIG.optim.lr)
    plain = make_optimizer(model, optim, graphed=False)
    set_rate(plain, 2e-3)
    assert [group["lr"] for group in plain.param_groups] == [2e-3, 2e-2]
    tensors = torch.optim.AdamW(
        [{"params": [weight], "lr": torch.tensor(1.0)} for weight in model.parameters()], fused=True
    )
    kept = [group["lr"] for group in tensors.param_groups]
    restore_optimizer(tensors, plain.state_dict())
    assert all(group["lr"] is rate for group, rate in zip(tensors.param_groups, kept, strict=True))
    assert kept[1].item() == pytest.approx(2e-2)
    set_rate(tensors, 5e-3)
    assert all(group["capturable"] for group in tensors.param_groups)
    restore_optimizer(plain, tensors.state_dict())
    assert not any(group["capturable"] for group in plain.param_groups)
    assert plain.param_groups[0]["lr"] == pytest.approx(5e-3)
    assert isinstance(plain.param_groups[0]["lr"], float)
