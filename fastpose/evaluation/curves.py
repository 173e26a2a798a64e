"""Accuracy as a function of keypoint noise: the curve and its table."""

import csv
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from fastpose.data.pack.packed import PackedClips
from fastpose.evaluation.metrics import Accuracy, AccuracyMeter
from fastpose.evaluation.scores import ClipScores, score_clips, score_families
from fastpose.system.files import write_csv

Curve = dict[float, Accuracy]  # by noise level
Families = dict[str, Curve]  # by noise family


def curve_of(scores: ClipScores, add_up: Callable[..., object] | None = None) -> Curve:
    """Return the accuracy of scored clips at each noise level.

    ``add_up`` adds to integer tensors, in place, those of other processes, which have scored other clips.
    """
    curve = {}
    for alpha, level in scores.by_alpha.items():
        meter = AccuracyMeter(level.shape[1], level.device)
        meter.update(level, scores.labels)
        if add_up is not None:
            add_up(*meter.counts)
        curve[alpha] = meter.compute()
    return curve


def measure_curve(model: nn.Module, packed: PackedClips, *arguments: Any, **settings: Any) -> Curve:
    """Score clips as ``score_clips`` does, whose arguments these are, and return the accuracies.

    ``measure_curve(model, packed)`` measures any network that has ``prepare_input`` on all clips of a pack.
    """
    return curve_of(score_clips(model, packed, *arguments, **settings))


def measure_families(model: nn.Module, packed: PackedClips, *arguments: Any, **settings: Any) -> Families:
    """Score clips as ``score_families`` does, whose arguments these are, and return a curve for each noise family.

    ``measure_families(model, packed, families=FAMILIES)`` measures any network that has ``prepare_input`` on all clips
    of a pack, with all the noise that there is (``fastpose.settings.families``).
    """
    scores = score_families(model, packed, *arguments, **settings)
    return {family: curve_of(scored) for family, scored in scores.items()}


def mean_accuracy(curve: Curve) -> float:
    """Return the mean of top-1 over the noise levels of a curve, in percent."""
    return sum(accuracy.top1_percent for accuracy in curve.values()) / len(curve)


def mean_corruption_accuracy(families: Mapping[str, Curve]) -> float:
    """Return mCA in percent: the mean over noise families of the mean of top-1 over their levels.

    All levels count alike, α = 0 too where it is one of them.
    """
    return sum(map(mean_accuracy, families.values())) / len(families)


def write_curve(path: Path, curves: dict[str, Curve]) -> None:
    """Write one row per run and noise level."""
    write_csv(path, [{"run": name} | cells for name, curve in curves.items() for cells in curve_cells(curve)])


def curve_cells(curve: Curve) -> list[dict[str, str]]:
    """Return the columns of a table of accuracies, a row per noise level."""
    return [
        {
            "alpha": f"{alpha:g}",
            "top1_percent": f"{accuracy.top1_percent:.3f}",
            "top5_percent": f"{accuracy.top5_percent:.3f}",
            "mean_class_percent": f"{accuracy.mean_class_percent:.3f}",
            "num_clips": str(accuracy.num_clips),
        }
        for alpha, accuracy in curve.items()
    ]


def read_curves(path: Path) -> dict[str, Curve]:
    """Read what ``write_curve`` wrote, without the confusion matrices.

    Raises:
        ValueError: the file holds no such table.
    """
    curves: dict[str, Curve] = {}
    for row, alpha, accuracy in read_accuracies(path, "run"):
        curves.setdefault(row["run"], {})[alpha] = accuracy
    return curves


def read_accuracies(path: Path, *columns: str) -> list[tuple[dict[str, str], float, Accuracy]]:
    """Return the ``columns``, the noise level and the accuracies of each row of a table with those of ``curve_cells``.

    Raises:
        ValueError: the file holds no such table, or one without rows.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        if not rows:
            raise ValueError("no row")
        read = []
        for row in rows:
            count = int(row["num_clips"])
            shares = [float(row[name]) for name in ("top1_percent", "top5_percent", "mean_class_percent")]
            accuracy, alpha = Accuracy(*shares, num_clips=count), float(row["alpha"])
            if not (all(map(math.isfinite, shares)) and 0 <= alpha < math.inf and accuracy.num_clips >= 0):
                raise ValueError(f"row {len(read) + 1} holds numbers that are not finite, or negative")
            if not all(row[name] for name in columns):
                raise ValueError(f"row {len(read) + 1} has no {' or no '.join(columns)}")
            read.append(({name: row[name] for name in columns}, alpha, accuracy))
        return read
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise ValueError(f"{path}: is no table of accuracy over noise ({error!r})") from error


def without_seed(name: str) -> str:
    """Return the part of a run's name that its seeds share."""
    return re.sub(r"-s\d+$", "", name)


def format_table(curves: dict[str, Curve]) -> str:
    """Return top-1 in percent as text: a row per run, a column per noise level."""
    cells = {
        name: {alpha: f"{accuracy.top1_percent:.1f}" for alpha, accuracy in curve.items()}
        for name, curve in curves.items()
    }
    return _format_levels("top-1 % at α", cells)


def format_spread(groups: dict[str, list[Curve]]) -> str:
    """Return mean ± sample standard deviation of top-1 over the seeds of each group, as text.

    Of a group, the noise levels that all its curves have.
    """
    cells = {}
    for name, curves in groups.items():
        cells[name] = {}
        for alpha in (alpha for alpha in curves[0] if all(alpha in curve for curve in curves)):
            values = [curve[alpha].top1_percent for curve in curves]
            cells[name][alpha] = mean_and_spread(values)
    return _format_levels("mean ± spread", cells)


def mean_and_spread(values: Sequence[float]) -> str:
    """Return the mean of some percentages, and where they are several, ± their sample standard deviation, as text."""
    spread = f"±{np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
    return f"{np.mean(values):.1f}{spread}"


def _format_levels(title: str, cells: dict[str, dict[float, str]]) -> str:
    alphas = sorted({alpha for row in cells.values() for alpha in row})
    rows = {name: {f"{alpha:g}": cell for alpha, cell in row.items()} for name, row in cells.items()}
    return format_rows(title, [f"{alpha:g}" for alpha in alphas], rows)


def format_rows(title: str, columns: Sequence[str], cells: Mapping[str, Mapping[str, str]]) -> str:
    """Return a table as text: below its title the names of the rows, each column as wide as the widest cell."""
    first = max(len(name) for name in [*cells, title])
    width = max(6, *(len(cell) for row in cells.values() for cell in row.values()))
    lines = [f"{title:<{first}} " + " ".join(f"{column:>{width}}" for column in columns)]
    for name, row in cells.items():
        lines.append(f"{name:<{first}} " + " ".join(f"{row.get(column, ''):>{width}}" for column in columns))
    return "\n".join(lines)
