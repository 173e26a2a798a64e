"""The runs behind the tables: their folders, named by their settings, and which of them are finished."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fastpose.evaluation.confusion import read_pairs
from fastpose.evaluation.families import read_families
from fastpose.evaluation.finished_runs import read_run
from fastpose.reproduction.results import RunResult
from fastpose.reproduction.rows import Row, TableRows
from fastpose.settings import DataConfig, RunConfig
from fastpose.settings.checks import is_changed
from fastpose.settings.files import by_dotted_name
from fastpose.settings.identity import deciding_settings, settings_hash
from fastpose.settings.json_text import read_json
from fastpose.weights.runs import BY_FAMILY, CONFUSED, ENVIRONMENT


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRun:
    """One run of a row.

    Attributes:
        name: of its folder.
        config: its settings.
    """

    name: str
    config: RunConfig


def plan_row(row: Row, data: DataConfig, fingerprint: str, seeds: int) -> list[PlannedRun]:
    """Return the runs of a row, one for each seed, on the clips that ``data`` names."""
    named = {name: getattr(data, name) for name in ("data", "train_split", "test_split")}
    config = replace(row.config, data=replace(row.config.data, **named))
    words = re.sub(r"[^a-z0-9]+", "-", row.label.lower()).strip("-")
    stem = f"{words}-{settings_hash(config, fingerprint)}"
    return [PlannedRun(name=f"{stem}-s{seed}", config=replace(config, seed=seed)) for seed in range(seeds)]


def plan_tables(
    tables: Sequence[TableRows], data: DataConfig, fingerprint: str, seeds: int
) -> dict[str, list[PlannedRun]]:
    """Return the runs of each row, by its label; rows of two tables that are one share their runs."""
    return {row.label: plan_row(row, data, fingerprint, seeds) for table in tables for row in table.rows}


def read_result(folder: Path, run: PlannedRun) -> RunResult | None:
    """Return what a run in ``folder`` / its name has found; None where it is not finished, or damaged."""
    path = folder / run.name
    try:
        found = read_run(path, note=lambda sentence: None)
        if found.train_s is None:
            return None  # without its metrics
        if deciding_settings(found.settings) != deciding_settings(by_dotted_name(run.config)):
            return None  # of a version with other defaults
        families = {}
        if is_changed(run.config.eval, "families"):
            (families,) = read_families(path / BY_FAMILY).values()
        pairs = read_pairs(path / CONFUSED)
        environment = read_json(path / ENVIRONMENT)
        threads = int(environment["torch_threads"])
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return None
    return RunResult(
        folder=run.name, seed=run.config.seed, curve=found.curve, families=families, pairs=pairs,
        train_seconds=found.train_s, threads=threads,
    )  # fmt: skip
