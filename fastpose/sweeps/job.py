"""What a process does that submitit starts, and how it ends, also when it is told to.

Nothing here imports torch.
"""

import os
import signal
import threading
import traceback
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from fastpose.sweeps.packages import submitit_package
from fastpose.system.errors import error_sentence


@dataclass(frozen=True, slots=True)
class Ended:
    """How a job has ended: done, pruned, with nothing to do, told to stop, or failed; and a sentence on it."""

    how: Literal["done", "pruned", "nothing", "stopped", "failed"]
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job(ABC):
    """A job that another process can be given, pickled.

    Attributes:
        variables: of the environment, which are set first; None for one that is to be away.
    """

    variables: Mapping[str, str | None] = field(default_factory=dict)

    @abstractmethod
    def work(self, told_to_end: threading.Event) -> Ended:
        """Do what there is to do; once ``told_to_end`` is set, end well, by KeyboardInterrupt."""

    def __call__(self) -> Ended:
        """Do it, and say how it ended. SIGTERM ends it after the step in hand, as Ctrl-C ends a run."""
        for name, value in self.variables.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        told_to_end = threading.Event()
        before = signal.signal(signal.SIGTERM, lambda number, frame: told_to_end.set())
        try:
            return self.work(told_to_end)
        except KeyboardInterrupt:
            return Ended("stopped")
        except (ValueError, OSError) as error:
            traceback.print_exc()
            return Ended("failed", error_sentence(error))
        except Exception as error:
            traceback.print_exc()
            return Ended("failed", f"{type(error).__name__}: {error}, a fault of the program")
        finally:
            signal.signal(signal.SIGTERM, before)

    def checkpoint(self) -> Any:
        """Return what submitit starts where SLURM ended this job for want of time: the same, which goes on."""
        return submitit_package().helpers.DelayedSubmission(self)
