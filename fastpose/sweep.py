"""`fastpose sweep GRID.json --out X`: a grid of settings, or a search, in processes of this machine or on SLURM."""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from fastpose._command import Command, parse_arguments
from fastpose.sweeps.grid import MODEL, read_grid

KEPT = "what is finished is kept; the same command goes on"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """Train a grid of settings, or search in one, many runs at a time, here or on a SLURM cluster, and compare them.

    GRID is a JSON file of settings, by the names of train's flags or of config.json, each with one value or a list:
    {"data": "penn.safetensors", "arm": "augmented", "lr": [0.001, 0.002], "alpha": ["0:0.1", "0:0.3"], "seeds": [0, 1]}
    trains 8 runs. "preset", "config" and "front_end" are those of train. With --trials N, Optuna chooses N times from
    the lists, and from ranges such as "lr": {"low": 1e-4, "high": 1e-2, "log": true}: by clips held out of the training
    split, never by the test split. Trials that validate worse than half of the others are pruned.

    Runs that are finished are not trained again, and those that were cut go on: call it again until all is there.
    Several may be at work in one --out. It needs pip install "fastpose-action[sweep]".
    """

    grid: Annotated[Path, tyro.conf.Positional]
    """JSON file of settings and their values."""
    out: Path
    """Folder for the runs, each named after its settings; sweep-GRID in it has runs.md, runs.csv and the logs."""
    trials: int | None = None
    """Search: trials in all, each a run of every seed, judged by the mean of val_top1_percent. The best settings go to
    best.json, for train --config. The same command at several places searches together."""
    jobs: int | None = None
    """Runs at a time, each a process of one thread, or of "threads". By default as many as there are cores, on a GPU 1;
    on SLURM as many as it starts."""
    slurm: str | None = None
    """Options of sbatch, such as partition=gpu,time=120,gpus_per_node=1: one job a run, on a shared --out. A run that
    reaches its time, in minutes (60 by default), goes on in another job."""
    wait: bool = True
    """On SLURM, wait for the runs, and make the table. Without, the same command makes it once they are done."""
    model: str | None = None
    """Your own network, package.module:Class, for all runs. A file alone imports nothing."""


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    with Command() as command:
        arguments = parse_arguments(Arguments, argv, "sweep")
        grid = read_grid(arguments.grid, search=arguments.trials is not None)
        if arguments.model is not None:
            if MODEL in grid.values:
                raise ValueError(
                    f"--model {arguments.model}: {grid.path} names a model too; expected one of them"
                )
            grid = replace(grid, values={**grid.values, MODEL: (arguments.model,)})
        from fastpose.models.registry import import_model
        from fastpose.sweeps.running import Request, sweep
        from fastpose.sweeps.submitting import parse_slurm

        import_model(arguments.model or "")
        command.interrupted = f"stopped; {KEPT}"
        sweep(
            Request(
                grid=grid,
                out=arguments.out,
                jobs=arguments.jobs,
                slurm=None if arguments.slurm is None else parse_slurm(arguments.slurm),
                trials=arguments.trials,
                wait=arguments.wait,
            )
        )
    return command.status


if __name__ == "__main__":
    sys.exit(main())
