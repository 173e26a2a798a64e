"""Checkpoints: within an epoch, damaged, and of states that fit no weight."""

import errno
import os
import random
from dataclasses import replace

import pytest
import torch
from support.clips import waving_clips
from support.training import TINY, assert_equal_runs, stopped_after

from fastpose.settings import ModelConfig
from fastpose.training import checkpoint
from fastpose.training.checkpoint import (
    BEFORE,
    CHECKPOINT,
    DAMAGED,
    check_checkpoint,
    read_checkpoint,
    save_checkpoint,
)
from fastpose.training.setup import Setup
from fastpose.training.trainer import Trainer

PACKED = waving_clips(24)  # 16 of them to train on, in 3 steps an epoch
QUICK = replace(TINY, model=ModelConfig(model="dct_mlp"), optim=replace(TINY.optim, ema=0.9))
OFTEN = replace(QUICK, optim=replace(QUICK.optim, checkpoint_minutes=0.0))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    Trainer(Setup(QUICK, PACKED), folder, quiet=True).fit()
    return folder


@pytest.mark.parametrize("steps", [1, 2, 3, 5])
def test_told_to_end_a_run_ends_with_its_step_and_goes_on_behind_it(steps, whole, tmp_path):
    stopped_after(tmp_path, steps, QUICK, PACKED)
    state = read_checkpoint(tmp_path)
    assert (state["epochs_done"], state["epoch"]["steps"]) == (steps // 3, steps % 3 + 1)
    Trainer(Setup(QUICK, PACKED), tmp_path, quiet=True).fit(resume=True)
    assert_equal_runs(whole, tmp_path)


def test_of_a_damaged_checkpoint_the_one_before_it_is_taken(whole, tmp_path):
    stopped_after(tmp_path, 4, OFTEN, PACKED)
    content = (tmp_path / CHECKPOINT).read_bytes()
    rng = random.Random(0)
    for _ in range(20):
        damaged = bytearray(content)
        place = rng.randrange(len(content))
        damaged[place] ^= 1 << rng.randrange(8)
        (tmp_path / CHECKPOINT).write_bytes(damaged)
        try:
            check_checkpoint(tmp_path / CHECKPOINT)
        except ValueError:
            with pytest.warns(UserWarning, match=f"{CHECKPOINT}: .*; the one before it is taken, {BEFORE}"):
                assert read_checkpoint(tmp_path)["epoch"]["steps"] == 1
        else:  # in bytes that fill up a page, or in a time
            assert read_checkpoint(tmp_path)["epoch"]["steps"] == 2
    (tmp_path / CHECKPOINT).write_bytes(content[: len(content) // 2])
    good = (tmp_path / BEFORE).read_bytes()
    with pytest.warns(UserWarning, match="the one before it is taken"):
        stopped_after(tmp_path, 1, QUICK, PACKED, resume=True)
    assert read_checkpoint(tmp_path)["epoch"]["steps"] == 3
    assert (tmp_path / BEFORE).read_bytes() == good  # whose place the damaged one did not take
    assert (tmp_path / DAMAGED).read_bytes() == content[: len(content) // 2]
    Trainer(Setup(QUICK, PACKED), tmp_path, quiet=True).fit(resume=True)
    assert_equal_runs(whole, tmp_path)


def test_one_that_cannot_be_read_now_is_not_damaged(tmp_path, monkeypatch):
    """As where there are too many open files: both stay as they are."""
    stopped_after(tmp_path, 4, OFTEN, PACKED)
    before = {name: (tmp_path / name).read_bytes() for name in (CHECKPOINT, BEFORE)}

    def refuse(path):
        raise OSError(errno.EMFILE, "Too many open files", str(path))

    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "check_saved", refuse)
        with pytest.raises(OSError, match=f"Too many open files: .*{CHECKPOINT}"):
            Trainer(Setup(QUICK, PACKED), tmp_path, quiet=True).fit(resume=True)
    assert before == {name: (tmp_path / name).read_bytes() for name in (CHECKPOINT, BEFORE)}


def test_where_both_are_damaged_nothing_is_trained(tmp_path):
    stopped_after(tmp_path, 4, OFTEN, PACKED)
    for name in (CHECKPOINT, BEFORE):
        (tmp_path / name).write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(ValueError, match=f"{CHECKPOINT}: is no checkpoint, or a damaged one"):
        Trainer(Setup(QUICK, PACKED), tmp_path, quiet=True).fit(resume=True)


def test_two_are_kept_where_files_have_one_name_each(tmp_path, monkeypatch):
    """As on file systems without hard links."""

    def link(*_):
        raise PermissionError("not here")

    monkeypatch.setattr(os, "link", link)
    for epochs in range(1, 4):
        save_checkpoint(tmp_path, {"epochs_done": epochs, "model": {}, "optimizer": {}})
    assert read_checkpoint(tmp_path)["epochs_done"] == 3
    (tmp_path / CHECKPOINT).unlink()
    assert read_checkpoint(tmp_path)["epochs_done"] == 2
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda moments: moments.update(exp_avg=moments["exp_avg"][:1]),
        lambda moments: moments.update(exp_avg_sq=moments["exp_avg_sq"].double()),
        lambda moments: moments.update(step=torch.zeros(3)),
        lambda moments: moments.update(exp_avg=1.0),
        lambda moments: moments.pop("exp_avg"),
    ],
)
def test_moments_that_fit_no_weight_are_refused(spoil, tmp_path):
    """Steps in one kernel for all weights trust them."""
    stopped_after(tmp_path, 4, QUICK, PACKED)
    state = read_checkpoint(tmp_path)
    spoil(state["optimizer"]["state"][3])
    save_checkpoint(tmp_path, state)
    with pytest.raises(ValueError, match="its weights or optimiser state do not fit this one"):
        Trainer(Setup(QUICK, PACKED), tmp_path, quiet=True).fit(resume=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 9}, "9 steps into an epoch of 3"),
        ({"steps": -1}, "do not fit this one"),
        ({"sums": None}, "do not fit this one"),
        ({"unknown": 1}, "do not fit this one"),
    ],
)
def test_the_middle_of_no_epoch_of_this_run(changes, message, tmp_path):
    stopped_after(tmp_path, 4, QUICK, PACKED)
    state = read_checkpoint(tmp_path)
    state["epoch"] |= changes
    save_checkpoint(tmp_path, state)
    with pytest.raises(ValueError, match=message):
        Trainer(Setup(QUICK, PACKED), tmp_path, quiet=True).fit(resume=True)
