"""Trains what the tables need and is not there yet, as far as the time allows, and writes the report."""

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from fastpose.data.core import core
from fastpose.data.pack.fingerprint import fingerprint
from fastpose.data.pack.packed import PackedClips
from fastpose.data.pack.split_checks import odd_splits
from fastpose.data.pack.splits import select_clips
from fastpose.evaluation.metrics import majority_percent
from fastpose.reproduction.gathering import gather
from fastpose.reproduction.page import format_page
from fastpose.reproduction.report import PAGE, report_files, write_report
from fastpose.reproduction.results import Reproduction, RunResult
from fastpose.reproduction.rows import TableRows
from fastpose.reproduction.run_plan import PlannedRun, plan_tables, read_result
from fastpose.settings import DataConfig, RunConfig
from fastpose.settings.identity import NOT_DECIDING
from fastpose.system.files import check_output_folder
from fastpose.system.lock import FolderInUseError, locked_folder
from fastpose.system.placement import Placement
from fastpose.training.checkpoint import has_checkpoint, read_checkpoint
from fastpose.training.expected_time import expected_views, format_duration, seconds_at_once, seconds_per_view
from fastpose.training.experiment import jobs_that_fit
from fastpose.training.header import epochs_logged
from fastpose.training.jobs import train_at_once
from fastpose.training.one_run import RunTask
from fastpose.training.run_folder import check_folder
from fastpose.training.setup import Setup
from fastpose.weights.runs import METRICS

RUNS = "runs"  # where in the folder the runs are
BESIDE_OTHERS = 1.3  # how much longer a run takes than alone, where several share the memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is to be reproduced, and how.

    Attributes:
        data: the clips, and their splits.
        tables: with their rows.
        seeds: runs of each row.
        budget: seconds within which runs are to be done; None for as long as they take.
        jobs: runs at a time; None for as many as there are cores, on a GPU 1.
        command: that asks for it, as the report tells.
    """

    data: DataConfig
    tables: Sequence[TableRows]
    seeds: int = 3
    budget: float | None = None
    jobs: int | None = None
    command: str = "fastpose reproduce"


@dataclass(slots=True)
class _State:
    """How far the rows are, by label, and their runs, by name."""

    runs: Mapping[str, list[PlannedRun]]
    done: dict[str, RunResult]
    impossible: dict[str, str] = field(default_factory=dict)  # why the data cannot give a row
    cut: dict[str, str] = field(default_factory=dict)  # why a row is not whole
    seconds: dict[str, tuple[float, float]] = field(default_factory=dict)  # to train, to measure
    fitting: dict[str, int] = field(default_factory=dict)  # how many at a time the memory holds

    def label_of(self, run: str) -> str:
        return next(label for label, runs in self.runs.items() if any(each.name == run for each in runs))

    @property
    def reasons(self) -> dict[str, str]:
        return self.cut | self.impossible

    def waiting(self) -> dict[str, PlannedRun]:
        """Return the runs to do, those of the first seed first."""
        rows = [runs for label, runs in self.runs.items() if label not in self.impossible]
        by_seed = (runs[seed] for seed in range(max(map(len, rows), default=0)) for runs in rows)
        return {run.name: run for run in by_seed if run.name not in self.done}


def reproduce(
    packed: PackedClips, request: Request, out: Path, echo: Callable[[str], object] = print
) -> bool:
    """Train and measure the runs of the tables that are not finished in ``out``, and write the report there.

    Returns whether all that the data can give is there.

    Runs that were cut go on from their checkpoint. A row that the data cannot give has its reason in the report, as
    has one that fails, or for which no time is left; the others go on.

    Args:
        packed: the clips that ``request.data`` names.
        request: what is asked for.
        out: the folder of runs and report.
        echo: is given what there is to say.

    Raises:
        ValueError: another process is at work in ``out``, or there are no clips to train or to measure on.
    """
    started = time.monotonic()
    check_output_folder(out)
    train, measured = select_clips(packed, request.data)
    notes = odd_splits(packed, train, measured)
    for sentence in notes:
        echo(f"note: {sentence}")
    chance = majority_percent(packed.labels[measured])
    out.mkdir(parents=True, exist_ok=True)
    with locked_folder(out):
        plan = plan_tables(request.tables, request.data, fingerprint(packed), request.seeds)
        state = _State(plan, _finished(plan, out / RUNS))
        begun = len(state.done)
        total = sum(map(len, plan.values()))
        try:
            _train(packed, request, out / RUNS, state, chance, started, echo)
        finally:
            found = gather(
                packed,
                request.data,
                request.tables,
                request.command,
                state.runs,
                state.done,
                state.reasons,
                notes,
                chance,
            )
            changed = _write(found, out, echo)
        whole = not state.waiting()
        if whole and len(state.done) == begun and not changed:
            others = f"; the data cannot give the other {total - begun}" if begun < total else ""
            echo(f"nothing to do: {begun} of {total} runs are finished{others}; the report is {out / PAGE}")
        for label, why in state.cut.items():
            echo(f"{label}: {why}")
    return whole


def _finished(plan: Mapping[str, list[PlannedRun]], folder: Path) -> dict[str, RunResult]:
    runs = {run.name: run for row in plan.values() for run in row}
    results = {name: read_result(folder, run) for name, run in runs.items()}
    return {name: result for name, result in results.items() if result is not None}


def _write(found: Reproduction, out: Path, echo: Callable[[str], object]) -> bool:
    """Write the report unless it is there already, and say whether it was written."""
    try:
        same = (out / PAGE).read_text(encoding="utf-8") == format_page(found)
        if same and all((out / file).exists() for file in report_files(found)):
            return False
    except (OSError, ValueError):
        pass
    paths = write_report(found, out)
    echo(f"report: {', '.join(map(str, paths[:3]))}")
    return True


def _train(
    packed: PackedClips,
    request: Request,
    folder: Path,
    state: _State,
    chance: float,
    started: float,
    echo: Callable[[str], object],
) -> None:
    """Do the runs that wait, and take them into ``state``."""
    if not state.waiting():
        return
    jobs, threads = _share_cores(request.jobs, state.waiting())
    total = sum(map(len, state.runs.values()))
    echo(f"runs to do: {len(state.waiting())} of {total}; looking how long they take")
    _estimate(packed, state, folder, jobs, threads, echo)
    waiting = {name: run for name, run in state.waiting().items() if name in state.seconds}
    if not waiting:
        return
    slower = BESIDE_OTHERS if jobs > 1 else 1.0
    expected = {name: slower * sum(state.seconds[name]) for name in waiting}
    told = f"{len(waiting)} run{'s' if len(waiting) > 1 else ''} to do, {jobs} at a time on {threads} "
    told += f"thread{'s' if threads > 1 else ''} each"
    if any(expected.values()):
        told += f", about {format_duration(seconds_at_once(expected.values(), jobs))}"
    limit = None if request.budget is None else started + request.budget
    echo(told if request.budget is None else f"{told}; --budget {format_duration(request.budget)}")
    names = list(waiting)
    for name in names:  # where nothing tells beforehand, as on a GPU, the row's finished runs do
        if not expected[name]:
            expected[name] = _seconds_of_others(state, name)
    if limit is None:
        names.sort(key=lambda name: -expected[name])  # the longest first, so that none is left over
    else:
        names.sort(key=lambda name: (waiting[name].config.seed, expected[name]))

    def admit(name: str) -> bool:
        if limit is None or time.monotonic() + expected[name] <= limit:
            return True
        took = f" (about {format_duration(expected[name])})" if expected[name] else ""
        state.cut[state.label_of(name)] = f"--budget left no time for its next run{took}"
        return False

    for at_once in sorted({state.fitting[name] for name in names}, reverse=True):
        group = [name for name in names if state.fitting[name] == at_once]
        if not any(admit(name) for name in group):
            continue
        tasks = []
        for name in group:
            try:
                tasks.append(run_task(waiting[name].config, folder / name, threads, chance, echo))
            except (ValueError, OSError) as error:
                state.cut[state.label_of(name)] = " ".join(str(error).split())
        views = {
            name: state.seconds[name] if any(state.seconds[name]) else (expected[name] or 1.0, 0.1)
            for name in (task.folder.name for task in tasks)
        }
        try:
            outcome = train_at_once(tasks, at_once, threads, views, echo, admit)
        finally:
            state.done |= _finished(state.runs, folder)
        for name in outcome.curves.keys() - state.done.keys():
            state.cut[state.label_of(name)] = f"{name}: its files do not fit each other; delete the folder"
        for name, why in (outcome.failed | outcome.faults).items():
            state.cut[state.label_of(name)] = f"{name} failed: {why.strip().splitlines()[-1]}"


def _seconds_of_others(state: _State, name: str) -> float:
    """Return the mean time in which finished runs of the same row were trained, 0 where there is none."""
    others = [state.done[run.name] for run in state.runs[state.label_of(name)] if run.name in state.done]
    return sum(run.train_seconds for run in others) / len(others) if others else 0.0


def _share_cores(jobs: int | None, waiting: Mapping[str, PlannedRun]) -> tuple[int, int]:
    """Return how many runs are trained at a time, and on how many threads each.

    The threads, by which results are rounded, do not depend on how many runs are left.
    """
    optim = next(iter(waiting.values())).config.optim
    on_cpu = Placement.choose(optim.device, optim.precision).device.type == "cpu"
    cores = core.hardware_threads()
    wanted = jobs if jobs is not None else (cores if on_cpu else 1)
    return min(wanted, len(waiting)), max(1, cores // wanted)


def _estimate(
    packed: PackedClips,
    state: _State,
    folder: Path,
    jobs: int,
    threads: int,
    echo: Callable[[str], object],
) -> None:
    """Find for each row that waits why the data cannot give it, or how long its runs will take, and how many fit."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for label, runs in state.runs.items():
            left = [run for run in runs if run.name not in state.done]
            if not left:
                continue
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # the run itself warns
                    setup = Setup(left[0].config, packed)
                per_view = seconds_per_view(setup) or 0.0
                fitting = jobs_that_fit(setup, jobs)
            except ValueError as error:
                state.impossible[label] = " ".join(str(error).split())
                echo(f"{label}: left out, {state.impossible[label]}")
                continue
            except Exception as error:  # of this row alone, whatever it is
                state.cut[label] = f"{type(error).__name__}: {' '.join(str(error).split())}"
                continue
            sizes = len(setup.order), len(setup.test_indices), len(setup.val_indices)
            for run in left:
                views = expected_views(run.config, epochs_logged(folder / run.name), *sizes)
                state.seconds[run.name] = (per_view * views[0], per_view * views[1])
                state.fitting[run.name] = max(fitting, 1)
    finally:
        torch.set_num_threads(before)


def run_task(
    config: RunConfig, folder: Path, threads: int, chance: float, echo: Callable[[str], object]
) -> RunTask:
    """Return a run that goes on from its checkpoint, or begins anew where there is none that fits.

    Raises:
        ValueError: another process is at work in the folder, or there is a file in its place.
        OSError: the folder cannot be read.
    """
    anew = False
    if folder.exists():
        if not folder.is_dir():
            raise ValueError(f"{folder}: is no folder; expected that of a run, or nothing")
        try:
            check_folder(folder, config, resume=True, overwrite=False, may_differ=NOT_DECIDING)
            if has_checkpoint(folder):
                done = int(read_checkpoint(folder)["epochs_done"])
                if epochs_logged(folder) < done:
                    raise ValueError(f"{folder / METRICS}: lacks some of the {done} epochs that are done")
        except FolderInUseError:
            raise
        except ValueError as error:
            echo(f"{folder.name}: begins anew, {error}")
            anew = True
    return RunTask(
        config=config,
        folder=folder,
        threads=threads,
        factory=None,
        chance=chance,
        resume=not anew,
        overwrite=anew,
    )
