"""`fastpose sweep`: from a file to a table, with runs that fail, are cut, or are there already."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from support.sweeps import write_grid
from support.training import assert_equal_runs, rows_of

from fastpose import sweep as command
from fastpose import train
from fastpose.models.registry import MODELS
from fastpose.settings.files import from_file
from fastpose.sweeps.grid import read_grid
from fastpose.sweeps.plan import Clips, plan_grid
from fastpose.system.lock import locked_folder

pytest.importorskip("submitit", reason='no submitit: pip install "fastpose-action[sweep]"')


def names_of(path):
    return list(plan_grid(read_grid(path), Clips())[0])


@pytest.fixture
def in_this_process(monkeypatch):
    """Do jobs one after the other where the command runs, which is faster."""

    def run_here(jobs, folder, at_once, end, tick):
        for name, job in jobs.items():
            end(name, job())

    monkeypatch.setattr("fastpose.sweeps.running.run_here", run_here)


def files_of(folder):
    files = (path for path in folder.rglob("*") if path.is_file())
    return {
        path: path.stat().st_mtime_ns for path in files if path.name != ".lock" and "sweep-" not in str(path)
    }


def test_a_grid_is_trained_measured_and_compared(tmp_path, capsys):
    path, out = write_grid(tmp_path, lr=[0.001, 1e30], grad_clip=1e30), tmp_path / "out"
    good, wild = names_of(path)
    assert command.main([str(path), "--out", str(out), "--jobs", "2"]) == 2
    said = capsys.readouterr()
    assert f"{path}: 0 of 2 runs are finished in {out}\n" in said.out
    assert f"{wild}: failed, the loss of epoch 0 is nan: training diverged" in said.out
    assert said.err.count("\n") == 1
    assert said.err.startswith(f"error: {wild}: the loss of epoch 0")
    assert {row["alpha"] for row in rows_of(out / "sweep-grid/runs.csv")} == {"0", "0.1"}
    before = files_of(out / good)
    flags = ["--data", str(tmp_path / "clips.safetensors"), "--preset", "report", "--arms", "supervised"]
    flags += [
        "--model",
        "dct_mlp",
        "--epochs",
        "2",
        "--batch-size",
        "6",
        "--clip-len",
        "8",
        "--alphas",
        "0",
        "0.1",
    ]
    flags += ["--device", "cpu", "--precision", "fp32", "--threads", "1"]
    flags += ["--lr", "0.001", "--grad-clip", "1e30", "--jobs", "1", "--out", str(tmp_path / "trained")]
    assert train.main(flags) == 0
    assert_equal_runs(out / good, tmp_path / "trained/supervised-s0")

    path = write_grid(tmp_path, lr=[0.001], grad_clip=1e30)  # now no process is started
    capsys.readouterr()
    assert command.main([str(path), "--out", str(out)]) == 0
    assert f"{path}: 1 of 1 runs are finished in {out}\n" in capsys.readouterr().out
    assert files_of(out / good) == before
    assert len(list((out / "sweep-grid/jobs").iterdir())) == 1


@pytest.mark.usefixtures("in_this_process")
def test_a_run_that_others_are_at_is_refused_alone(tmp_path, capsys):
    path, out = write_grid(tmp_path, epochs=1, seeds=[0, 1]), tmp_path / "out"
    first, second = names_of(path)
    (out / first).mkdir(parents=True)
    with locked_folder(out / first):
        assert command.main([str(path), "--out", str(out), "--jobs", "2"]) == 2
    assert f"error: {first}: {out / first}: process {os.getpid()} is at work in it" in capsys.readouterr().err
    assert (out / second / "robustness.csv").exists()
    assert not (out / first / "config.json").exists()


def hear_ctrl_c():
    """Undo what a shell does to jobs in its background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ctrl_c_ends_all_runs_and_keeps_them(tmp_path):
    path, out = write_grid(tmp_path, epochs=100_000, threads=1), tmp_path / "out"
    arguments = [sys.executable, "-m", "fastpose", "sweep", str(path), "--out", str(out)]
    folders = [out / name for name in names_of(path)]
    with subprocess.Popen(
        arguments, stderr=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=hear_ctrl_c
    ) as process:
        while not all((folder / "metrics.csv").exists() for folder in folders):
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
        told = process.communicate(timeout=120)[1]
    assert process.returncode == 130, told
    assert told.strip().splitlines()[-1] == "stopped; what is finished is kept; the same command goes on"
    assert "Traceback" not in told
    for folder in folders:
        with locked_folder(folder):  # nobody is at work there
            assert not (folder / "robustness.csv").exists()


@pytest.mark.usefixtures("in_this_process")
def test_a_search_writes_settings_to_train_with(tmp_path, capsys):
    pytest.importorskip("optuna", reason='no Optuna: pip install "fastpose-action[sweep]"')
    lr = {"low": 1e-4, "high": 1e-1, "log": True}
    path, out = write_grid(tmp_path, lr=lr, seeds=[3]), tmp_path / "out"
    for trials, done in ((1, 0), (2, 1)):
        assert command.main([str(path), "--out", str(out), "--jobs", "1", "--trials", str(trials)]) == 0
        said = capsys.readouterr().out
        assert (
            f"{path}: {done} of {trials} trials are finished in {out}; they are judged by 2 clips held out"
            in said
        )
    assert "trials: 2 complete, 0 pruned, 0 failed" in said
    best = from_file(out / "sweep-grid/best.json")
    assert (best.seed, best.data.val_clips, best.data.test_on, best.optim.val_every) == (3, 0, "test", 0)
    assert f"optim.lr = {best.optim.lr!r}" in said
    tried = {from_file(path).optim.lr for path in out.glob("*/config.json")}
    assert len(tried) == 2
    assert {float(row["optim.lr"]) for row in rows_of(out / "sweep-grid/runs.csv")} == tried
    command_line = ["--config", str(out / "sweep-grid/best.json"), "--out", str(tmp_path / "best")]
    assert train.main(command_line) == 0
    trained = from_file(tmp_path / "best/supervised-s3/config.json")
    assert replace(trained, optim=replace(trained.optim, threads=None)) == best
    assert rows_of(tmp_path / "best/supervised-s3/robustness.csv")[0]["num_clips"] == "6"  # the test split


@pytest.mark.parametrize(
    ("settings", "flags", "message"),
    [
        ({"lr": []}, [], "{grid}: lr = []: expected one value or more"),
        ({"lr": [1, -1]}, [], "{grid}: optim.lr = -1: lr = -1.0: expected a number > 0"),
        ({"data": "absent.safetensors"}, [], "{grid}: absent.safetensors"),
        ({"input": ["skeleton", "limb"]}, [], "{grid}: model.input = 'limb': "),
        ({"device": "cuda"}, [], "{grid}: device = 'cuda': "),
        ({}, ["--jobs", "0"], "--jobs 0: expected at least 1"),
        ({}, ["--trials", "0"], "--trials 0: expected at least 1"),
        ({}, ["--trials", "2"], "{grid}: names one value for each setting; expected ranges, or lists"),
        (
            {"threads": 2},
            ["--jobs", "99"],
            "{grid}: jobs = 2, threads = 2: expected no more threads together than",
        ),
        ({}, ["--model", "dct_mlp"], "--model dct_mlp: {grid} names a model too; expected one of them"),
        ({}, ["--no-wait"], "--no-wait: is for --slurm; runs here end with the command"),
        ({}, ["--slurm", "partition"], "--slurm partition: expected options with values"),
        ({}, ["--slurm", "partition=gpu"], "--slurm: sbatch is not here; expected a SLURM cluster's node"),
    ],
)
def test_mistakes_end_in_one_line_before_anything_begins(
    tmp_path, monkeypatch, capsys, settings, flags, message
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("fastpose.training.jobs.core.hardware_threads", lambda: 2)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    path = write_grid(tmp_path, seeds=[0, 1], **settings)
    assert command.main([str(path), "--out", "out", *flags]) == 2
    said = capsys.readouterr()
    assert said.err.startswith(f"error: {message.format(grid=path)}")
    assert said.err.count("\n") == 1
    assert not list(tmp_path.glob("out/*-s?"))


@pytest.mark.parametrize(("package", "flags"), [("submitit", []), ("optuna", ["--trials", "1"])])
def test_a_missing_package_is_named_with_its_extra(tmp_path, monkeypatch, capsys, package, flags):
    monkeypatch.setitem(sys.modules, package, None)
    path = write_grid(tmp_path, lr=[0.1, 0.2])
    assert command.main([str(path), "--out", str(tmp_path / "out"), *flags]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {package} is needed ")
    assert said.endswith(': pip install "fastpose-action[sweep]"\n')
    assert not list(tmp_path.glob("out/*-s?"))


@pytest.mark.usefixtures("in_this_process")
def test_a_network_of_your_own(tmp_path, monkeypatch, capsys):
    (tmp_path / "mine.py").write_text(
        "from fastpose.models.dct_mlp import DctMLP\n\n\nclass Mine(DctMLP):\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(MODELS, "mine:Mine", raising=False)
    path = write_grid(tmp_path, epochs=1)
    content = {name: value for name, value in json.loads(path.read_text()).items() if name != "model"}
    path.write_text(json.dumps(content | {"model": "mine:Mine"}))
    assert command.main([str(path), "--out", str(tmp_path / "out")]) == 2
    assert "model 'mine:Mine' is code outside fastpose; name it by --model" in capsys.readouterr().err
    path.write_text(json.dumps(content))
    assert command.main([str(path), "--out", str(tmp_path / "out"), "--model", "mine:Mine"]) == 0
    (config,) = (tmp_path / "out").glob("supervised-*-s0/config.json")
    assert from_file(config).model.model == "mine:Mine"
