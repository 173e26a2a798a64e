"""Trials of a search, each in this process: what they choose, what judges them, and what becomes of those cut."""

import csv
import errno
import json
import threading
import time
from contextlib import ExitStack

import numpy as np
import pytest
from support.sweeps import grid_of
from support.training import assert_equal_runs, rows_of

from fastpose.settings.files import from_file
from fastpose.sweeps.plan import Clips
from fastpose.sweeps.search import Search, TrialJob, claim_trial, counted, in_state, read_score
from fastpose.system.lock import locked_folder
from fastpose.training.trainer import Trainer

pytest.importorskip("optuna", reason='no Optuna: pip install "fastpose-action[sweep]"')

LR = {"low": 1e-4, "high": 1e-1, "log": True}


def search_of(folder, trials, **settings):
    grid = grid_of(folder, search=True, **{"lr": LR, **settings})
    return Search.begin(grid, folder / "out/sweep-grid", trials, Clips())


def trial_job(search):
    return TrialJob(search=search, out=search.folder.parent, threads=1)


def runs_in(search):
    return {path.parent.name for path in search.folder.parent.glob("*/config.json")}


def test_trials_are_judged_by_held_out_clips_alone(tmp_path):
    search = search_of(tmp_path, 2, seeds=[0, 1], epochs=3)
    ended = [trial_job(search)() for _ in range(3)]
    assert [each.how for each in ended] == ["done", "done", "nothing"]
    trials = counted(search.open_study())
    for trial in trials:
        folders = [search.folder.parent / name for name in trial.user_attrs["runs"]]
        assert [folder.name[-3:] for folder in folders] == ["-s0", "-s1"]
        last = []
        for folder in folders:
            config = from_file(folder / "config.json")
            assert (config.data.test_on, config.data.val_clips) == ("val", 2)  # of 12
            assert (config.optim.val_every, config.optim.lr) == (1, trial.params["optim.lr"])
            assert rows_of(folder / "robustness.csv")[0]["num_clips"] == "2"
            last.append(float(rows_of(folder / "metrics.csv")[-1]["val_top1_percent"]))
        assert trial.value == pytest.approx(np.mean(last))
        first = rows_of(folders[0] / "metrics.csv")
        assert trial.intermediate_values == {
            int(row["epoch"]): pytest.approx(float(row["val_top1_percent"])) for row in first
        }
    assert 1e-4 <= trials[0].params["optim.lr"] != trials[1].params["optim.lr"] <= 1e-1
    assert len(runs_in(search)) == 4


def test_the_best_validation_counts_where_a_run_may_end_early(tmp_path):
    with open(tmp_path / "metrics.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([["epoch", "val_top1_percent"], [0, 10], [1, ""], [2, 30], [3, 20]])
    early = search_of(tmp_path, 1, patience=2, val_every=1, val_clips=3).corners(Clips())[0].run.config
    assert read_score(tmp_path, early) == 30
    whole = search_of(tmp_path, 1).corners(Clips())[0].run.config
    assert read_score(tmp_path, whole) == 20
    (tmp_path / "metrics.csv").write_text("epoch\n0\n")
    with pytest.raises(ValueError, match=r"metrics\.csv: has no val_top1_percent"):
        read_score(tmp_path, whole)


def test_trials_worse_than_the_median_are_pruned(tmp_path, monkeypatch):
    """With validations that say the number of the trial, in falling order, from the sixth on."""
    number = -1
    fit = Trainer.fit

    def count(trainer, **named):
        nonlocal number
        number += 1
        fit(trainer, **named)

    def validate(trainer, epoch):
        return {"val_top1_percent": 50.0 - number + epoch}

    monkeypatch.setattr(Trainer, "fit", count)
    monkeypatch.setattr(Trainer, "_validate", validate)
    search = search_of(tmp_path, 8, epochs=10)
    ended = [trial_job(search)() for _ in range(8)]
    assert [each.how for each in ended] == ["done"] * 5 + ["pruned"] * 3
    assert ended[6].text.startswith("trial 6 (optim.lr = ")
    trials = counted(search.open_study())
    # of the five that are complete the median is the third; a fifth of the epochs passes first
    assert [len(trial.intermediate_values) for trial in in_state(trials, "PRUNED")] == [3] * 3
    finished = list(search.folder.parent.glob("*/robustness.csv"))
    assert len(finished) == 5
    for name in trials[6].user_attrs["runs"]:
        assert len(rows_of(search.folder.parent / name / "metrics.csv")) == 3


def test_equal_choices_are_trained_once(tmp_path):
    search = search_of(tmp_path, 6, lr=[0.001, 0.01])
    assert [trial_job(search)().how for _ in range(6)] == ["done"] * 6
    assert len(runs_in(search)) == 2
    trials = counted(search.open_study())
    assert len(trials) == 6
    assert len({(trial.params["optim.lr"], trial.value) for trial in trials}) == 2


def test_a_search_one_by_one_can_be_repeated(tmp_path):
    found = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        search = search_of(tmp_path / name, 3, epochs=1, dropout={"low": 0, "high": 0.9})
        for _ in range(3):
            trial_job(search)()
        found.append([(trial.params, trial.value) for trial in counted(search.open_study())])
    assert found[0] == found[1]


def test_a_trial_that_was_cut_goes_on(tmp_path, monkeypatch):
    """Killed in the middle, its run is gone on with, and ends as one that was not."""
    search = search_of(tmp_path, 1, epochs=4)
    job = trial_job(search)
    train_epoch = Trainer._train_epoch

    def cut(trainer, epoch, *arguments):
        trainer.checkpoint_seconds = 0
        if epoch == 2:
            raise SystemExit  # no error, so that the study is told nothing
        return train_epoch(trainer, epoch, *arguments)

    monkeypatch.setattr(Trainer, "_train_epoch", cut)
    with pytest.raises(SystemExit):
        job()
    assert [trial.state.name for trial in counted(search.open_study())] == ["RUNNING"]
    monkeypatch.setattr(Trainer, "_train_epoch", train_epoch)
    assert job().how == "done"
    study = search.open_study()
    assert [trial.state.name for trial in study.get_trials()] == ["FAIL", "COMPLETE"]
    (trial,) = counted(study)
    assert trial.number == 1
    assert trial.params == study.get_trials()[0].params
    assert trial.intermediate_values.keys() == {0, 1, 2, 3}
    assert job().how == "nothing"
    (name,) = runs_in(search)
    (tmp_path / "whole").mkdir()
    whole = search_of(tmp_path / "whole", 1, epochs=4)
    assert trial_job(whole)().how == "done"  # of the same first parameters
    assert runs_in(whole) == {name}
    assert_equal_runs(search.folder.parent / name, whole.folder.parent / name)


def test_a_trial_that_another_process_is_at_is_left_alone(tmp_path):
    search = search_of(tmp_path, 2)
    with ExitStack() as first, ExitStack() as second, ExitStack() as third:
        _, one = claim_trial(search, first)
        _, two = claim_trial(search, second)
        assert (one.number, two.number) == (0, 1)
        assert claim_trial(search, third) is None
        assert [trial.state.name for trial in counted(search.open_study())] == ["RUNNING"] * 2
        first.close()  # as where its process ends
        _, again = claim_trial(search, third)
        assert again.params == one.params
    assert trial_job(search)().how == "done"


def test_a_run_of_two_trials_at_once_is_waited_for(tmp_path):
    search = search_of(tmp_path, 1, lr=[0.001], gamma1=[1, 2])
    at_work = ExitStack()
    for swept in search.corners(Clips()):
        folder = search.folder.parent / swept.run.name
        folder.mkdir(parents=True)
        at_work.enter_context(locked_folder(folder))
    threading.Timer(1.0, at_work.close).start()
    began = time.monotonic()
    assert trial_job(search)().how == "done"
    assert time.monotonic() - began > 0.9


def test_settings_that_do_not_work_are_failed_trials(tmp_path):
    search = search_of(tmp_path, 2, lr=[1e30], grad_clip=[1e30, 1e31])
    ended = trial_job(search)()
    assert ended.how == "failed"
    assert "training diverged" in ended.text
    assert ended.text.startswith("trial 0 (optim.grad_clip = 1e+3")
    assert [trial.state.name for trial in counted(search.open_study())] == ["FAIL"]


def test_studies_are_told_apart_by_what_they_search(tmp_path):
    name = search_of(tmp_path, 3).name
    assert name.startswith("grid-")
    assert search_of(tmp_path, 9).name == name
    assert search_of(tmp_path, 3, threads=1).name == name
    for other in (
        {"lr": {**LR, "high": 0.2}}, {"lr": {**LR, "log": False}}, {"lr": [0.1, 0.2]}, {"epochs": 3}, {"seeds": [1]},
    ):  # fmt: skip
        assert search_of(tmp_path, 3, **other).name != name


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"lr": [0.1]},
            "names one value for each setting; expected ranges, or lists to choose from, to search",
        ),
        ({"lr": {"low": -1, "high": 1}}, "optim.lr = -1.0: lr = -1.0: expected a number > 0"),
        (
            {"ema": {"low": 0, "high": 1}},
            "optim.lr = 0.0001, optim.ema = 1.0: ema = 1.0: expected 0 ≤ ema < 1",
        ),
        (
            {"epochs": {"low": 1, "high": 9}, "warmup_epochs": 4},
            "warmup_epochs = 4.0: expected a number from 0 to",
        ),
        ({"val_clips": [3, 12]}, "data.val_clips = 12: 12 clips cannot be held out of 12"),
    ],
)
def test_searches_that_cannot_begin(tmp_path, settings, message):
    with pytest.raises(ValueError) as refused:
        search_of(tmp_path, 3, **settings)
    assert str(refused.value).startswith(f"{tmp_path / 'grid.json'}: ")
    assert message in str(refused.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "damage", [b"\0\xff" * 9, b"{}\n", b"[1]\n2\n", b'{"op_code": 99, "worker_id": "a"}\n']
)
def test_a_damaged_journal_is_a_sentence(tmp_path, damage):
    search = search_of(tmp_path, 1)
    search.open_study()
    search.journal.write_bytes(damage + search.journal.read_bytes())
    with pytest.raises(ValueError, match=r"\.journal: is no journal of Optuna \(.*\); delete it$") as refused:
        search.open_study()
    assert "\n" not in str(refused.value)


def test_half_a_line_of_the_journal_is_no_damage(tmp_path):
    search = search_of(tmp_path, 2)
    assert trial_job(search)().how == "done"
    whole = search.journal.read_bytes()
    for half in (b'{"op_code": 4, "work', b"{", whole.splitlines()[-1]):
        search.journal.write_bytes(whole + half)
        (trial,) = counted(search.open_study())
        assert trial.state.name == "COMPLETE"
        assert search.journal.read_bytes().startswith(whole)
    assert trial_job(search)().how == "done"
    assert len(counted(search.open_study())) == 2


def test_a_full_disk_is_no_fault_of_the_settings(tmp_path, monkeypatch):
    search = search_of(tmp_path, 1)

    def fail(trainer, **named):
        raise OSError(errno.ENOSPC, "No space left on device", "checkpoint.pt")

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "fit", fail)
        ended = trial_job(search)()
    assert ended.how == "failed"
    assert ended.text.endswith("): checkpoint.pt: No space left on device")
    assert trial_job(search)().how == "done"
    (trial,) = counted(search.open_study())
    assert trial.state.name == "COMPLETE"


def test_values_of_every_kind_are_chosen_as_they_are(tmp_path):
    search = search_of(
        tmp_path, 1, alphas=[[0], [0, 0.1]], front_end=["off", "means"], normalize=[True, False], head_lr=[None, 1],
        alpha={"low": 0, "high": 0.2}, batch_size={"low": 2, "high": 6, "step": 2}, arm=["augmented", "supervised"],
    )  # fmt: skip
    with ExitStack() as held:
        _, trial = claim_trial(search, held)
        choice = search.choose(trial.params)
    assert choice["eval.alphas"] in ([0], [0, 0.1])
    assert choice["model.normalize"] in (True, False)
    assert choice["optim.head_lr"] in (None, 1)
    assert choice["optim.batch_size"] in (2, 4, 6)
    (swept,) = search.runs(choice, Clips())
    assert swept.run.config.optim.alpha == str(choice["optim.alpha"])
    assert swept.run.config.data.sampling.frame_rule == (
        "means" if choice["front_end"] == "means" else "segments"
    )
    assert json.loads(json.dumps(trial.params)) == trial.params
