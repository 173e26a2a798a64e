"""What is said before the first bar, and that saying it changes nothing."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from support.clips import waving_clips
from support.training import TINY, assert_equal_runs
from torch import nn

from fastpose.models import ModelOutput, register_model
from fastpose.models.registry import MODELS
from fastpose.settings import EvalConfig, ModelConfig
from fastpose.system.processes import Processes
from fastpose.training import header
from fastpose.training.expected_time import expected_views, format_duration
from fastpose.training.experiment import plan_runs, run_experiment
from fastpose.training.header import epochs_logged
from fastpose.training.lone_clips import clips_of_passes
from fastpose.training.setup import Setup
from fastpose.training.trainer import Trainer

BASE = replace(
    TINY,
    data=replace(TINY.data, data="clips.safetensors"),
    model=ModelConfig(model="dct_mlp", dropout=0.3),
    optim=replace(TINY.optim, epochs=2, batch_size=5),
)


def test_the_header_says_what_is_to_come_and_changes_nothing(tmp_path):
    packed, said = waving_clips(), []  # 16 clips to train on: batches of 5, 5 and 6
    plan = plan_runs(BASE, ["supervised", "contrastive"], [0, 1])
    run_experiment(packed, plan, tmp_path / "runs", echo=said.append)
    header = next(text for text in said if text.startswith("data "))
    assert said.index(header) < next(i for i, text in enumerate(said) if "trained in" in text)
    told = dict(line.split(maxsplit=1) for line in header.splitlines())
    assert told["data"] == (
        "clips.safetensors: 16 clips to train on (train), 8 to measure on (test), 3 classes, layout coco17"
    )
    assert re.fullmatch(r"dct_mlp, input skeleton, [\d,]+ parameters, float32 on cpu", told["model"])
    assert told["runs"] == (
        "2 arms (supervised, contrastive) × 2 seeds, 2 epochs of 3 steps on 5 clips; "
        "the last clip, which would be alone, joins the batch before it"
    )
    assert told["folder"] == str(tmp_path / "runs")
    assert re.fullmatch(r"about [\d.]+ (s|min|h), by the time of a few clips", told["time"])
    alone = tmp_path / "alone"
    alone.mkdir()
    Trainer(Setup(plan["supervised-s0"], packed), alone, quiet=True).fit()
    assert_equal_runs(alone, tmp_path / "runs/supervised-s0")
    assert "always answering the largest class: 37.5 %" in "\n".join(said)  # 3 of 8 clips
    assert epochs_logged(alone) == 2
    assert epochs_logged(tmp_path) == 0


def test_processes_share_the_time(monkeypatch):
    monkeypatch.setattr(header, "seconds_per_view", lambda setup: 1.0)
    told = {}
    for processes in (Processes(), Processes(rank=0, size=2)):
        setup = Setup(replace(BASE, arm="supervised"), waving_clips(), processes)
        lines = header.experiment_header(setup, {"run": setup.config}, Path("runs")).splitlines()
        told[processes.size] = next(line for line in lines if line.startswith("time "))
    assert told[1] == "time    about 37 s, by the time of a few clips"
    assert told[2] == (
        "time    about 19 s, by the time of a few clips in one, shared by 2 processes, without their exchange"
    )


def test_time_is_of_views_to_train_and_clips_to_score():
    one = replace(BASE, arm="supervised", eval=EvalConfig(alphas=(0.0, 0.1)))
    sizes = {"trained": 10, "measured": 6, "validated": 0}
    assert expected_views(one, 0, **sizes) == pytest.approx((2 * 10, 6 * 2 / 3))
    assert expected_views(one, 2, **sizes) == pytest.approx((0, 6 * 2 / 3))
    both = replace(one, arm="contrastive", eval=replace(one.eval, num_clips=3, flip_test=True))
    assert expected_views(both, 1, **sizes) == pytest.approx((2 * 10, 6 * 2 * 6 / 3))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1 s"), (89, "89 s"), (91, "2 min"), (3600, "60 min"), (5400, "1.5 h"), (36000, "10.0 h")],
)
def test_durations(seconds, text):
    assert format_duration(seconds) == text


class Normed(nn.Module):
    """A network of a user's own, with torch's batch norm over clips: one clip has nothing to be normalised by."""

    def __init__(self, *, num_classes, num_keypoints):
        super().__init__()
        self.hidden, self.norm = nn.Linear(2 * num_keypoints, 8), nn.BatchNorm1d(8)
        self.out = nn.Linear(8, num_classes)

    def prepare_input(self, batch):
        return batch.keypoints[..., :2].mean((1, 2)).flatten(1) / 16

    def forward(self, x):
        features = self.norm(self.hidden(x))
        return ModelOutput(self.out(features), features)


@pytest.fixture
def normed():
    register_model("normed", Normed)
    yield replace(BASE, arm="supervised", model=ModelConfig(model="normed"))
    del MODELS["normed"]


def test_single_clips_are_refused_before_the_first_step(normed, tmp_path):
    packed = waving_clips(12)
    for optim in ({"batch_size": 1}, {"batch_size": 3, "micro_batch": 2}):
        config = replace(normed, optim=replace(BASE.optim, **optim))
        with pytest.raises(ValueError, match="normed cannot be trained on one clip at a time"):
            run_experiment(packed, {"run": config}, tmp_path, echo=lambda text: None)
    assert not (tmp_path / "run").exists()
    config = replace(normed, optim=replace(BASE.optim, batch_size=3))
    with pytest.raises(ValueError, match="normed cannot be trained on one clip at a time"):
        Trainer(Setup(config, packed, Processes(rank=1, size=2)), tmp_path, quiet=True)
    common = replace(config, model=BASE.model, optim=replace(config.optim, sync_batch_norm=True))
    assert clips_of_passes(Setup(common, packed, Processes(rank=1, size=2)), 3) == [3]
    alone = replace(BASE, optim=replace(BASE.optim, batch_size=1))
    Trainer(Setup(alone, packed), tmp_path, quiet=True)  # whose batch norms take the running statistics


def test_a_last_clip_alone_is_trained_on_with_the_others(normed, tmp_path):
    trainer = Trainer(Setup(normed, waving_clips(24)), tmp_path, quiet=True)
    sizes = [len(views["clean"].labels) for views in trainer.batches(0)]
    assert sizes == [5, 5, 6]
    trainer.fit()
