"""Validation in training: when, on what, what it decides; and that an interruption changes nothing."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.clips import waving_clips
from support.training import TINY, assert_equal_runs, rows_of, weights_of

from fastpose.data.pack.splits import held_out_clips
from fastpose.settings import RunConfig
from fastpose.settings.files import from_dict
from fastpose.training.checkpoint import CHECKPOINT, read_checkpoint
from fastpose.training.setup import Setup
from fastpose.training.trainer import Trainer
from fastpose.weights.runs import WEIGHTS

DATA = replace(TINY.data, val_clips=5)
OPTIM = replace(TINY.optim, val_every=1, val_alphas=(0.0, 0.1), epochs=3, checkpoint_minutes=0.0)
VALIDATED = replace(TINY, arm="supervised", data=DATA, optim=OPTIM)


def changed(**optim):
    return replace(VALIDATED, optim=replace(OPTIM, **optim))


def with_scores(trainer, scores):
    """Let the validations of ``trainer`` find these scores, epoch by epoch."""
    real = trainer.early_stop.update
    trainer.early_stop.update = lambda score, epoch, model: real(scores[epoch - 1], epoch, model)
    return trainer


def train_until(trainer, epoch):
    """Train, and be interrupted in ``epoch``."""
    real = trainer._train_epoch

    def train_epoch(now, *arguments):
        if now == epoch:
            raise KeyboardInterrupt
        return real(now, *arguments)

    trainer._train_epoch = train_epoch
    with pytest.raises(KeyboardInterrupt):
        trainer.fit()


@pytest.fixture
def folders(tmp_path):
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    return tmp_path / "whole", tmp_path / "parts"


@pytest.mark.parametrize(
    "optim",
    [
        {"schedule": "cosine", "warmup_epochs": 1.5},
        {"schedule": "one_cycle", "ema": 0.0},
        {"schedule": "one_cycle", "warmup_epochs": 0.5, "pct_start": 0.5},
        {"schedule": "step", "lr_decay": 0.5, "val_every": 2},
        {"patience": 4},
        {"patience": 4, "ema": 0.0, "precision": "bf16"},
    ],
    ids=lambda optim: " ".join(f"{key}={value}" for key, value in optim.items()),
)
def test_every_schedule_resumes_to_the_same_bits(optim, folders):
    packed, config = waving_clips(18), changed(**optim)
    whole, parts = folders
    Trainer(Setup(config, packed), whole, quiet=True).fit()
    train_until(Trainer(Setup(config, packed), parts, quiet=True), epoch=2)
    assert not (parts / WEIGHTS).exists()
    Trainer(Setup(config, packed), parts, quiet=True).fit(resume=True)
    assert_equal_runs(whole, parts)


def test_a_validation_leaves_the_training_as_it_is(folders):
    packed = waving_clips()
    one, two = folders
    Trainer(Setup(VALIDATED, packed), one, quiet=True).fit()
    Trainer(Setup(changed(val_every=0, val_alphas=(0.0, 0.02)), packed), two, quiet=True).fit()
    first, second = weights_of(one), weights_of(two)
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_validations_are_logged_where_they_are_made(tmp_path):
    packed = waving_clips()
    trainer = Trainer(Setup(changed(val_every=2), packed), tmp_path, quiet=True)
    trainer.fit()
    rows = rows_of(tmp_path / "metrics.csv")
    assert [row["val_top1_percent"] != "" for row in rows] == [False, True, True]
    last = {name: float(value) for name, value in rows[-1].items()}
    levels = (last["val_top1_percent_at_0"], last["val_top1_percent_at_0.1"])
    assert last["val_top1_percent"] == pytest.approx(sum(levels) / 2, abs=1e-3)
    assert last["val_clips_per_s"] == pytest.approx(5 * 2 / last["val_s"], rel=1e-4)
    assert set(trainer.setup.val_indices) & set(trainer.setup.train_indices) == set()
    on_val = replace(trainer.config.data, test_on="val")
    measured = Trainer(Setup(replace(trainer.config, data=on_val), packed), tmp_path, quiet=True)
    assert np.array_equal(measured.setup.test_indices, trainer.setup.val_indices)
    assert np.array_equal(held_out_clips(packed, DATA), trainer.setup.val_indices)
    measured.setup.model.load_state_dict(trainer.setup.model.state_dict())
    measured.setup.average.load_state_dict(trainer.setup.average.state_dict())
    assert [accuracy.top1_percent for accuracy in measured.measure().values()] == pytest.approx(
        levels, abs=1e-3
    )


@pytest.mark.parametrize(("ema", "interrupted"), [(0.0, None), (0.0, 2), (0.9, 1), (0.9, 3)])
def test_a_run_stops_at_its_best_weights(ema, interrupted, folders, capsys):
    """The best of these is the second epoch, and the fourth is the last, interrupted or not."""
    packed, config = waving_clips(), changed(patience=2, epochs=9, ema=ema)
    scores = [50, 60, 60, 55, 90]
    short, stopped = folders
    Trainer(Setup(changed(epochs=2, ema=ema), packed), short, quiet=True).fit()
    resume = interrupted is not None
    if resume:
        trainer = Trainer(Setup(config, packed), stopped, quiet=True)
        train_until(with_scores(trainer, scores), interrupted)
    trainer = with_scores(Trainer(Setup(config, packed), stopped), scores)
    trainer.fit(resume=resume)
    assert "stopped after 2 validations without a better one; its weights are those after epoch 2" in (
        "".join(capsys.readouterr())
    )
    assert len(rows_of(stopped / "metrics.csv")) == 4
    best = weights_of(stopped)
    expected = weights_of(short)
    assert all(torch.equal(best[key], expected[key]) for key in expected)
    assert all(
        torch.equal(value, best[key]) for key, value in trainer.setup.trained_model.state_dict().items()
    )
    assert read_checkpoint(stopped)["epochs_done"] == 4

    again = Trainer(Setup(config, packed), stopped, quiet=True)
    again._train_epoch = None  # a run that has stopped trains no more
    again.fit(resume=True)
    assert all(torch.equal(value, best[key]) for key, value in weights_of(stopped).items())


def test_a_checkpoint_without_the_best_weights_is_refused(tmp_path):
    packed = waving_clips()
    Trainer(Setup(changed(epochs=1), packed), tmp_path, quiet=True).fit()
    trainer = Trainer(Setup(changed(patience=2), packed), tmp_path, quiet=True)
    with pytest.raises(ValueError, match=f"{CHECKPOINT}: is of another run"):
        trainer.fit(resume=True)
    state = read_checkpoint(tmp_path)
    for broken in (3, {}, {"weights": {"a": 1}, "best_epoch": 1, "best_score": 0.0, "stale": 0}):
        torch.save(state | {"early_stop": broken}, tmp_path / CHECKPOINT)
        with pytest.raises(ValueError, match=f"{CHECKPOINT}: is of another run"):
            trainer.fit(resume=True)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"optim": {"val_every": 2}}, "val_every = 2: expected val_clips > 0"),
        ({"optim": {"patience": 3}}, "patience = 3: expected val_every > 0"),
        ({"optim": {"patience": 3}, "data": {"val_clips": 9}}, "patience = 3: expected val_every > 0"),
        ({"optim": {"val_every": -1}}, "val_every = -1: expected 0 or more"),
        ({"optim": {"val_alphas": []}}, "val_alphas = .*: expected one noise level"),
        ({"optim": {"pct_start": 1}}, "pct_start = 1.0: expected 0 < share < 1"),
        ({"optim": {"div_factor": 0.5}}, "div_factor = 0.5: expected a number ≥ 1"),
    ],
)
def test_settings_that_do_not_fit_each_other_are_named(values, message):
    with pytest.raises(ValueError, match=message):
        from_dict(values)


def test_settings_without_effect():
    idle = from_dict({"optim": {"val_alphas": [0.1], "div_factor": 10}}).idle_settings()
    assert idle == [
        "div_factor has no effect with schedule = 'constant'",
        "val_alphas has no effect with val_every = 0",
    ]
    assert RunConfig().idle_settings() == []
    assert VALIDATED.idle_settings() == []


def test_each_epoch_is_told_once_it_is_written(tmp_path):
    told = []

    def on_epoch(row):
        told.append((row["epoch"], row["val_top1_percent"], len(rows_of(tmp_path / "metrics.csv"))))
        if row["epoch"] == 1:
            raise StopIteration

    setup = Setup(VALIDATED, waving_clips())
    with pytest.raises(StopIteration):
        Trainer(setup, tmp_path, quiet=True, on_epoch=on_epoch).fit()
    assert [(epoch, rows) for epoch, _, rows in told] == [(0, 1), (1, 2)]
    for row, (_, score, _) in zip(rows_of(tmp_path / "metrics.csv"), told, strict=True):
        assert float(row["val_top1_percent"]) == pytest.approx(score, rel=1e-5)
    assert read_checkpoint(tmp_path)["epochs_done"] == 2
    assert not (tmp_path / WEIGHTS).exists()
