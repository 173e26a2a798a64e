"""From the runs that are there to what the report is written from."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import fastpose
from fastpose.data.pack.packed import PackedClips
from fastpose.data.pack.splits import TEST_NAMES, TRAIN_NAMES, choose_split, select_clips
from fastpose.reproduction.results import Reproduction, RowResult, RunResult, Section
from fastpose.reproduction.rows import Row, TableRows
from fastpose.reproduction.run_plan import PlannedRun
from fastpose.settings import DataConfig, RunConfig
from fastpose.settings.files import by_dotted_name
from fastpose.system.environment import summary
from fastpose.system.placement import Placement
from fastpose.training.expected_time import format_duration

CLEAN = 0.0
OF_THE_RUN = ("data.data", "seed", "arm")


def gather(
    packed: PackedClips,
    data: DataConfig,
    tables: Sequence[TableRows],
    command: str,
    runs: Mapping[str, list[PlannedRun]],
    done: Mapping[str, RunResult],
    reasons: Mapping[str, str],
    notes: Sequence[str],
    chance_percent: float,
) -> Reproduction:
    """Return all tables as they are.

    Args:
        packed: the clips.
        data: names them and their splits.
        tables: that were asked for.
        command: that asked for them.
        runs: of each row, by its label.
        done: what finished runs have found, by their names.
        reasons: why rows are not whole, by their labels.
        notes: what is odd about the clips.
        chance_percent: top-1 of always answering the largest class.
    """
    train, measured = select_clips(packed, data)
    splits = (
        choose_split(packed, data.train_split, TRAIN_NAMES),
        choose_split(packed, data.test_split, TEST_NAMES),
    )
    facts = {
        "data": Path(data.data).name,
        "clips": f"{len(train):,} to train on ({splits[0]}), {len(measured):,} to measure on ({splits[1]})",
        "classes": str(packed.num_classes),
        "keypoints": f"{packed.layout.name}, {packed.layout.num_joints} joints, up to {packed.max_persons} person"
        f"{'' if packed.max_persons == 1 else 's'}",
        "processor": summary(),
        "dtype": str(Placement.choose("auto", "auto")),
        "fastpose": fastpose.__version__,
    }
    found = {run.name: done[run.name] for of_row in runs.values() for run in of_row if run.name in done}
    if found:
        facts["training"] = _training(list(found.values()))
    if notes:
        facts["to note"] = "; ".join(notes)
    return Reproduction(
        title=f"Reproduction on {packed.source or Path(data.data).stem}",
        command=command,
        facts=facts,
        chance_percent=chance_percent,
        sections=[_section(table, runs, done, reasons) for table in tables],
    )


def _training(runs: Sequence[RunResult]) -> str:
    """Say how long runs were trained in all, whenever that was, and on how many threads each."""
    threads = sorted({run.threads for run in runs})
    total = format_duration(sum(run.train_seconds for run in runs))
    on = f"{' or '.join(map(str, threads))} thread{'' if threads == [1] else 's'}"
    return f"{len(runs)} runs, {total} together, each on {on}"


def _section(
    table: TableRows,
    runs: Mapping[str, list[PlannedRun]],
    done: Mapping[str, RunResult],
    reasons: Mapping[str, str],
) -> Section:
    rows = []
    for row in table.rows:
        planned = runs[row.label]
        results = [done[run.name] for run in planned if run.name in done]
        missing = len(results) < len(planned)
        found = _row(row, planned, results, reasons.get(row.label, "") if missing else "")
        rows.append(_clean_alone(found) if table.clean_alone else found)
    return Section(name=table.name, title=table.title, text=table.text, rows=rows)


def _row(row: Row, planned: Sequence[PlannedRun], results: Sequence[RunResult], reason: str) -> RowResult:
    settings, defaults = by_dotted_name(planned[0].config), by_dotted_name(RunConfig())
    changed = {
        name: value for name, value in settings.items() if value != defaults[name] and name not in OF_THE_RUN
    }
    return RowResult(
        label=row.label,
        text=row.text,
        settings={"arm": settings["arm"], **changed},
        published=row.published,
        published_top5=row.published_top5,
        seeds=len(planned),
        runs=results,
        reason=reason,
    )


def _clean_alone(row: RowResult) -> RowResult:
    """Return the row of clean clips alone, with the same runs."""
    runs = [replace(run, curve={CLEAN: run.curve[CLEAN]}, families={}) for run in row.runs]
    published = {alpha: top1 for alpha, top1 in row.published.items() if alpha == CLEAN}
    return replace(row, runs=runs, published=published)
