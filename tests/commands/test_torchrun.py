"""`fastpose train` in several processes that torchrun starts: one run, one folder, and how they end."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from support.clips import waving_clips
from support.training import assert_equal_runs, rows_of, weights_of

from fastpose import evaluate, reproduce, sweep, train, verify
from fastpose.training.checkpoint import read_checkpoint

FLAGS = [
    "--model",
    "dct_mlp",
    "--arms",
    "contrastive",
    "--batch-size",
    "5",
    "--alphas",
    "0",
    "0.1",
    "--device",
    "cpu",
]
FLAGS += ["--precision", "fp32", "--schedule", "constant", "--checkpoint-minutes", "0"]
RUN = "contrastive-0-0.3-s0"


@pytest.fixture
def data(tmp_path):
    waving_clips(26).save(tmp_path / "clips.safetensors")
    return ["--data", str(tmp_path / "clips.safetensors"), *FLAGS]


def launch(size, arguments, **how):
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(size)]
    command += ["--master-port", "0", "--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
    return subprocess.Popen(
        [*command, "-m", "fastpose.train", *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, **how,
    )  # fmt: skip


def finish(process):
    out, told = process.communicate(timeout=300)
    return process.returncode, out, told


def children_of(pid):
    return open(f"/proc/{pid}/task/{pid}/children").read().split()


def written(run):
    path = run / "checkpoint.pt"
    return path.stat().st_mtime_ns if path.exists() else 0


def test_two_processes_train_one_run_which_may_be_cut(data, tmp_path):
    """Killed, told to end and resumed they end in the same bits; another number of them goes on."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    status, out, told = finish(launch(2, [*data, "--epochs", 40, "--out", whole]))
    assert status == 0, told
    assert out.count("trained in") == 1
    assert len(list((whole / RUN).glob("events*"))) <= 1
    assert [int(row["epoch"]) for row in rows_of(whole / RUN / "metrics.csv")] == list(range(40))
    assert {row["num_clips"] for row in rows_of(whole / RUN / "robustness.csv")} == {"9"}
    assert json.loads((whole / RUN / "environment.json").read_text())["world_size"] == 2
    for number, more in ((signal.SIGTERM, []), (signal.SIGKILL, ["--resume"])):
        process = launch(2, [*data, "--epochs", 40, "--out", cut, *more])
        before = written(cut / RUN)
        while written(cut / RUN) == before and process.poll() is None:
            time.sleep(0.02)
        if number == signal.SIGTERM:
            process.send_signal(number)  # to the launcher, which tells the others
        else:
            os.kill(int(children_of(process.pid)[0]), number)
        status, _, told = finish(process)
        assert status != 0
        assert (number == signal.SIGTERM) or "error: rank 1: lost contact with another process" in told
        read_checkpoint(cut / RUN)
    status, _, told = finish(launch(2, [*data, "--epochs", 40, "--out", cut, "--resume"]))
    assert status == 0, told
    assert_equal_runs(whole / RUN, cut / RUN)
    for name in ("whole", "cut"):  # alone, and within an epoch of three
        assert (
            train.main([*data, "--epochs", "41", "--out", str(tmp_path / name), "--resume", "--jobs", "1"])
            == 0
        )
    assert_equal_runs(whole / RUN, cut / RUN)
    status, _, told = finish(launch(3, [*data, "--epochs", 42, "--out", cut, "--resume"]))
    assert status == 0, told
    assert len(rows_of(cut / RUN / "metrics.csv")) == 42


def test_two_processes_learn_what_one_learns(data, tmp_path):
    """With common statistics and without dropout, up to rounding, in every epoch."""
    flags = [*data, "--model", "posec3d", "--epochs", 3, "--sync-batch-norm", "--dropout", 0, "--out"]
    status, _, told = finish(launch(2, [*flags, tmp_path / "two"]))
    assert status == 0, told
    assert train.main([*map(str, flags), str(tmp_path / "one"), "--jobs", "1"]) == 0
    two, one = (rows_of(tmp_path / name / RUN / "metrics.csv") for name in ("two", "one"))
    for row, expected in zip(two, one, strict=True):
        assert float(row["loss"]) == pytest.approx(float(expected["loss"]), rel=1e-3)
    found, expected = (weights_of(tmp_path / name / RUN) for name in ("two", "one"))
    for name, weight in expected.items():
        assert torch.allclose(found[name], weight, rtol=1e-2, atol=1e-3), name


def test_failures_name_their_rank(data, tmp_path):
    (tmp_path / "runs" / RUN).mkdir(parents=True)
    status, _, told = finish(launch(2, [*data, "--epochs", 1, "--out", tmp_path / "runs"]))
    assert status != 0
    errors = [line for line in told.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert errors[0].startswith(f"error: rank 0: {tmp_path / 'runs' / RUN} exists; use --resume")


@pytest.mark.parametrize("command", [evaluate, reproduce, sweep, verify])
def test_what_one_process_does_is_refused(command, monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert command.main(["absent", "--out", "absent"]) == 2
    name = command.__name__.removeprefix("fastpose.")
    told = capsys.readouterr().err
    assert told == f"error: rank 1: WORLD_SIZE = 2: {name} runs in one process; only train is for torchrun\n"


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({}, "error: rank ?: no RANK: expected a launcher such as torchrun to set it to a number"),
        ({"RANK": "2"}, "error: rank 2: RANK = 2, WORLD_SIZE = 2: expected a rank from 0 to 1"),
        (
            {"RANK": "0", "LOCAL_WORLD_SIZE": "0", "MASTER_ADDR": "a", "MASTER_PORT": "1"},
            "LOCAL_WORLD_SIZE = 0: expected a launcher",
        ),
        ({"RANK": "0"}, "error: rank 0: WORLD_SIZE = 2, and no MASTER_ADDR: expected a launcher"),
    ],
)
def test_variables_of_no_launcher(variables, message, data, monkeypatch, capsys):
    for name in ("RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"WORLD_SIZE": "2", **variables}.items():
        monkeypatch.setenv(name, value)
    assert train.main(data) == 2
    assert message in capsys.readouterr().err
