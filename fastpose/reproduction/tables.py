"""What the tables of a reproduction hold: means and spreads over runs, beside the report's figures."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from fastpose.evaluation.curves import mean_and_spread
from fastpose.evaluation.metrics import Accuracy, wilson_interval
from fastpose.reproduction.results import Reproduction, RowResult, RunResult, Section
from fastpose.training.expected_time import format_duration

CLEAN = 0.0  # the noise level of clean clips
MISSING = "–"
REPORT = "the report (NTU RGB+D 60, X-Sub)"
CAVEAT = (
    "Figures of the report are of NTU RGB+D 60, X-Sub. On any other data they show what shape the curves are to have, "
    "not what accuracy to expect."
)
READING = (
    "Cells are top-1 accuracy in percent, the mean ± sample standard deviation over the runs of a row, which differ in "
    "their seed alone; of a single run, its value. The noise level α is the standard deviation of the noise on "
    "keypoints over the frame's size, times the clip's motion c."
)


@dataclass(frozen=True, slots=True)
class Spread:
    """A percentage, or a time in seconds, of one run or more."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        return float(np.mean(self.values))

    @property
    def std(self) -> float | None:
        """The sample standard deviation; None of a single run."""
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else None

    @property
    def lowest(self) -> float:
        return min(self.values)

    @property
    def highest(self) -> float:
        return max(self.values)

    def __str__(self) -> str:
        return mean_and_spread(self.values)


@dataclass(frozen=True, slots=True)
class Line:
    """A row of a table.

    Attributes:
        row: that it is of.
        top1: in percent by noise level, over the runs that have the level.
        top5: the same of top-5.
        mean_class: the same of the mean accuracy of the classes.
        mean: top-1 over the levels of the table's mean; None without a run.
        published_mean: the same of the report's figures; None where it lacks some of these levels.
    """

    row: RowResult
    top1: dict[float, Spread]
    top5: dict[float, Spread]
    mean_class: dict[float, Spread]
    mean: Spread | None
    published_mean: float | None

    @property
    def missing(self) -> str:
        """What is missing from the row, in words; empty where nothing is."""
        row = self.row
        few = [
            f"α = {alpha:g} is the mean of {len(spread.values)} of {len(row.runs)} runs"
            for alpha, spread in self.top1.items()
            if len(spread.values) < len(row.runs)
        ]
        absent = f"{len(row.runs)} of {row.seeds} runs" if len(row.runs) < row.seeds else ""
        told = "; ".join(part for part in (row.reason or absent, *few) if part)
        return told if self.top1 else f"not measured: {told}"


@dataclass(frozen=True, slots=True)
class Table:
    """A section in numbers.

    Attributes:
        section: that it is of.
        alphas: its columns, ascending: all levels that a run has; without any run, all that the report has.
        mean_alphas: the levels of the column of means: those that all runs have, two or more, or none.
        has_top5: whether there is a column of top-5 on clean clips.
        lines: a row each.
    """

    section: Section
    alphas: list[float]
    mean_alphas: list[float]
    has_top5: bool
    lines: list[Line] = field(default_factory=list)

    @property
    def has_published(self) -> bool:
        return any(line.row.published or line.row.published_top5 is not None for line in self.lines)

    @property
    def heads(self) -> list[str]:
        """The heads of the columns of figures."""
        levels = [f"{alpha:g}" for alpha in self.alphas]
        heads = [f"α = {level}" if i == 0 else level for i, level in enumerate(levels)]
        return [*heads, *(["mean"] if self.mean_alphas else []), *(["top-5, clean"] if self.has_top5 else [])]

    @property
    def mean_text(self) -> str:
        """Of which levels the column of means is, in words; empty where there is none."""
        if not self.mean_alphas:
            return ""
        whole = self.mean_alphas == self.alphas
        levels = ", ".join(f"{alpha:g}" for alpha in self.mean_alphas)
        of = f"all {len(self.alphas)} levels" if whole else f"α = {levels}, the levels that all runs have"
        return f"The column “mean” is over {of}."


@dataclass(frozen=True, slots=True)
class Cost:
    """What the runs of a row took, and how sure their number of clips makes them.

    Attributes:
        runs: finished of wanted, such as "2 of 3".
        seconds: that training took, a run each.
        threads: of torch, such as "1" or "1 or 2".
        sampling: the interval of 95 % of the mean top-1 at the lowest noise level, by the number of clips alone.
    """

    runs: str
    seconds: Spread
    threads: str
    sampling: str

    @property
    def time(self) -> str:
        return format_duration(self.seconds.mean)


def table_of(section: Section) -> Table:
    """Return the numbers of a section."""
    runs = [run for row in section.rows for run in row.runs if run.curve]
    measured = {alpha for run in runs for alpha in run.curve}
    alphas = measured or {alpha for row in section.rows for alpha in row.published}
    common = set.intersection(*(set(run.curve) for run in runs)) if runs else alphas
    top5 = CLEAN in measured or any(row.published_top5 is not None for row in section.rows)
    mean_alphas = sorted(common) if len(common) > 1 else []
    lines = [_line_of(row, sorted(alphas), mean_alphas) for row in section.rows]
    return Table(section, sorted(alphas), mean_alphas, top5, lines)


def has_curves(table: Table) -> bool:
    """Say whether any row has figures at two noise levels or more, without which there is no curve to draw."""
    return any(len(line.top1) > 1 or len(line.row.published) > 1 for line in table.lines)


def cost_of(row: RowResult) -> Cost | None:
    """Return the costs of a row; None without a run."""
    runs = row.runs
    if not runs:
        return None
    counts = sorted({run.threads for run in runs})
    return Cost(
        f"{len(runs)} of {row.seeds}",
        Spread(tuple(run.train_seconds for run in runs)),
        " or ".join(map(str, counts)),
        _sampling_error([run for run in runs if run.curve]),
    )


def reading_notes(reproduction: Reproduction) -> list[str]:
    """Return how the tables are to be read, a sentence or two each."""
    published = any(table_of(section).has_published for section in reproduction.sections)
    return [READING, CAVEAT] if published else [READING]


def section_names(reproduction: Reproduction) -> list[str]:
    """Return a name for each section that is a file name and an anchor anywhere, no two of them alike."""
    slugs = [re.sub(r"[^a-z0-9]+", "-", part.name.lower()).strip("-") for part in reproduction.sections]
    often = Counter(slugs)
    return [
        slug if slug and often[slug] == 1 else f"{slug or 'section'}--{i}" for i, slug in enumerate(slugs, 1)
    ]


def _line_of(row: RowResult, alphas: Sequence[float], mean_alphas: Sequence[float]) -> Line:
    levels = {alpha: [run.curve[alpha] for run in row.runs if alpha in run.curve] for alpha in alphas}
    met = {alpha: accuracies for alpha, accuracies in levels.items() if accuracies}
    means = [
        float(np.mean([run.curve[alpha].top1_percent for alpha in mean_alphas]))
        for run in row.runs
        if run.curve and mean_alphas
    ]
    published = [row.published[alpha] for alpha in mean_alphas if alpha in row.published]
    return Line(
        row,
        top1={alpha: Spread(tuple(one.top1_percent for one in found)) for alpha, found in met.items()},
        top5={alpha: Spread(tuple(one.top5_percent for one in found)) for alpha, found in met.items()},
        mean_class={
            alpha: Spread(tuple(one.mean_class_percent for one in found)) for alpha, found in met.items()
        },
        mean=Spread(tuple(means)) if means else None,
        published_mean=float(np.mean(published))
        if published and len(published) == len(mean_alphas)
        else None,
    )


def _sampling_error(runs: Sequence[RunResult]) -> str:
    if not runs:
        return MISSING
    lowest = min(alpha for run in runs for alpha in run.curve)
    found = [run.curve[lowest] for run in runs if lowest in run.curve]
    top1 = float(np.mean([accuracy.top1_percent for accuracy in found]))
    clips = min(accuracy.num_clips for accuracy in found)
    low, high = wilson_interval(Accuracy(top1, 0.0, 0.0, num_clips=clips))
    return f"{low:.1f} to {high:.1f} % at α = {lowest:g}, of {clips:,} clip{'' if clips == 1 else 's'}"
