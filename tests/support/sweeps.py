"""Sweeps of seconds over a small set of clips, and jobs that train nothing."""

import json
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from fastpose.sweeps.grid import read_grid
from fastpose.sweeps.job import Ended, Job

QUICK = {
    "preset": "report",
    "arm": "supervised",
    "model": "dct_mlp",
    "epochs": 2,
    "batch_size": 6,
    "clip_len": 8,
    "alphas": [0, 0.1],
    "device": "cpu",
    "precision": "fp32",
}


def write_grid(folder, clips=18, name="grid.json", **settings):
    """Write clips, and a file of a sweep over them with these settings beside those of QUICK; return its path."""
    from support.clips import waving_clips  # not in processes that do short jobs

    path = folder / "clips.safetensors"
    if not path.exists():
        waving_clips(clips).save(path)
    (folder / name).write_text(json.dumps({"data": str(path), **QUICK, **settings}))
    return folder / name


def grid_of(folder, *, search=False, **settings):
    """Read such a file."""
    return read_grid(write_grid(folder, **settings), search=search)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShortJob(Job):
    """A job without training: leaves a file, and then does what it is told."""

    file: Path
    do: str = "end"

    def work(self, told_to_end):
        first = not self.file.exists()
        self.file.write_text(f"{os.environ.get('CUDA_VISIBLE_DEVICES')} {os.getpid()}")
        if self.do == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.do == "refuse":
            raise ValueError("lr = -1: expected a number > 0")
        if self.do == "fail":
            raise TypeError("of the program")
        while self.do == "go on" or (self.do == "end later" and first):
            time.sleep(0.02)
            if told_to_end.is_set():
                raise KeyboardInterrupt
        return Ended("done")
