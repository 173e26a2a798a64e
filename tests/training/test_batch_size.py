"""The batch size that fits is found, told, written down and used again."""

import json
from dataclasses import replace

import pytest
from support.clips import waving_clips
from support.training import TINY

from fastpose import train
from fastpose.settings import ModelConfig
from fastpose.training import fitting
from fastpose.training.batch_size import choose_batch_size
from fastpose.training.checkpoint import CHECKPOINT
from fastpose.training.experiment import plan_runs, run_experiment
from fastpose.training.setup import Setup

LIGHT = ModelConfig(model="x3d_shallow", input="heatmap")
AUTO = replace(TINY, model=LIGHT, optim=replace(TINY.optim, batch_size="auto", epochs=1))
ENOUGH = 2**40


def free(monkeypatch, count):
    monkeypatch.setattr(fitting, "available_memory", lambda device: int(count))


def test_more_memory_allows_larger_batches_up_to_the_split(monkeypatch):
    packed = waving_clips(60)  # 40 to train on
    sizes = []
    for megabytes in (8, 15, 25, 10_000):
        free(monkeypatch, megabytes * 2**20)
        chosen, line = choose_batch_size(AUTO, packed)
        size = chosen.optim.batch_size
        sizes.append(size)
        assert f"batch size {size}, which fits in" in line
        assert "the learning rate is not scaled with it: --lr 0.001" in line
        assert replace(chosen, optim=AUTO.optim) == AUTO
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[2] < sizes[3] == 32
    free(monkeypatch, 2**20)
    with pytest.raises(ValueError, match="batch_size = 'auto': not even one clip fits"):
        choose_batch_size(AUTO, packed)


def test_the_choice_is_written_and_a_resumed_run_keeps_it(tmp_path, monkeypatch, capsys):
    packed, plan = waving_clips(), plan_runs(AUTO, ["supervised"], [0])
    free(monkeypatch, ENOUGH)
    run_experiment(packed, plan, tmp_path)
    folder = tmp_path / "supervised-s0"
    assert json.loads((folder / "config.json").read_text())["optim"]["batch_size"] == 16
    assert "supervised-s0: batch size 16" in capsys.readouterr().out
    weights = (folder / "model.safetensors").read_bytes()
    for file in (CHECKPOINT, "model.safetensors"):  # as if interrupted before the first of them
        (folder / file).unlink()
    monkeypatch.setattr("fastpose.training.experiment.choose_batch_size", None)
    run_experiment(packed, plan, tmp_path, resume=True)
    assert json.loads((folder / "config.json").read_text())["optim"]["batch_size"] == 16
    assert (folder / "model.safetensors").read_bytes() == weights
    assert "batch size" not in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"supervised-s0 exists; use --resume"):
        run_experiment(packed, plan, tmp_path)


def test_training_needs_a_number():
    with pytest.raises(ValueError, match="batch_size = 'auto': training needs a number"):
        Setup(AUTO, waving_clips())


def test_it_is_a_flag(capsys):
    assert train.parse(["--batch-size", "auto"]).optim.batch_size == "auto"
    assert train.parse(["--batch-size", "48", "--micro-batch", "8"]).optim.batch_size == 48
    for wrong in (["--batch-size", "all"], ["--batch-size", "auto", "--micro-batch", "8"]):
        with pytest.raises((SystemExit, ValueError)):
            train.parse(wrong)


def test_too_large_a_batch_ends_the_command_in_a_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    waving_clips().save("pack.safetensors")
    free(monkeypatch, 12 * 2**20)
    command = ["--data", "pack.safetensors", "--epochs", "1", "--batch-size", "16", "--device", "cpu"]
    command += ["--model", "x3d_shallow", "--input", "heatmap", "--size", "16", "16", "--clip-len", "8"]
    command += ["--jobs", "1"]  # in this process, whose memory is set
    assert train.main(command) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: a step on 16 clips does not fit")
    assert "--batch-size " in error
