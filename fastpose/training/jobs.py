"""Runs trained at once, each in a process: how many, on how many threads, and what becomes of those that fail."""

import multiprocessing
import pickle
import signal
import warnings
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import wait
from typing import Any

from fastpose.data.core import core
from fastpose.evaluation.curves import Curve
from fastpose.settings import RunConfig
from fastpose.system.placement import Placement
from fastpose.system.signals import ctrl_c_held, sigterm_leaves
from fastpose.training.one_run import RunTask
from fastpose.training.progress import Progress
from fastpose.training.worker import BAR, DONE, FAULT, SAY, WARNING, work

DIED = "died"  # beside the kinds of messages: there is none any more
END_SECONDS = 20.0  # that a process has for the step in hand, and to put its files in order


def settle_jobs(
    plan: Mapping[str, RunConfig], jobs: int | None, begun: Collection[str] = ()
) -> tuple[dict[str, RunConfig], int, int]:
    """Return the runs of ``plan``, how many of them are trained at once, and the threads of each that names none.

    By default as many as there are cores and runs, which share the cores; one on a GPU, and where the batch size is to
    be found, since a batch then takes all memory. A run alone has all threads. Of several, those that name no number
    of threads are given theirs, but for those that were ``begun`` without one.

    Raises:
        ValueError: a number of jobs that cannot be had.
    """
    if jobs is not None and jobs < 1:
        raise ValueError(f"jobs = {jobs}: expected at least 1")
    first = next(iter(plan.values())).optim
    on_cpu = Placement.choose(first.device, first.precision).device.type == "cpu"
    finds_batch = any(config.optim.batch_size == "auto" for config in plan.values())
    cores = core.hardware_threads()
    wanted = max(config.optim.threads or 1 for config in plan.values())
    chosen = jobs if jobs is not None else cores // wanted if on_cpu and not finds_batch else 1
    chosen = max(1, min(chosen, len(plan)))
    if chosen == 1:
        return dict(plan), 1, cores
    if finds_batch:
        raise ValueError(
            f"jobs = {chosen}: expected a number as batch_size, since 'auto' takes the memory for one run"
        )
    if on_cpu and wanted > 1 and chosen * wanted > cores:
        raise ValueError(
            f"jobs = {chosen}, threads = {wanted}: expected no more threads together than the {cores} cores there are"
        )
    threads = 1 if jobs is not None else max(1, cores // chosen)
    settled = {
        name: config
        if config.optim.threads is not None or name in begun
        else replace(config, optim=replace(config.optim, threads=threads))
        for name, config in plan.items()
    }
    return settled, chosen, threads


@dataclass(slots=True)
class Outcome:
    """What became of runs: curves of those that are done, and why the others are not.

    Attributes:
        failed: a sentence each.
        faults: a traceback each, of errors of the program.
    """

    curves: dict[str, Curve] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)

    def raise_failures(self) -> None:
        """Raise ValueError that names the runs that failed, or RuntimeError where that is a fault of the program."""
        text = "; ".join(f"{name}: {why}" for name, why in (self.failed | self.faults).items())
        if self.faults:
            raise RuntimeError(text)
        if self.failed:
            raise ValueError(text)


class _Worker:
    """A process that trains one run after another.

    Attributes:
        run: the name of the one that it is at.
    """

    def __init__(self, threads: int) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would lack the threads of torch
        self.run = ""
        self.connection, other = context.Pipe()
        self.process = context.Process(target=work, args=(other, threads), daemon=True)
        with ctrl_c_held():
            self.process.start()
        other.close()

    def train(self, run: str, pickled: bytes) -> None:
        """Hand the process its next run."""
        self.run = run
        with suppress(ConnectionError):  # it has died, as it will be heard
            self.connection.send_bytes(pickled)

    def hear(self) -> tuple[str, Any]:
        """Return the kind of the process's next message and what belongs to it; DIED and how where there is none."""
        try:
            kind, *values = pickle.loads(self.connection.recv_bytes())
        except (EOFError, ConnectionError):
            self.end()
            code = self.process.exitcode or 0
            how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
            memory = ", as where the memory is used up" if code == -signal.SIGKILL else ""
            return DIED, [f"its process {how}{memory}"]
        return kind, values

    def end(self) -> None:
        """Wait for the end of the process, which has no more to do."""
        self.connection.close()
        self.process.join(END_SECONDS)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def train_at_once(
    tasks: Sequence[RunTask],
    jobs: int,
    threads: int,
    views: Mapping[str, tuple[float, float]],
    echo: Callable[[str], object],
    admit: Callable[[str], bool] = lambda run: True,
) -> Outcome:
    """Train runs in ``jobs`` processes, with one display; one that fails leaves the others alone.

    Ctrl-C and SIGTERM end them all as Ctrl-C ends a run, which can go on from its last checkpoint.

    Args:
        tasks: the runs, in the order in which they begin.
        jobs: how many at a time.
        threads: of a process.
        views: what each run has before it, by its name, to train and to be measured.
        echo: is given what there is to say.
        admit: is asked by its name before a run begins whether there is time for it; one that it refuses is left out.

    Raises:
        ValueError: a model that other processes cannot be given.
    """
    waiting = deque((task.folder.name, _pickled(task)) for task in tasks)
    outcome, warned = Outcome(), dict[Any, Any]()
    workers: dict[Any, _Worker] = {}  # by connection

    def take_next() -> tuple[str, bytes] | None:
        while waiting:
            run = waiting.popleft()
            if admit(run[0]):
                return run
            progress.leave_out(run[0])
        return None

    def warn(text: str, category: type[Warning], file: str, line: int) -> None:
        warnings.warn_explicit(text, category, file, line, registry=warned)  # once, whoever says it

    with sigterm_leaves(), Progress(views) as progress:
        try:
            while len(workers) < jobs and (run := take_next()) is not None:
                worker = _Worker(threads)
                workers[worker.connection] = worker
                worker.train(*run)
            while workers:
                for connection in wait(list(workers)):
                    worker = workers[connection]
                    kind, values = worker.hear()
                    if kind == BAR:
                        progress.show(worker.run, *values)
                        continue
                    if kind in (SAY, WARNING):
                        progress.say(echo if kind == SAY else warn, *values)
                        continue
                    del workers[connection]
                    progress.end(worker.run)
                    if kind == DONE:
                        outcome.curves[worker.run] = values[0]
                    else:
                        (outcome.faults if kind == FAULT else outcome.failed)[worker.run] = values[0]
                        progress.say(echo, f"{worker.run}: failed{'; the others go on' if workers else ''}")
                    if (run := take_next()) is not None:
                        worker = _Worker(threads) if kind == DIED else worker
                        workers[worker.connection] = worker
                        worker.train(*run)
                    else:
                        worker.end()
        finally:
            for worker in workers.values():
                worker.process.terminate()
            for worker in workers.values():
                worker.end()
    return outcome


def _pickled(task: RunTask) -> bytes:
    try:
        return pickle.dumps(task)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ValueError(
            f"model {task.config.model.model!r}: other processes cannot be given it ({error}); expected a class or "
            "function of a module, or --jobs 1"
        ) from error
