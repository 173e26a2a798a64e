"""Trains a run in processes that are killed, one after another, until one ends: killed_runs.py FOLDER SEED KILLS.

Each process is a fork of this one, goes on from the folder's checkpoint, and is killed at a time or at a call that the
seed draws. The last line says how many were killed.
"""

import os
import random
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch
from support.clips import waving_clips
from support.training import TINY

from fastpose.settings import ModelConfig
from fastpose.training import checkpoint
from fastpose.training.one_run import train_run
from fastpose.training.setup import Setup
from fastpose.training.trainer import Trainer

CONFIG = replace(
    TINY,
    model=ModelConfig(model="dct_mlp"),
    optim=replace(TINY.optim, epochs=40, batch_size=4, checkpoint_minutes=0.0),
)
# What the writing of a checkpoint and of other files calls, by module and name.
CALLS = ((torch, "save"), (os, "link"), (os, "replace"), (os, "fsync"), (checkpoint, "_keep_before"))


def train(folder: Path) -> None:
    trainer = Trainer(Setup(CONFIG, waving_clips(24)), folder, quiet=True)
    train_run(trainer, 0.0, resume=True, overwrite=False, echo=lambda text: None)


def kill_at_call(rng: random.Random) -> None:
    """Let this process kill itself before, within or after one of the next calls that write."""
    module, name = rng.choice(CALLS)
    left, called = rng.randrange(1, 7), getattr(module, name)
    before = rng.random() < 0.5

    def call(*arguments, **named):
        nonlocal left
        left -= 1
        if left == 0 and before:
            if name == "save":  # half a file is written
                Path(arguments[1]).write_bytes(os.urandom(rng.randrange(5000)))
            os.kill(os.getpid(), signal.SIGKILL)
        result = called(*arguments, **named)
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(module, name, call)


def main(folder: Path, seed: int, kills: int) -> None:
    rng = random.Random(seed)
    killed = 0
    while True:
        at_call = rng.random() < 0.7
        child = os.fork()
        if child == 0:
            if killed < kills and at_call:
                kill_at_call(rng)
            train(folder)
            os._exit(0)
        if killed < kills and not at_call:
            time.sleep(rng.uniform(0.02, 0.2))
            os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
        if status == 0:
            break
        assert os.WIFSIGNALED(status), f"it ended with status {os.waitstatus_to_exitcode(status)}"
        assert os.WTERMSIG(status) == signal.SIGKILL
        killed += 1
        rng.seed(f"{seed} {killed}")  # the child drew from its own copy
    print(killed)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
