"""Curves over noise as SVG inside a page: it takes the page's colours, light or dark, and its text stays text."""

import math
from collections.abc import Iterator, Sequence

from fastpose.evaluation.curve_plot import COLOURS
from fastpose.reproduction.html_text import escaped
from fastpose.reproduction.tables import REPORT, Line, Table, has_curves

WIDTH, HEIGHT = 760, 400
LEFT, RIGHT, TOP, BOTTOM = 48, 744, 14, 344
LETTER = 6.2  # pixels of a digit of a tick's label
LINEAR = 0.5  # decades that the levels from 0 to the first above it take
MARKS = (
    '<circle r="4.2"/>',
    '<rect x="-3.8" y="-3.8" width="7.6" height="7.6"/>',
    '<path d="M0 -5 4.8 3.8H-4.8Z"/>',
    '<path d="M0 -5.4 5.4 0 0 5.4 -5.4 0Z"/>',
    '<path d="M0 5 4.8 -3.8H-4.8Z"/>',
    '<path d="M-1.6 -5H1.6V-1.6H5V1.6H1.6V5H-1.6V1.6H-5V-1.6H-1.6Z"/>',
)


def swatch(index: int) -> str:
    """Return a piece of the curve of a section's row, as HTML; it tells the ``index``-th row in tables and legends."""
    return (
        f'<svg class="swatch {_series(index)}" viewBox="0 0 26 12" width="26" height="12" aria-hidden="true">'
        f'<path class="line" d="M0 6H26"/><g class="mark" transform="translate(13 6)">{_mark(index)}</g></svg>'
    )


def draw_curves(table: Table, chance_percent: float, name: str) -> str:
    """Return the curves of a section as an SVG element; empty where no row has two levels.

    Each row's mean over its runs is a line with a band from the lowest to the highest run; the report's is dashed.

    Args:
        table: of the section.
        chance_percent: drawn as a dotted line.
        name: that its ids begin with.
    """
    if not has_curves(table):
        return ""
    alphas = sorted({alpha for line in table.lines for alpha in (*line.top1, *line.row.published)})
    places = level_places(alphas)
    chance = _height(chance_percent)
    parts = [
        f'<svg class="curves" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-labelledby="{name}--title {name}--desc">',
        f'<title id="{name}--title">{escaped(f"Top-1 accuracy over noise: {table.section.title}")}</title>',
        f'<desc id="{name}--desc">{escaped(_describe(table))}</desc>',
        *_axes(alphas, places),
        f'<path class="chance" d="M{LEFT} {chance:.1f}H{RIGHT}"/>',
    ]
    for index, line in enumerate(table.lines):
        parts.append(f'<g class="{_series(index)}">{"".join(_draw_line(index, line, places))}</g>')
    return "\n".join([*parts, "</svg>"])


def level_places(alphas: Sequence[float]) -> dict[float, float]:
    """Return where ascending noise levels lie, in pixels: linear up to the first above 0, logarithmic from there."""
    positive = [alpha for alpha in alphas if alpha > 0]

    def scale(alpha: float) -> float:
        if len(positive) < 2:
            return alpha
        share = alpha / positive[0]
        return LINEAR * share if share <= 1 else LINEAR + math.log10(share)

    first, last = scale(alphas[0]), scale(alphas[-1])
    inner, margin = RIGHT - LEFT - 24, LEFT + 12
    return {
        alpha: margin + inner * ((scale(alpha) - first) / (last - first) if last > first else 0.5)
        for alpha in alphas
    }


def _series(index: int) -> str:
    return f"c{index % len(COLOURS)}"


def _mark(index: int) -> str:
    return MARKS[index % len(MARKS)]


def _height(percent: float) -> float:
    return BOTTOM - (BOTTOM - TOP) * percent / 100


def _axes(alphas: Sequence[float], places: dict[float, float]) -> Iterator[str]:
    for percent in range(0, 101, 20):
        y = _height(percent)
        yield f'<path class="grid" d="M{LEFT} {y:.1f}H{RIGHT}"/>'
        yield f'<text class="tick" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{percent}</text>'
    end = -math.inf
    for alpha in alphas:
        x, half = places[alpha], (len(f"{alpha:g}") * LETTER - 3) / 2
        yield f'<path class="grid" d="M{x:.1f} {TOP}V{BOTTOM + 4}"/>'
        if x - half > end + 2:  # labels give way where levels crowd
            yield f'<text class="tick" x="{x:.1f}" y="{BOTTOM + 19}" text-anchor="middle">{alpha:g}</text>'
            end = x + half
    middle = (LEFT + RIGHT) / 2
    logarithmic = ", logarithmic" if sum(alpha > 0 for alpha in alphas) > 1 else ""
    yield (
        f'<text class="axis" x="{middle:.1f}" y="{HEIGHT - 8}" text-anchor="middle">'
        f"noise level α{logarithmic}</text>"
    )
    yield (
        f'<text class="axis" transform="translate(13 {(TOP + BOTTOM) / 2:.1f}) rotate(-90)" '
        'text-anchor="middle">top-1 in %</text>'
    )


def _draw_line(index: int, line: Line, places: dict[float, float]) -> Iterator[str]:
    label = line.row.label
    if any(len(spread.values) > 1 for spread in line.top1.values()):
        upper = [(places[alpha], _height(spread.highest)) for alpha, spread in line.top1.items()]
        lower = [(places[alpha], _height(spread.lowest)) for alpha, spread in line.top1.items()]
        yield f'<polygon class="band" points="{_points([*upper, *reversed(lower)])}"/>'
    published = {alpha: line.row.published[alpha] for alpha in sorted(line.row.published)}
    told = {alpha: f"{label}, {REPORT}, α = {alpha:g}: {top1:.1f} %" for alpha, top1 in published.items()}
    yield from _draw_points(index, published, told, places, "published")
    means = {alpha: spread.mean for alpha, spread in line.top1.items()}
    told = {alpha: f"{label}, α = {alpha:g}: {spread} %" for alpha, spread in line.top1.items()}
    yield from _draw_points(index, means, told, places, "measured")


def _draw_points(
    index: int, percents: dict[float, float], told: dict[float, str], places: dict[float, float], kind: str
) -> Iterator[str]:
    found = {alpha: (places[alpha], _height(percent)) for alpha, percent in percents.items()}
    if len(found) > 1:
        yield f'<polyline class="line {kind}" points="{_points(list(found.values()))}"/>'
    for alpha, (x, y) in found.items():
        yield (
            f'<g class="mark {kind}" transform="translate({x:.1f} {y:.1f})">'
            f"<title>{escaped(told[alpha])}</title>{_mark(index)}</g>"
        )


def _points(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _describe(table: Table) -> str:
    """Say in words where each curve begins and ends."""
    said = []
    for line in table.lines:
        if line.top1:
            (first, start), *_, (last, end) = [*line.top1.items()] * 2
            said.append(
                f"{line.row.label}: {start.mean:.1f} % at α = {first:g}, {end.mean:.1f} % at α = {last:g}."
            )
    return " ".join(said) or "Only the report's figures: no run has finished."
