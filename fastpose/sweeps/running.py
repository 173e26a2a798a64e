"""A sweep from its file to its table: what is left to do, where it is done, and what came of it."""

import os
import tempfile
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from fastpose.evaluation.run_tables import report_runs
from fastpose.models.registry import MODELS
from fastpose.reproduction.run_plan import read_result
from fastpose.settings import RunConfig
from fastpose.settings.checks import require
from fastpose.settings.files import to_json
from fastpose.sweeps.grid import Grid
from fastpose.sweeps.job import Ended, Job
from fastpose.sweeps.packages import submitit_package
from fastpose.sweeps.plan import Clips, SweptRun, check_runs, plan_grid
from fastpose.sweeps.run_job import RunJob
from fastpose.sweeps.search import RUNS, Search, TrialJob, counted, in_state
from fastpose.sweeps.submitting import run_here, run_on_slurm
from fastpose.system.files import write_text
from fastpose.training.header import epochs_logged
from fastpose.training.jobs import settle_jobs

GPUS = "CUDA_VISIBLE_DEVICES"  # submitit hides all from processes of this machine that ask for none
LOOK_SECONDS = 2.0  # from one look at the metrics of runs to the next
BEST = "best.json"

Echo = Callable[[str], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is to be swept, and where.

    Attributes:
        grid: the settings.
        out: holds the folders of runs, and one of the sweep.
        jobs: runs at a time; None for as many as there are cores, on a GPU 1, and on SLURM for as many as it starts.
        slurm: options of sbatch; None for this machine.
        trials: of a search; None for a grid.
        wait: whether to wait for the end of jobs on SLURM.
    """

    grid: Grid
    out: Path
    jobs: int | None = None
    slurm: Mapping[str, Any] | None = None
    trials: int | None = None
    wait: bool = True

    @property
    def folder(self) -> Path:
        """Holds the sweep's table, its study, and what submitit writes."""
        return self.out / f"sweep-{self.grid.path.stem}"


def sweep(request: Request, echo: Echo = print) -> None:
    """Train and measure what of a sweep is not finished in its folder, and make a table of all of it.

    Runs that were cut go on from their checkpoint; one that fails leaves the others alone.

    Args:
        request: what is asked for.
        echo: is given what there is to say.

    Raises:
        ValueError: a package is missing, settings refuse a value, the clips are not there or cannot be used, or there
            is no SLURM; all that before the first run begins. Or some runs failed; the others are in the table.
    """
    submitit_package()
    for name in ("jobs", "trials"):
        number = getattr(request, name)
        require(number is None or number >= 1, f"--{name} {number}: expected at least 1")
    require(
        request.wait or request.slurm is not None, "--no-wait: is for --slurm; runs here end with the command"
    )
    if request.trials is None:
        _sweep_grid(request, echo)
    else:
        _sweep_search(request, request.trials, echo)


def _sweep_grid(request: Request, echo: Echo) -> None:
    clips = Clips()
    plan, notes = plan_grid(request.grid, clips)
    for sentence in notes:
        echo(f"note: {sentence}")
    waiting = {name: swept for name, swept in plan.items() if read_result(request.out, swept.run) is None}
    done = len(plan) - len(waiting)
    echo(f"{request.grid.path}: {done} of {len(plan)} runs are finished in {request.out}")
    failed: dict[str, str] = {}
    if waiting:
        configs = {name: swept.run.config for name, swept in waiting.items()}
        places = _places(request, configs, list(waiting.values()), clips, echo)
        jobs = {
            name: RunJob(swept=swept, factory=MODELS.get(swept.run.config.model.model), **places.named)
            for name, swept in waiting.items()
        }
        with _Shown(configs, request.out, echo) as shown:

            def end(name: str, ended: Ended) -> None:
                if ended.how != "done":
                    failed[name] = ended.text or "it was told to stop"
                others = "; the others go on" if shown.end(name) else ""
                shown.say(f"{name}: {ended.how}{f', {failed[name]}{others}' if name in failed else ''}")

            places.start(jobs, end, shown.look)
    finished = [name for name, swept in plan.items() if read_result(request.out, swept.run) is not None]
    if finished:
        report_runs(request.out, request.folder, names=finished, echo=echo)
    if failed:
        raise ValueError("; ".join(f"{name}: {why}" for name, why in failed.items()))


def _sweep_search(request: Request, trials: int, echo: Echo) -> None:
    clips = Clips()
    search = Search.begin(request.grid, request.folder, trials, clips)
    corners = search.corners(clips)
    study = search.open_study()
    done = _finished_trials(study)
    left = max(trials - len(done), 0)
    echo(
        f"{request.grid.path}: {len(done)} of {trials} trials are finished in {request.out}; they are judged by "
        f"{corners[0].run.config.data.val_clips} clips held out of the training split, never by the test split"
    )
    failed: list[str] = []
    if left:
        named = [f"trial-{i + 1}-of-{left}" for i in range(left)]
        configs = dict.fromkeys(named, corners[0].run.config)
        places = _places(request, configs, corners, clips, echo)
        factory = MODELS.get(corners[0].run.config.model.model)
        jobs = {name: TrialJob(search=search, factory=factory, **places.named) for name in named}
        with tqdm(total=left, unit="trial", disable=None) as bar:

            def end(name: str, ended: Ended) -> None:
                bar.update()
                with tqdm.external_write_mode():
                    if ended.how == "failed":
                        failed.append(ended.text)
                        echo(f"failed, {ended.text}")
                    elif ended.text:
                        echo(ended.text)

            places.start(jobs, end, lambda running: None)
    _tell_search(request, search, study, echo)
    left = trials - len(_finished_trials(study))
    if left > 0 and request.wait:
        reasons = "; ".join(failed) or "other processes are at work on them"
        raise ValueError(f"{left} of {trials} trials are not finished ({reasons}); the same command goes on")


def _finished_trials(study: Any) -> list[Any]:
    return [trial for trial in counted(study) if trial.state.is_finished()]


def _tell_search(request: Request, search: Search, study: Any, echo: Echo) -> None:
    """Make the table of a search, write the best settings, and say how many trials ended how.

    Raises:
        ValueError: no trial is complete, though some have ended.
    """
    trials = counted(study)
    complete, pruned, failed = (in_state(trials, state) for state in ("COMPLETE", "PRUNED", "FAIL"))
    told = f"trials: {len(complete)} complete, {len(pruned)} pruned, {len(failed)} failed"
    if not complete:
        require(not failed, f"{search.journal}: no trial is complete ({told})")
        return
    names = list(dict.fromkeys(name for trial in complete for name in trial.user_attrs[RUNS]))
    report_runs(request.out, request.folder, names=names, echo=echo)
    best = max(complete, key=lambda trial: trial.value)
    choice = search.choose(best.params)
    config, _ = request.grid.settle(choice, request.grid.seeds[0])
    write_text(request.folder / BEST, to_json(config))
    echo(
        f"\n{told}\nbest: trial {best.number}, {best.value:.2f} % of the held-out clips, with "
        f"{request.grid.describe(choice)}\n"
        f"fastpose train --config {request.folder / BEST} trains with its settings, and measures on the test split"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Places:
    """Where jobs are done: how many at a time, and on how many threads."""

    request: Request
    at_once: int | None
    threads: int | None
    echo: Echo

    @property
    def named(self) -> dict[str, Any]:
        """What each job is given by name."""
        here = self.request.slurm is None
        variables = {GPUS: os.environ.get(GPUS)} if here else {}
        return {"out": self.request.out.absolute(), "threads": self.threads, "variables": variables}

    def start(
        self,
        jobs: Mapping[str, Job],
        end: Callable[[str, Ended], object],
        look: Callable[[Collection[str]], object],
    ) -> None:
        """Do jobs, and tell ``end`` of each that ended, and ``look`` which are at work."""
        logs = self.request.folder.absolute() / "jobs"
        logs.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=time.strftime("%Y-%m-%d-%H%M%S-"), dir=logs))
        if self.request.slurm is None:
            assert self.at_once is not None
            run_here(jobs, folder, self.at_once, end, look)
        else:
            options = {"job_name": self.request.folder.name, **self.request.slurm}
            wait = self.request.wait
            run_on_slurm(jobs, folder, options, self.at_once, end, look, self.echo, wait=wait)


def _places(
    request: Request, configs: Mapping[str, RunConfig], runs: Collection[SweptRun], clips: Clips, echo: Echo
) -> _Places:
    """Return where jobs with the settings ``configs`` are done, once ``runs`` were found to be possible there.

    Raises:
        ValueError: one is not.
    """
    if request.slurm is not None:
        check_runs(request.grid, runs, clips, 1, here=False)
        return _Places(request=request, at_once=request.jobs, threads=None, echo=echo)
    try:
        _, wanted, threads = settle_jobs(configs, request.jobs)
    except ValueError as error:
        raise ValueError(f"{request.grid.path}: {error}") from error
    at_once = check_runs(request.grid, runs, clips, wanted, here=True)
    if at_once < wanted:
        echo(f"note: {at_once} of {wanted} runs at a time, for which there is memory")
    return _Places(request=request, at_once=at_once, threads=threads, echo=echo)


class _Shown:
    """Shows by their metrics how far runs are together, on a terminal."""

    def __init__(self, configs: Mapping[str, RunConfig], out: Path, echo: Echo) -> None:
        self._epochs = {name: config.optim.epochs for name, config in configs.items()}
        self._out, self._echo = out, echo
        self._done = {name: min(epochs_logged(out / name), epochs) for name, epochs in self._epochs.items()}
        self._ended: set[str] = set()
        self._looked = time.monotonic()
        self._bar = tqdm(
            total=sum(self._epochs.values()), initial=sum(self._done.values()), unit="epoch", disable=None
        )

    def look(self, running: Collection[str]) -> None:
        """Show how far the runs are that are at work."""
        if time.monotonic() - self._looked < LOOK_SECONDS:
            return
        for name in running:
            self._done[name] = min(epochs_logged(self._out / name), self._epochs[name])
        self._looked = time.monotonic()
        self._advance()

    def end(self, name: str) -> int:
        """Show that a run has ended, well or not; return how many have not."""
        self._done[name] = self._epochs[name]
        self._ended.add(name)
        self._advance()
        return len(self._epochs) - len(self._ended)

    def say(self, text: str) -> None:
        """Print between the bar."""
        with tqdm.external_write_mode():
            self._echo(text)

    def _advance(self) -> None:
        self._bar.update(sum(self._done.values()) - self._bar.n)

    def __enter__(self) -> "_Shown":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()
