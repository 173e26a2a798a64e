"""The job that trains and measures a run."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from fastpose.data.core import core
from fastpose.models.inputs.protocol import PoseModule
from fastpose.reproduction.run_plan import read_result
from fastpose.reproduction.runner import run_task
from fastpose.sweeps.job import Ended, Job
from fastpose.sweeps.plan import SweptRun
from fastpose.training.trainer import OnEpoch
from fastpose.training.worker import SentBar


def _tell_nobody(*message: object) -> None:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingJob(Job):
    """A job that trains runs.

    Attributes:
        out: holds the folders of runs.
        threads: CPU threads for torch; None for all that the process may have.
        factory: makes the model where it is one of a user's own.
    """

    out: Path
    threads: int | None
    factory: Callable[..., PoseModule] | None = None

    def train(
        self, swept: SweptRun, told_to_end: threading.Event, on_epoch: OnEpoch = lambda row: None
    ) -> None:
        """Train and measure a run unless it is finished, from its checkpoint where it was cut.

        Nobody is shown how far it is, which metrics.csv says.

        Raises:
            ValueError: it cannot be trained, or another process is at work in its folder.
        """
        run = swept.run
        if read_result(self.out, run) is not None:
            return
        threads = self.threads or core.hardware_threads()
        task = run_task(run.config, self.out / run.name, threads, swept.chance, print)
        replace(task, factory=self.factory)(partial(SentBar, _tell_nobody), print, told_to_end, on_epoch)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunJob(TrainingJob):
    """Trains and measures one run of a grid."""

    swept: SweptRun

    def work(self, told_to_end: threading.Event) -> Ended:
        self.train(self.swept, told_to_end)
        return Ended("done")
