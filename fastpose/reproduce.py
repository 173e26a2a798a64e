"""`fastpose reproduce TABLE …`: the report's tables, and fastpose's own, on any packed data set."""

import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from fastpose._command import Command, parse_arguments
from fastpose.reproduction.rows import ALL, TABLES, tables_of
from fastpose.settings import DataConfig

SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}
KEPT = "the runs that are finished are kept; the same command goes on"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """Train and measure the rows of the report's tables, and of fastpose's own, on your data; write one report.

    Runs that are finished are not trained again, and those that were cut go on: call it again until all is there. Rows
    that the data cannot give are marked with the reason. The report is report.html, report.md and report.csv in --out.
    """

    tables: Annotated[tuple[Literal["table2", "table3", "figure2", "robust", "few-labels", "all"], ...],
                      tyro.conf.Positional]  # fmt: skip
    """table2 (clean clips, by input), table3 and figure2 (accuracy over noise), robust (fastpose's recipe and its
    controls), few-labels (1 to 50 % of the labels), or all."""
    data: str = "synthetic"
    """Packed file; or PYSKL's pickle, or the folder of NTU RGB+D or Penn Action, which is packed into --out first."""
    out: Path | None = None
    """Folder for runs and report; by default reproduction/ and the name of the data."""
    seeds: int = 3
    """Runs of each row."""
    budget: str | None = None
    """Begin no run that would not end within this time, such as 60m or 2h; the first seed of every row comes first."""
    jobs: int | None = None
    """Runs at a time, which share the cores; by default as many as there are cores, on a GPU 1."""
    inputs: tuple[Literal["skeleton", "heatmap", "grayscale", "limb"], ...] = ()
    """Only rows of networks on these inputs; by default all."""
    epochs: int | None = None
    """Of every run, in place of its own number; the report says so."""
    train_split: str = "auto"
    """Split to train on; auto takes xsub_train or train."""
    test_split: str = "auto"
    """Split to report on; auto takes xsub_val, test or val."""


def parse_budget(text: str) -> float:
    """Return the seconds of a time such as "90s", "60m" or "1.5h"; ValueError where it is none."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text.strip())
    if found is None or float(found[1]) == 0:
        raise ValueError(f"--budget {text}: expected a time such as 90s, 60m or 1.5h")
    return float(found[1]) * SECONDS[found[2]]


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit status, 1 where runs are left to do."""
    with Command() as command:
        given = sys.argv[1:] if argv is None else argv
        arguments = parse_arguments(Arguments, argv, "reproduce")
        budget = None if arguments.budget is None else parse_budget(arguments.budget)
        for name in ("seeds", "jobs", "epochs"):
            if (value := getattr(arguments, name)) is not None and value < 1:
                raise ValueError(f"--{name} {value}: expected at least 1")
        if not arguments.tables:
            raise ValueError(f"no table is named; expected some of {', '.join((*TABLES, ALL))}")
        from fastpose.data.sources.known_sets import packed_path
        from fastpose.data.synthetic.builtin import open_clips
        from fastpose.reproduction.runner import Request, reproduce

        out = arguments.out or Path("reproduction") / Path(arguments.data).resolve().stem
        tables = tables_of(arguments.tables, inputs=arguments.inputs or None, epochs=arguments.epochs)
        tables = [table for table in tables if table.rows]
        if not tables:
            raise ValueError(
                f"--inputs {' '.join(arguments.inputs)}: no row of {', '.join(arguments.tables)} has such an input"
            )
        data = DataConfig(
            data=packed_path(arguments.data, out),
            train_split=arguments.train_split,
            test_split=arguments.test_split,
        )
        command.interrupted = f"stopped; {KEPT}"
        request = Request(
            data=data,
            tables=tables,
            seeds=arguments.seeds,
            budget=budget,
            jobs=arguments.jobs,
            command=shlex.join(["fastpose", "reproduce", *given]),
        )
        command.status = 0 if reproduce(open_clips(data.data), request, out) else 1
    return command.status


if __name__ == "__main__":
    sys.exit(main())
