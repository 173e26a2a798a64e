"""The picture of accuracy over noise: a line per run, or per arm with a band over its seeds."""

import itertools
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fastpose.evaluation.curves import Curve, without_seed
from fastpose.system.files import atomic_path

# Okabe & Ito, "Color Universal Design", 2008: colours that colour-blind readers can tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "os^Dv<>pP*Xhd"
LABEL_WIDTH, LABEL_HEIGHT = 0.06, 0.025  # of a noise level's label, as shares of the axis


def plot_curves(
    path: Path,
    curves: Mapping[str, Curve],
    title: str = "",
    chances: Iterable[float] = (),
    published: Mapping[str, Mapping[float, float]] | None = None,
) -> None:
    """Draw top-1 over the noise level: a line per run, or of several seeds their mean, banded from lowest to highest.

    Args:
        path: of the png.
        curves: by the name of the run; seeds are those whose names differ in ``-s0`` alone, at the same noise levels.
        title: above it.
        chances: percentages that the largest class alone would reach, a dotted line each.
        published: top-1 in percent by noise level that is to compare with, by the name of the run or of its seeds
            together, dashed in its colour.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 5), layout="constrained")
    axes = figure.add_subplot()
    groups: dict[tuple[Any, ...], dict[str, Curve]] = {}
    for name, curve in curves.items():
        groups.setdefault((without_seed(name), *sorted(curve)), {})[name] = curve
    published = published or {}
    styles = zip(itertools.cycle(COLOURS), itertools.cycle(MARKERS), strict=False)
    used: dict[Any, tuple[str, str]] = {}
    for (name, *_), members in groups.items():
        style = next(styles)
        _draw_group(axes, members, *style)
        used.setdefault(name, style)
    for name, tops in published.items():
        colour, marker = used.get(name) or next(styles)
        label = None if name in used else f"{name}, published"
        axes.plot(sorted(tops), [tops[alpha] for alpha in sorted(tops)], color=colour, marker=marker, markersize=4,
                  markerfacecolor="white", linewidth=1.2, linestyle="--", label=label,
                  clip_on=False)  # fmt: skip
    if published:
        axes.plot([], [], color="gray", linewidth=1.2, linestyle="--", label="dashed: published")
    if any(len(members) > 1 for members in groups.values()):
        axes.fill_between([], [], [], color="gray", alpha=0.2, label="band: lowest to highest seed")
    for chance in sorted(set(chances)):
        label = f"always the largest class: {chance:.1f} %"
        axes.axhline(chance, color="0.4", linestyle=":", linewidth=1.2, label=label)
    scale = _spread_levels(
        axes, sorted({alpha for curve in (*curves.values(), *published.values()) for alpha in curve})
    )
    axes.set_xlabel(
        f"noise level α{scale}\n(standard deviation over the frame's size, times the clip's motion c)"
    )
    axes.set_ylabel("top-1 accuracy in %")
    axes.set_ylim(0, 100)
    axes.grid(alpha=0.3)
    axes.set_title(textwrap.fill(title, 80), fontsize="medium")
    if published:  # twice as many curves leave no room between them
        figure.set_size_inches(7.5, 6)
        figure.legend(fontsize="small", loc="outside lower center", ncols=3)
    else:
        axes.legend(fontsize="small")
    with atomic_path(path) as partial:
        figure.savefig(partial, format="png", dpi=130)


def curve_title(source: str, curves: Mapping[str, Curve]) -> str:
    """Return the title of a picture of ``curves``: of which clips they are, and of how many."""
    counts = sorted({accuracy.num_clips for curve in curves.values() for accuracy in curve.values()})
    return f"Top-1 accuracy over noise: {source or 'clips'} ({' or '.join(map(str, counts))} test clips)"


def _draw_group(axes: Any, members: Mapping[str, Curve], colour: str, marker: str) -> None:
    """Draw the runs of one arm, which were measured at the same noise levels."""
    first, *others = members
    alphas = sorted(members[first])
    tops = np.array([[curve[alpha].top1_percent for alpha in alphas] for curve in members.values()])
    label = f"{without_seed(first)}, mean of {len(members)} seeds" if others else first
    axes.plot(alphas, tops.mean(axis=0), color=colour, marker=marker, markersize=5, linewidth=1.6, label=label,
              clip_on=False)  # fmt: skip
    if others:
        axes.fill_between(alphas, tops.min(axis=0), tops.max(axis=0), color=colour, alpha=0.2, linewidth=0)


def _spread_levels(axes: Any, alphas: Sequence[float]) -> str:
    """Let small noise levels lie apart, label as many as there is room for, and return what to say of the scale."""
    positive = [alpha for alpha in alphas if alpha > 0]
    if len(positive) > 1:
        axes.set_xscale("symlog", linthresh=positive[0], linscale=0.5)
    transform = axes.xaxis.get_transform()
    places = transform.transform(np.array(alphas, dtype=float))
    margin = 0.03 * (float(np.ptp(places)) or 1.0)
    axes.set_xlim(transform.inverted().transform([places[0] - margin, places[-1] + margin]))
    shares = (places - places[0]) / (float(np.ptp(places)) or 1.0)
    slanted = len(alphas) > 1 and np.diff(shares).min() < LABEL_WIDTH
    labels, last = [], -np.inf
    for alpha, place in zip(alphas, shares, strict=True):
        room = place - last >= LABEL_HEIGHT
        labels.append(f"{alpha:g}" if room else "")
        last = place if room else last
    axes.set_xticks(alphas, labels, fontsize="small", rotation=60 if slanted else 0)
    axes.minorticks_off()
    return f", logarithmic above {positive[0]:g}" if len(positive) > 1 else ""
