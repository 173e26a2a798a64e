"""The job that trains and measures a run."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from fastpose.data.core import core
from fastpose.models.inputs.protocol import PoseModule
from fastpose.reproduction.run_plan import read_result
from fastpose.reproduction.runner import run_task
from fastpose.sweeps.job import Bar, Ended, Job
from fastpose.sweeps.plan import SweptRun
from fastpose.training.trainer import OnEpoch


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

    def train(self, swept: SweptRun, bar: Bar, on_epoch: OnEpoch = lambda row: None) -> None:
        """Train and measure a run unless it is finished, from its checkpoint where it was cut.

        Raises:
            ValueError: it cannot be trained, or another process is at work in its folder.
        """
        run = swept.run
        if read_result(self.out, run) is not None:
            return
        threads = self.threads or core.hardware_threads()
        task = run_task(run.config, self.out / run.name, threads, swept.chance, print)
        replace(task, factory=self.factory)(bar, print, on_epoch)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunJob(TrainingJob):
    """Trains and measures one run of a grid."""

    swept: SweptRun

    def work(self, bar: Bar) -> Ended:
        self.train(self.swept, bar)
        return Ended("done")
