"""What the job of one run does, in this process."""

import signal

import pytest
from support.sweeps import grid_of
from support.training import assert_equal_runs

from fastpose.sweeps.plan import Clips, plan_grid
from fastpose.sweeps.run_job import RunJob
from fastpose.training.trainer import Trainer


@pytest.fixture
def job(tmp_path):
    plan, _ = plan_grid(grid_of(tmp_path, epochs=4, checkpoint_minutes=0), Clips())
    (swept,) = plan.values()
    return lambda out: RunJob(swept=swept, out=tmp_path / out, threads=1)


def test_a_run_that_was_cut_goes_on_and_a_finished_one_is_left(job, tmp_path, monkeypatch):
    train_epoch, begun = Trainer._train_epoch, []

    def cut_in_third(trainer, epoch, *arguments):
        begun.append(epoch)
        if begun == [0, 1, 2]:
            raise SystemExit
        return train_epoch(trainer, epoch, *arguments)

    monkeypatch.setattr(Trainer, "_train_epoch", cut_in_third)
    with pytest.raises(SystemExit):
        job("cut")()
    assert job("cut")().how == "done"
    assert begun == [0, 1, 2, 2, 3]
    (folder,) = (tmp_path / "cut").iterdir()
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert job("cut")().how == "done"
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert job("whole")().how == "done"
    assert_equal_runs(folder, tmp_path / "whole" / folder.name)


def test_a_run_ends_after_its_step_when_told_to(job, monkeypatch):
    handler = signal.getsignal(signal.SIGTERM)
    steps = []
    train_epoch = Trainer._train_epoch

    def told(trainer, epoch, count, bar, totals):
        signal.raise_signal(signal.SIGTERM)
        update = bar.update
        monkeypatch.setattr(bar, "update", lambda *clips: (steps.append(epoch), update(*clips)))
        return train_epoch(trainer, epoch, count, bar, totals)

    monkeypatch.setattr(Trainer, "_train_epoch", told)
    assert job("out")().how == "stopped"
    assert steps == []  # that step is not shown any more
    assert signal.getsignal(signal.SIGTERM) is handler


def test_a_fault_of_the_program_is_told_as_one(job, monkeypatch, capsys):
    def fail(trainer, **named):
        raise TypeError("no such thing")

    monkeypatch.setattr(Trainer, "fit", fail)
    ended = job("out")()
    assert (ended.how, ended.text) == ("failed", "TypeError: no such thing, a fault of the program")
    assert "Traceback" in capsys.readouterr().err
