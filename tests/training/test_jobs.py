"""Runs trained at once in processes: the same results as one after the other, and how they fail and end."""

import fcntl
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from support.clips import waving_clips
from support.training import TINY, assert_equal_runs, rows_of

from fastpose import train
from fastpose.models.dct_mlp import DctMLP
from fastpose.models.registry import MODELS
from fastpose.settings import ModelConfig
from fastpose.training.checkpoint import BEFORE, CHECKPOINT, read_checkpoint
from fastpose.training.expected_time import seconds_at_once
from fastpose.training.experiment import plan_runs, run_experiment
from fastpose.training.jobs import _Worker, settle_jobs
from fastpose.training.progress import Progress
from fastpose.training.setup import Setup
from fastpose.weights.runs import WEIGHTS

FILES = ("config.json", "environment.json", "robustness.csv", "robustness.png", WEIGHTS)


@pytest.fixture
def base(tmp_path):
    """Settings of runs of a second, whose clips lie in a file."""
    path = tmp_path / "clips.safetensors"
    waving_clips(12).save(path)
    return replace(
        TINY,
        data=replace(TINY.data, data=str(path)),
        model=ModelConfig(model="dct_mlp", dropout=0.2),
        optim=replace(TINY.optim, epochs=2, threads=1),
    )


def test_runs_at_once_equal_those_one_after_the_other(base, tmp_path):
    packed, said = waving_clips(12), []
    plan = plan_runs(base, ["supervised", "contrastive"], [0, 1])
    in_turn = run_experiment(packed, plan, tmp_path / "one")
    at_once = run_experiment(packed, plan, tmp_path / "two", jobs=2, echo=said.append)
    assert list(at_once) == list(in_turn) == list(plan)
    for name in plan:
        assert_equal_runs(tmp_path / "one" / name, tmp_path / "two" / name)
        for file in FILES:
            assert (tmp_path / "one" / name / file).read_bytes() == (
                tmp_path / "two" / name / file
            ).read_bytes()
        states = [read_checkpoint(tmp_path / folder / name)["model"] for folder in ("one", "two")]
        assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())
        for alpha, accuracy in in_turn[name].items():
            assert torch.equal(accuracy.confusion, at_once[name][alpha].confusion)
    for file in ("robustness.csv", "robustness.png"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    told = "\n".join(said)
    assert ", 2 runs at a time, by the time of a few clips" in told
    assert sorted(line.partition(":")[0] for line in said if "trained in" in line) == sorted(plan)


def test_a_run_that_fails_is_named_and_leaves_the_others_alone(base, tmp_path):
    """Results of before, which stand in the folder of one that fails, are no part of the comparison."""
    packed, said = waving_clips(12), []
    plan = plan_runs(base, ["supervised"], [0, 1, 2])
    run_experiment(packed, plan, tmp_path / "runs", echo=said.append)
    longer = {name: replace(config, optim=replace(config.optim, epochs=3)) for name, config in plan.items()}
    broken = tmp_path / "runs" / "supervised-s1" / CHECKPOINT
    state = read_checkpoint(broken.parent)
    torch.save(state | {"optimizer": {}}, broken)
    with pytest.raises(ValueError, match=rf"^supervised-s1: {broken}: is of another run") as caught:
        run_experiment(packed, longer, tmp_path / "runs", resume=True, jobs=2, echo=said.append)
    assert "\n" not in str(caught.value)
    assert any(text.startswith("supervised-s1: failed") for text in said)
    assert {row["run"] for row in rows_of(tmp_path / "runs/robustness.csv")} == {
        "supervised-s0",
        "supervised-s2",
    }
    for seed in (0, 2):
        assert len(rows_of(tmp_path / f"runs/supervised-s{seed}/metrics.csv")) == 3


def test_a_process_that_dies_is_told(base, tmp_path, monkeypatch):
    """As where the system ends it for want of memory: the next run gets a process of its own."""
    hand_over = _Worker.train

    def kill_after(worker, run, pickled):
        hand_over(worker, run, pickled)
        if run == "supervised-s0":
            worker.process.kill()

    monkeypatch.setattr(_Worker, "train", kill_after)
    plan = plan_runs(base, ["supervised"], [0, 1, 2])
    with pytest.raises(ValueError, match=r"^supervised-s0: its process was ended by SIGKILL, as where"):
        run_experiment(waving_clips(12), plan, tmp_path / "runs", jobs=2, echo=lambda text: None)
    assert not (tmp_path / "runs/supervised-s0/robustness.csv").exists()
    assert [row["run"] for row in rows_of(tmp_path / "runs/robustness.csv")[::2]] == [
        "supervised-s1",
        "supervised-s2",
    ]


def hear_ctrl_c():
    """Undo what a shell does to jobs in its background, and what a process started there inherits."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ending_the_command_ends_all_runs_and_they_go_on(number, status, base, tmp_path):
    out = tmp_path / "runs"
    flags = ["--data", base.data.data, "--model", "dct_mlp", "--arms", "supervised", "--seeds", "0", "1"]
    flags += ["--schedule", "constant", "--alphas", "0", "--threads", "1", "--out", str(out)]
    command = [sys.executable, "-m", "fastpose.train", *flags, "--jobs", "2", "--epochs", "1000000"]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=hear_ctrl_c
    ) as process:
        metrics = [out / f"supervised-s{seed}" / "metrics.csv" for seed in (0, 1)]
        while not all(path.exists() for path in metrics):
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.1)
        if number == signal.SIGINT:  # as a terminal does: to all of them
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        told = process.communicate(timeout=120)[1]
    assert process.returncode == status, told
    assert "Traceback" not in told
    assert ("--resume" in told) == (number == signal.SIGINT)
    for folder in (path.parent for path in metrics):
        with open(folder / ".lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # nobody is at work there
        names = {path.name for path in folder.iterdir()}
        assert not names & {"robustness.csv", WEIGHTS}
        assert not any(name.endswith(".partial") for name in names)
    if number == signal.SIGTERM:
        return
    for path in metrics:
        for name in (CHECKPOINT, BEFORE):  # which may be of more epochs than follow
            (path.parent / name).unlink(missing_ok=True)
    assert train.main([*flags, "--jobs", "2", "--epochs", "3", "--resume"]) == 0
    assert train.main([*flags[:-1], str(tmp_path / "whole"), "--jobs", "1", "--epochs", "3"]) == 0
    for seed in (0, 1):
        assert_equal_runs(out / f"supervised-s{seed}", tmp_path / f"whole/supervised-s{seed}")


def test_clips_are_those_that_the_settings_name(base, tmp_path):
    plan = plan_runs(base, ["supervised"], [0, 1])
    with pytest.raises(ValueError, match=r"clips\.safetensors': holds other clips than those given"):
        run_experiment(waving_clips(12, seed=1), plan, tmp_path / "runs", jobs=2, echo=lambda text: None)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("runs", "jobs", "threads", "found"),
    [  # on four cores: runs at once, threads of those that name none
        (12, None, None, (4, 1)),
        (2, None, None, (2, 2)),
        (3, None, None, (3, 1)),
        (1, None, None, (1, None)),
        (12, None, 2, (2, 2)),
        (12, None, 8, (1, 8)),
        (12, 2, None, (2, 1)),
        (12, 9, None, (9, 1)),
        (3, 9, 1, (3, 1)),
        (12, 1, None, (1, None)),
        (1, 4, 4, (1, 4)),
    ],
)
def test_jobs_and_threads_share_the_cores(runs, jobs, threads, found, monkeypatch):
    monkeypatch.setattr("fastpose.training.jobs.core.hardware_threads", lambda: 4)
    config = replace(TINY, optim=replace(TINY.optim, threads=threads))
    plan, at_once, _ = settle_jobs(plan_runs(config, ["supervised"], range(runs)), jobs)
    assert (at_once, plan["supervised-s0"].optim.threads) == found


def test_jobs_that_cannot_be_had(monkeypatch):
    monkeypatch.setattr("fastpose.training.jobs.core.hardware_threads", lambda: 4)
    for jobs, optim, message in (
        (0, {}, "jobs = 0: expected at least 1"),
        (3, {"threads": 2}, "jobs = 3, threads = 2: expected no more threads together than the 4 cores"),
        (2, {"batch_size": "auto"}, "jobs = 2: expected a number as batch_size"),
    ):
        config = replace(TINY, optim=replace(TINY.optim, **optim))
        with pytest.raises(ValueError, match=message):
            settle_jobs(plan_runs(config, ["supervised"], range(3)), jobs)
    auto = replace(TINY, optim=replace(TINY.optim, batch_size="auto"))
    assert settle_jobs(plan_runs(auto, ["supervised"], range(3)), None)[1] == 1


def test_a_run_begun_on_all_threads_goes_on_as_it_was_begun(monkeypatch):
    monkeypatch.setattr("fastpose.training.jobs.core.hardware_threads", lambda: 4)
    plan = plan_runs(TINY, ["supervised"], range(3))
    settled, _, threads = settle_jobs(plan, None, begun=["supervised-s1"])
    assert [config.optim.threads for config in settled.values()] == [1, None, 1]
    assert threads == 1


def test_a_model_that_other_processes_cannot_be_given(base, tmp_path, monkeypatch):
    class Local(DctMLP):
        pass

    monkeypatch.setitem(MODELS, "local", Local)
    config = replace(base, model=ModelConfig(model="local"))
    with pytest.raises(ValueError, match="model 'local': other processes cannot be given it"):
        run_experiment(
            waving_clips(12),
            plan_runs(config, ["supervised"], [0, 1]),
            tmp_path,
            jobs=2,
            echo=lambda text: None,
        )


@pytest.mark.parametrize(("free", "fitting"), [(100e9, 3), (1.3e9, 2), (0.9e9, 1), (1e6, 1)])
def test_as_many_jobs_as_the_memory_holds(free, fitting, monkeypatch):
    """Processes of 0.4 GB, in three quarters of what is free; the steps of this model are small."""
    monkeypatch.setattr("fastpose.training.fitting.available_memory", lambda device: free)
    config = replace(TINY, arm="supervised", optim=replace(TINY.optim, batch_size=16))
    setup = Setup(config, waving_clips())

    def draw(count):
        return setup.draw(setup.train_indices[:count], 0)

    assert setup.memory.steps_at_once(draw, 0, 16, 3) == fitting
    monkeypatch.setattr(setup.memory, "measure", lambda views, epoch: 1e9 + 5e8 * len(views["clean"].labels))
    monkeypatch.setattr("fastpose.training.fitting.available_memory", lambda device: 30e9)
    assert setup.memory.steps_at_once(draw, 0, 16, 3) == 2  # 22.5 of 9.4 GB each


def test_time_of_runs_at_once():
    assert seconds_at_once([1, 2, 3], 1) == 6
    assert seconds_at_once([1, 2, 3], 2) == 3  # the longest first
    assert seconds_at_once([1, 1, 1], 2) == 2
    assert seconds_at_once([5, 1], 4) == 5


def test_the_display_counts_what_runs_have_before_them(capsys):
    with Progress({"a": (6.0, 2.0), "b": (2.0, 0.0)}) as progress:
        progress.show("a", "step", 10, 15, 20, {"loss": "1.5"})
        assert progress._total.n == pytest.approx(3.0)
        progress.show("a", "clip", 0, 3, 4, {})
        assert progress._total.n == pytest.approx(7.5)
        progress.show("b", "step", 20, 20, 20, {})  # all were done before
        assert progress._total.n == pytest.approx(9.5)
        assert "a clip 3/4, b step 20/20" in progress._total.postfix
        progress.end("b")
        progress.end("a")
        assert progress._total.n == pytest.approx(10.0)
        assert progress._total.postfix == "2 done"
    assert "100%" in capsys.readouterr().err
