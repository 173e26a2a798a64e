"""`fastpose report`: tables of finished runs; tables and bar charts of a saved benchmark run."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from fastpose._command import Command, run_one_of
from fastpose.evaluation.benchmark_table import (
    format_table,
    markdown_table,
    plot_section,
    read_run,
    sections,
    table,
)
from fastpose.system.files import check_output_folder, write_text

Source = Positional[
    Annotated[
        Path | None,
        arg(
            help="What `pytest benchmarks --benchmark-json=FILE` wrote; by default the newest autosaved run."
        ),
    ]
]
Runs = Positional[Annotated[Path, arg(help="A run, or a folder that holds runs at any depth.")]]
By = Annotated[
    str | None,
    arg(
        help="Settings to group runs by, such as lr,alpha or optim.lr; by default all in which they differ. "
        "Others in which runs of a group differ, beside seed, threads and device, are added."
    ),
]
Columns = Annotated[
    str | None,
    arg(
        help="What to show: top1 (at all noise levels), noise levels such as 0,0.05, mean, top5, mca, time; by default "
        "all that was measured. runs.csv has all."
    ),
]
OUT_TEXT = "Folder for `report.md` and one picture for each section."


def newest_run(folder: Path = Path(".benchmarks")) -> Path:
    """Return the file that ``pytest benchmarks --benchmark-autosave`` wrote last."""
    saved = sorted(folder.rglob("*.json"), key=lambda path: path.stat().st_mtime)
    if not saved:
        raise ValueError(
            f"no saved benchmarks in {folder}: run `pytest benchmarks --benchmark-autosave`, or name a json file"
        )
    return saved[-1]


def benchmarks(
    json_file: Source = None, *, out: Annotated[Path, arg(help=OUT_TEXT)] = Path("benchmark-report")
) -> None:
    """Print a table for each section of a benchmark run; write Markdown and bar charts."""
    check_output_folder(out)
    source = json_file or newest_run()
    run = read_run(source)
    out.mkdir(parents=True, exist_ok=True)
    print(run.machine)
    text = [f"# Benchmarks: {source.name}", run.machine]
    for i, (name, rows) in enumerate(sections(run.rows).items()):
        cells = table(rows)
        print(f"\n{name}\n{format_table(cells)}")
        picture = f"{i + 1:02}-" + "".join(c if c.isalnum() else "-" for c in name) + ".png"
        plot_section(out / picture, name, rows)
        text.append(f"## {name}\n\n{markdown_table(cells)}\n\n![{name}]({picture})")
    write_text(out / "report.md", "\n\n".join(text) + "\n")
    print(f"\nreport: {out / 'report.md'}")


def runs(
    folder: Runs,
    *,
    by: By = None,
    columns: Columns = None,
    out: Annotated[Path, arg(help="Folder for `runs.md` and `runs.csv`.")] = Path("run-report"),
) -> None:
    """Print a table of finished runs, averaged over seeds; write it as Markdown and csv."""
    from fastpose.evaluation.run_tables import report_runs

    report_runs(folder, out, by, columns)


COMMANDS: dict[str, Callable[..., None]] = {"benchmarks": benchmarks, "runs": runs}


def main(argv: list[str] | None = None) -> int:
    with Command() as command:
        run_one_of(COMMANDS, argv, "report", "Print tables of finished runs, or of a saved benchmark run.")
    return command.status


if __name__ == "__main__":
    sys.exit(main())
