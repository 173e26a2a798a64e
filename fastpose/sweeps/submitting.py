"""Jobs through submitit: several processes at a time on this machine, or a SLURM cluster."""

import contextlib
import io
import os
import re
import shlex
import shutil
import signal
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from fastpose.settings.checks import require
from fastpose.sweeps.job import Ended, Job
from fastpose.sweeps.packages import submitit_package
from fastpose.system.signals import ctrl_c_held, sigterm_leaves

LOOK_SECONDS = 0.1  # from one look at processes of this machine to the next
LOOK_SECONDS_SLURM = 5.0
NO_LIMIT_MINUTES = 10 * 366 * 24 * 60  # submitit ends local jobs after two by itself
SLURM_MINUTES = 60  # of a job, by default
MOST_STARTS = 20  # of a run whose jobs end for want of time
MOST_IN_ARRAY = 1000  # jobs, by SLURM's own default
ONE_PROCESS = ("nodes", "ntasks_per_node", "tasks_per_node", "ntasks")
EXAMPLE = "partition=gpu,time=120,gpus_per_node=1"

End = Callable[[str, Ended], object]  # is told of each job that ended, by its name
Tick = Callable[[Collection[str]], object]  # is told from time to time which jobs have not ended


def run_here(jobs: Mapping[str, Job], folder: Path, at_once: int, end: End, tick: Tick) -> None:
    """Run jobs in processes of this machine, ``at_once`` at a time; what submitit writes goes to ``folder``.

    Ctrl-C and SIGTERM end them all after the steps that they are at.
    """
    submitit = submitit_package()
    waiting = deque(jobs.items())
    running: dict[str, Any] = {}
    with sigterm_leaves():
        try:
            while waiting or running:
                while waiting and len(running) < at_once:
                    name, job = waiting.popleft()
                    executor = submitit.LocalExecutor(folder / name)
                    executor.update_parameters(timeout_min=NO_LIMIT_MINUTES)
                    with ctrl_c_held():
                        running[name] = executor.submit(job)
                for name, started in list(running.items()):
                    if started.done():
                        del running[name]
                        end(name, _result(started, at_once=True))
                tick(running)
                time.sleep(LOOK_SECONDS)
        finally:
            _end_all(running)


def _end_all(running: Mapping[str, Any]) -> None:
    """Tell jobs of this machine to end until they have; again, since one that is just beginning may not hear it."""
    while left := [job for job in running.values() if not job.done()]:
        for job in left:
            os.kill(int(job.job_id), signal.SIGTERM)  # the process is ours until done() has seen its end
        until = time.monotonic() + 1
        while time.monotonic() < until and not all(job.done() for job in left):
            time.sleep(LOOK_SECONDS)


def _result(job: Any, *, at_once: bool) -> Ended:
    """Return how a job ended that is done; ``at_once`` where its result would be there by now."""
    log = job.paths.stderr
    if at_once and not job.paths.result_pickle.exists():
        return Ended("failed", f"its process died, as where the memory is used up; its log is {log}")
    error = job.exception()
    if error is None:
        return job.result()
    if not job.paths.result_pickle.exists():
        return Ended("failed", f"its job {job.job_id} ended without a result ({job.state}); its log is {log}")
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and not line.startswith("-")]
    reason = next((line for line in reversed(lines) if re.match(r"[\w.]+(Error|Exception|Exit)\b", line)), "")
    return Ended("failed", f"{reason or 'its job could not begin'}; its log is {log}")


def parse_slurm(text: str) -> dict[str, Any]:
    """Read options of sbatch such as "partition=gpu,time=120,gpus_per_node=1"; a value may hold commas.

    Raises:
        ValueError: it has another form, or asks for several processes.
    """
    found: dict[str, Any] = {}
    name = ""
    for part in text.split(","):
        key, equals, value = part.partition("=")
        key = key.strip().lstrip("-").replace("-", "_")
        if equals and key.isidentifier():
            require(key not in found, f"--slurm {text}: {key} is named twice")
            name, found[key] = key, value
        else:
            require(bool(name), f"--slurm {text}: expected options with values, such as {EXAMPLE}")
            found[name] += f",{part}"
    for name, value in found.items():
        value = value.strip()
        require(bool(value), f"--slurm {name}: expected a value, as in {EXAMPLE}")
        found[name] = int(value) if value.isdecimal() else {"true": True, "false": False}.get(value, value)
    for name in ONE_PROCESS:
        require(
            found.get(name, 1) == 1, f"--slurm {name}={found.get(name)}: expected 1, as a run is one process"
        )
    minutes = found.setdefault("time", SLURM_MINUTES)
    require(
        type(minutes) is int and minutes > 0,
        f"--slurm time={minutes}: expected minutes, such as {SLURM_MINUTES}",
    )
    return found


def run_on_slurm(
    jobs: Mapping[str, Job],
    folder: Path,
    options: Mapping[str, Any],
    at_once: int | None,
    end: End,
    tick: Tick,
    echo: Callable[[str], object],
    *,
    wait: bool = True,
    look_seconds: float = LOOK_SECONDS_SLURM,
) -> None:
    """Run jobs on a SLURM cluster as arrays, at most ``at_once`` of them at a time, and ``wait`` for their end.

    Arrays are side by side, and share that number. Ctrl-C ends the waiting alone.

    Raises:
        ValueError: there is no SLURM here, or it refuses the jobs.
    """
    names = list(jobs)
    arrays = -(-len(names) // MOST_IN_ARRAY)
    require(
        at_once is None or at_once >= arrays,
        f"jobs = {at_once}: expected at least {arrays} for {len(names):,} runs, of which an array of SLURM holds "
        f"{MOST_IN_ARRAY:,}",
    )
    executor = _slurm_executor(folder, options)
    waiting: dict[str, Any] = {}
    for number in range(arrays):
        part = names[number * len(names) // arrays : (number + 1) * len(names) // arrays]
        if at_once is not None:
            share = (number + 1) * at_once // arrays - number * at_once // arrays
            executor.update_parameters(array_parallelism=share)
        said = io.StringIO()
        try:
            with contextlib.redirect_stderr(said):  # submitit prints what sbatch says, and raises it
                started = executor.submit_array([jobs[name] for name in part])
        except (RuntimeError, OSError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ValueError(f"--slurm: sbatch refused the jobs ({reason})") from error
        waiting |= dict(zip(part, started, strict=True))
    numbers = list(dict.fromkeys(job.job_id.partition("_")[0] for job in waiting.values()))
    echo(f"SLURM jobs {', '.join(numbers)}: {len(jobs)}, logs in {folder}")
    if not wait:
        return
    try:
        while waiting:
            for name, job in list(waiting.items()):
                if job.done():
                    del waiting[name]
                    end(name, _result(job, at_once=False))
            tick(waiting)
            if waiting:
                time.sleep(look_seconds)
    except KeyboardInterrupt:
        echo(f"the jobs go on; scancel {' '.join(numbers)} ends them")
        raise


def _slurm_executor(folder: Path, options: Mapping[str, Any]) -> Any:
    for program in ("sbatch", "srun"):
        require(
            shutil.which(program) is not None,
            f"--slurm: {program} is not here; expected a SLURM cluster's node",
        )
    executor = submitit_package().SlurmExecutor(folder, max_num_timeout=MOST_STARTS)
    executor.update_parameters(array_parallelism=MOST_IN_ARRAY)  # of its own it starts 256 at a time
    more = {}
    for name, value in options.items():
        if name in ("setup", "teardown"):
            value = [str(value)]
        elif name == "srun_args":
            value = shlex.split(str(value))
        try:
            executor.update_parameters(**{name: value})
        except ValueError:  # unknown to submitit, perhaps not to sbatch
            more[name] = value
    if more:
        executor.update_parameters(additional_parameters=more)
    return executor
