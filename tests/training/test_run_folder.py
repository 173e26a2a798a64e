"""Runs that go on: with more epochs, to be measured otherwise, by one process at a time."""

import json
from dataclasses import replace

import pytest
import torch
from support.clips import waving_clips
from support.training import TINY, assert_equal_runs, rows_of, stopped_after, weights_of

from fastpose.evaluation.curves import read_curves
from fastpose.settings import EvalConfig, ModelConfig
from fastpose.system.lock import LOCK, locked_folder
from fastpose.training.checkpoint import CHECKPOINT, read_checkpoint
from fastpose.training.experiment import run_experiment
from fastpose.training.run_folder import open_folder
from fastpose.weights.runs import CONFIG

PACKED = waving_clips(12)
QUICK = replace(
    TINY,
    arm="supervised",
    model=ModelConfig(model="dct_mlp"),
    optim=replace(TINY.optim, epochs=2, warmup_epochs=0.5),
    eval=EvalConfig(alphas=(0.1,)),
)


def changed(**optim):
    return replace(QUICK, optim=replace(QUICK.optim, **optim))


def run(config, out, **how):
    said = []
    curves = run_experiment(PACKED, {"run": config}, out, echo=said.append, **how)
    return curves["run"], "\n".join(said)


@pytest.mark.parametrize("schedule", ["constant", "step"])
def test_more_epochs_are_those_of_a_longer_run(schedule, tmp_path):
    more = changed(epochs=4, schedule=schedule)
    run(more, tmp_path / "whole")
    run(changed(schedule=schedule), tmp_path / "parts")
    _, said = run(more, tmp_path / "parts", resume=True)
    assert_equal_runs(tmp_path / "whole/run", tmp_path / "parts/run")
    assert json.loads((tmp_path / "parts/run" / CONFIG).read_text())["optim"]["epochs"] == 4
    assert "schedule" not in said


def test_a_schedule_that_was_planned_goes_on_as_that_of_more_epochs(tmp_path):
    run(changed(schedule="cosine"), tmp_path)
    _, said = run(changed(schedule="cosine", epochs=4, warmup_epochs=1.5), tmp_path, resume=True)
    assert (
        "run: schedule = 'cosine' was planned for 2 epochs; from epoch 2 on its learning rate is that of 4"
        in said
    )
    assert "run: warmup_epochs stays 0.5" in said
    rates = [float(row["lr"]) for row in rows_of(tmp_path / "run/metrics.csv")]
    assert rates[2] > rates[1]  # which had nearly ended
    assert rates[3] < rates[2]


def test_fewer_epochs_and_other_levels_are_measured_again(tmp_path):
    run(QUICK, tmp_path)
    before = weights_of(tmp_path / "run")
    rows = rows_of(tmp_path / "run/metrics.csv")
    fewer = replace(changed(epochs=1), eval=EvalConfig(alphas=(0.2, 0.0), num_clips=2))
    curve, said = run(fewer, tmp_path, resume=True)
    assert list(curve) == [0.0, 0.2]
    assert list(read_curves(tmp_path / "run/robustness.csv")["run"]) == [0.0, 0.2]
    assert "run: 2 epochs are done, of the 1 asked for: it is measured again, and not trained" in said
    assert rows_of(tmp_path / "run/metrics.csv") == rows
    after = weights_of(tmp_path / "run")
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert json.loads((tmp_path / "run" / CONFIG).read_text())["optim"]["epochs"] == 2


@pytest.mark.parametrize(("asked", "epochs"), [(1, 2), (2, 2), (3, 3)])
def test_an_epoch_that_is_begun_is_finished(asked, epochs, tmp_path):
    folder, config = tmp_path / "run", changed(epochs=5, batch_size=3)  # of 8 clips: 3 steps an epoch
    with open_folder(folder, config, resume=False, overwrite=False, facts={}):
        stopped_after(folder, 4, config, PACKED)
    assert read_checkpoint(folder)["epoch"]["steps"] == 2
    _, said = run(changed(epochs=asked, batch_size=3), tmp_path, resume=True)
    assert len(rows_of(folder / "metrics.csv")) == epochs
    finished = "run: 1 epochs are done, of the 1 asked for, and one is begun: that one is finished"
    assert (finished in said) == (asked < epochs)


def test_what_was_trained_may_not_change(tmp_path):
    run(QUICK, tmp_path)
    with pytest.raises(ValueError, match=r"differ in optim\.weight_decay \(0\.01 there\)$|differ in optim"):
        run(changed(weight_decay=0.5, epochs=3), tmp_path, resume=True)
    (tmp_path / "run" / CHECKPOINT).unlink()
    with pytest.raises(ValueError, match=r"is finished, and has no checkpoint\.pt to go on from"):
        run(QUICK, tmp_path, resume=True)


def test_a_run_goes_on_with_its_clips_wherever_they_lie(tmp_path):
    run(QUICK, tmp_path)
    moved = replace(changed(epochs=3), data=replace(QUICK.data, data="elsewhere/clips.safetensors"))
    run(moved, tmp_path, resume=True)
    assert len(rows_of(tmp_path / "run/metrics.csv")) == 3
    others = waving_clips(12, seed=1)
    with pytest.raises(
        ValueError, match=r"differ in data\.data \(other clips than 'elsewhere/clips.* held there"
    ):
        run_experiment(others, {"run": moved}, tmp_path, resume=True, echo=lambda text: None)


@pytest.mark.parametrize("found", [None, 64 * "0"])
def test_a_run_of_no_such_fingerprint_goes_by_the_path(found, tmp_path):
    run(QUICK, tmp_path)
    (tmp_path / "run/environment.json").write_text(json.dumps({"data_fingerprint": found}))
    moved = replace(QUICK, data=replace(QUICK.data, data="elsewhere.safetensors"))
    with pytest.raises(ValueError, match=r"differ in data\.data \('synthetic' there\)"):
        run(moved, tmp_path, resume=True)
    run(QUICK, tmp_path, resume=True)


def test_nothing_to_resume(tmp_path):
    with pytest.raises(ValueError, match=f"--resume: none of run is in {tmp_path / 'absent'}$"):
        run(QUICK, tmp_path / "absent", resume=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / CONFIG).write_text("{}")
    with pytest.raises(ValueError, match="none of run is in .*; there are: other"):
        run(QUICK, tmp_path, resume=True)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("how", ["resume", "overwrite"])
def test_a_folder_in_use_is_refused(how, tmp_path):
    run(QUICK, tmp_path)
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.name != LOCK}
    with (
        locked_folder(tmp_path / "run"),
        pytest.raises(ValueError, match="run: process .* is at work in it"),
    ):
        run(QUICK, tmp_path, **{how: True})
    assert before.items() <= {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}.items()


def test_overwriting_leaves_nothing_behind(tmp_path):
    run(QUICK, tmp_path)
    (tmp_path / "run" / "notes.txt").write_text("old")
    (tmp_path / "run" / "more").mkdir()
    run(QUICK, tmp_path, overwrite=True)
    assert not {"notes.txt", "more"} & {path.name for path in (tmp_path / "run").iterdir()}
    assert len(rows_of(tmp_path / "run/metrics.csv")) == 2
