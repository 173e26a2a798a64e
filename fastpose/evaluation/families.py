"""Accuracy by noise family and level: its table, its picture, and the one figure of it, mCA."""

import textwrap
from collections.abc import Callable, Mapping, Sequence, Sized
from pathlib import Path
from typing import Any

import numpy as np

from fastpose.evaluation.curves import (
    Families,
    curve_cells,
    format_rows,
    mean_and_spread,
    read_accuracies,
)
from fastpose.system.files import atomic_path, write_csv

MEAN = "mean"
PANELS_A_ROW = 3
LETTER = 0.085  # inches of a title's letter


def write_families(path: Path, runs: Mapping[str, Families]) -> None:
    """Write one row per run, noise family and level."""
    rows = [
        {"run": name, "family": family} | cells
        for name, families in runs.items()
        for family, curve in families.items()
        for cells in curve_cells(curve)
    ]
    write_csv(path, rows)


def read_families(path: Path) -> dict[str, Families]:
    """Read what ``write_families`` wrote, without the confusion matrices.

    Raises:
        ValueError: the file holds no such table.
    """
    runs: dict[str, Families] = {}
    for row, alpha, accuracy in read_accuracies(path, "run", "family"):
        runs.setdefault(row["run"], {}).setdefault(row["family"], {})[alpha] = accuracy
    return runs


def accuracy_table(families: Families, alphas: Sequence[float]) -> np.ndarray:
    """Return top-1 in percent, float64 [F + 1, A + 1]: a row per noise family, a column per level.

    The last column is the mean over the levels, the last row the mean over the families, and their corner mCA.
    """
    table = np.array([[curve[alpha].top1_percent for alpha in alphas] for curve in families.values()])
    table = np.column_stack([table, table.mean(axis=1)])
    return np.vstack([table, table.mean(axis=0)])


def common_levels(families: Families) -> list[float]:
    """Return the noise levels at which all ``families`` were measured, in their order.

    Raises:
        ValueError: there is none.
    """
    alphas = sorted(set.intersection(*(set(curve) for curve in families.values())))
    if not alphas:
        raise ValueError(
            f"{', '.join(families)} were measured at no noise level in common: they have no mean"
        )
    return alphas


def format_families(name: str, members: Sequence[Families]) -> str:
    """Return top-1 in percent as text: a row per noise family, a column per level, their means, and mCA.

    Args:
        name: what was measured.
        members: one run, or those of several seeds with the same families and levels: then cells are mean ± sample
            standard deviation.
    """
    alphas = common_levels(members[0])
    columns = [*(f"{alpha:g}" for alpha in alphas), MEAN]
    tables = np.stack(
        [accuracy_table(member, alphas) for member in members], axis=-1
    )  # [F + 1, A + 1, members]
    cells = [[mean_and_spread(values) for values in row] for row in tables]
    labels = [*members[0], MEAN]
    rows = {label: dict(zip(columns, row, strict=True)) for label, row in zip(labels, cells, strict=True)}
    counted = (
        f"{_count(members[0], 'family', 'families')} of the mean over {_count(alphas, 'level', 'levels')}"
    )
    zero = "α = 0 is among them" if 0 in alphas else "α = 0 is not among them"
    table = format_rows(f"{name}, top-1 % at α", columns, rows)
    return f"{table}\nmCA of {name}: {cells[-1][-1]} %, the mean over {counted}; {zero}"


def compare_families(
    runs: Mapping[str, Families],
    stem: Path,
    *,
    group: Callable[[str], str] = str,
    title: str = "",
    echo: Callable[[str], None] = print,
) -> None:
    """Write ``runs`` as ``stem``.csv and ``stem``.png; echo a table for each ``group`` of names, the seeds of a run.

    Runs of a group that were measured with other families or levels have a table of their own.
    """
    write_families(stem.with_suffix(".csv"), runs)
    plot_families(stem.with_suffix(".png"), runs, title)
    groups: dict[object, dict[str, Families]] = {}
    for name, families in runs.items():
        measured = tuple((family, tuple(curve)) for family, curve in families.items())
        groups.setdefault((group(name), measured), {})[name] = families
    for members in groups.values():
        first = next(iter(members))
        echo("\n" + format_families(first if len(members) == 1 else group(first), list(members.values())))


def plot_families(path: Path, runs: Mapping[str, Families], title: str = "") -> None:
    """Draw top-1 by noise family (down) and level (across) as a map with numbers, a panel per run."""
    from matplotlib.figure import Figure

    columns = min(len(runs), PANELS_A_ROW)
    lines = -(-len(runs) // columns)
    tallest = max(map(len, runs.values()))
    widest = max(len(curve) for families in runs.values() for curve in families.values())
    width, height = 1.6 + 0.5 * (widest + 1), 1.1 + 0.28 * (tallest + 1)
    figure = Figure(figsize=(columns * width, lines * height + 0.3), layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False).ravel()
    for axes, (name, families) in zip(panels, runs.items(), strict=False):
        _draw_map(axes, name, families)
    for axes in panels[len(runs) :]:
        axes.set_axis_off()
    figure.suptitle(title, fontsize=9)
    with atomic_path(path) as partial:
        figure.savefig(partial, format="png", dpi=130)


def _draw_map(axes: Any, name: str, families: Families) -> None:
    alphas = common_levels(families)
    table = accuracy_table(families, alphas)
    axes.imshow(table, cmap="Blues", vmin=0, vmax=100, aspect="auto")
    for (row, column), value in np.ndenumerate(table):
        colour = "white" if value > 50 else "black"
        axes.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=7, color=colour)
    axes.set_xticks(range(len(alphas) + 1), [*(f"{alpha:g}" for alpha in alphas), MEAN], fontsize=7)
    axes.set_yticks(range(len(families) + 1), [*families, MEAN], fontsize=7)
    axes.axhline(len(families) - 0.5, color="white", linewidth=3)  # means stand apart
    axes.axvline(len(alphas) - 0.5, color="white", linewidth=3)
    axes.set_xlabel("α", fontsize=8)
    letters = int(axes.figure.get_size_inches()[0] / axes.get_gridspec().ncols / LETTER)
    axes.set_title(f"{textwrap.fill(name, letters)}\nmCA {table[-1, -1]:.1f} %", fontsize=8)


def _count(items: Sized, one: str, several: str) -> str:
    return f"{len(items)} {one if len(items) == 1 else several}"
