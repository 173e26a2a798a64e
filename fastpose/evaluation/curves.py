"""Accuracy as a function of keypoint noise: the curve, its table and its plot."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from fastpose.data.pack.packed import PackedClips
from fastpose.evaluation.metrics import Accuracy, AccuracyMeter
from fastpose.evaluation.scores import ClipScores, score_clips
from fastpose.system.files import atomic_path, write_csv

Curve = dict[float, Accuracy]


def curve_of(scores: ClipScores) -> Curve:
    """Return the accuracy of scored clips at each noise level."""
    curve = {}
    for alpha, level in scores.by_alpha.items():
        meter = AccuracyMeter(level.shape[1], level.device)
        meter.update(level, scores.labels)
        curve[alpha] = meter.compute()
    return curve


def measure_curve(model: nn.Module, packed: PackedClips, *arguments: Any, **settings: Any) -> Curve:
    """Score clips as ``score_clips`` does, whose arguments these are, and return the accuracies.

    ``measure_curve(model, packed)`` measures any network that has ``prepare_input`` on all clips of a pack.
    """
    return curve_of(score_clips(model, packed, *arguments, **settings))


def write_curve(path: Path, curves: dict[str, Curve]) -> None:
    """Write one row per run and noise level."""
    rows = [
        {
            "run": name,
            "alpha": f"{alpha:g}",
            "top1_percent": f"{accuracy.top1_percent:.3f}",
            "top5_percent": f"{accuracy.top5_percent:.3f}",
            "mean_class_percent": f"{accuracy.mean_class_percent:.3f}",
            "num_clips": accuracy.num_clips,
        }
        for name, curve in curves.items()
        for alpha, accuracy in curve.items()
    ]
    write_csv(path, rows)


def read_curves(path: Path) -> dict[str, Curve]:
    """Read what ``write_curve`` wrote, without the confusion matrices.

    Raises:
        ValueError: the file holds no such table.
    """
    curves: dict[str, Curve] = {}
    try:
        with open(path, newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                shares = (float(row[name]) for name in ("top1_percent", "top5_percent", "mean_class_percent"))
                curves.setdefault(row["run"], {})[float(row["alpha"])] = Accuracy(
                    *shares, num_clips=int(row["num_clips"])
                )
        if not curves:
            raise ValueError("no row")
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise ValueError(f"{path}: is no table of accuracy over noise ({error!r})") from error
    return curves


def plot_curves(path: Path, curves: dict[str, Curve], title: str = "") -> None:
    """Draw top-1 over the noise level, a curve per run, as in the report's Figure 2."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for (name, curve), marker in zip(curves.items(), "os^Dv<>pP*Xhd" * len(curves), strict=False):
        axes.plot(list(curve), [accuracy.top1_percent for accuracy in curve.values()], marker=marker,
                  markersize=4, linewidth=1.5, label=name)  # fmt: skip
    axes.set_xlabel("noise level α (standard deviation over the frame's size, times the clip's motion c)")
    axes.set_ylabel("top-1 accuracy in %")
    axes.set_ylim(0, 100)
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3)
    axes.set_title(title)
    axes.legend(fontsize="small")
    with atomic_path(path) as partial:
        figure.savefig(partial, format="png", dpi=130)


def format_table(curves: dict[str, Curve]) -> str:
    """Return top-1 in percent as text: a row per run, a column per noise level."""
    cells = {
        name: {alpha: f"{accuracy.top1_percent:.1f}" for alpha, accuracy in curve.items()}
        for name, curve in curves.items()
    }
    return _format_rows("top-1 % at α", cells)


def format_spread(groups: dict[str, list[Curve]]) -> str:
    """Return mean ± sample standard deviation of top-1 over the seeds of each group, as text.

    Of a group, the noise levels that all its curves have.
    """
    cells = {}
    for name, curves in groups.items():
        cells[name] = {}
        for alpha in (alpha for alpha in curves[0] if all(alpha in curve for curve in curves)):
            values = [curve[alpha].top1_percent for curve in curves]
            cells[name][alpha] = f"{np.mean(values):.1f}±{np.std(values, ddof=1):.1f}"
    return _format_rows("mean ± spread", cells)


def sampling_error(accuracy: Accuracy) -> float:
    """Return the standard error of top-1, in points, from the finite number of clips."""
    share = accuracy.top1_percent / 100
    return 100 * float(np.sqrt(share * (1 - share) / accuracy.num_clips))


def _format_rows(title: str, cells: dict[str, dict[float, str]]) -> str:
    alphas = sorted({alpha for row in cells.values() for alpha in row})
    first = max(len(name) for name in [*cells, title])
    width = max(6, *(len(cell) for row in cells.values() for cell in row.values()))
    lines = [f"{title:<{first}} " + " ".join(f"{alpha:>{width}g}" for alpha in alphas)]
    for name, row in cells.items():
        lines.append(f"{name:<{first}} " + " ".join(f"{row.get(alpha, ''):>{width}}" for alpha in alphas))
    return "\n".join(lines)
