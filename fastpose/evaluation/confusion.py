"""Which classes are taken for which: the confusion matrix, its worst pairs, and how each class fares."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastpose.evaluation.metrics import Accuracy
from fastpose.system.files import atomic_path, write_csv, write_text

MOST_CLASSES = 20  # listed one by one; of more, the worst
WORST_CLASSES = 10
WORST_PAIRS = 5
PAIR_COLUMNS = ("true", "predicted", "clips", "percent_of_true")


@dataclass(frozen=True, slots=True)
class ClassRow:
    """How the clips of one class were classified.

    Attributes:
        recall_percent: share of its clips that were found; None where it has no clip.
        precision_percent: share of the clips taken for it that are of it; None where no clip was.
        taken_for: the class that most of its other clips were taken for, and how many; None where all were right.
    """

    name: str
    clips: int
    correct: int
    recall_percent: float | None
    precision_percent: float | None
    taken_for: tuple[str, int] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfusedPair:
    """Clips of one class that were taken for another."""

    true: str
    predicted: str
    clips: int
    percent_of_true: float


def class_rows(accuracy: Accuracy, names: Sequence[str]) -> list[ClassRow]:
    """Return a row for each class, in the order of ``names``."""
    counts = _matrix(accuracy)
    rows = []
    for k, name in enumerate(names):
        clips, taken, correct = int(counts[k].sum()), int(counts[:, k].sum()), int(counts[k, k])
        others = counts[k].copy()
        others[k] = 0
        worst = int(others.argmax())
        rows.append(
            ClassRow(
                name=name,
                clips=clips,
                correct=correct,
                recall_percent=100 * correct / clips if clips else None,
                precision_percent=100 * correct / taken if taken else None,
                taken_for=(names[worst], int(others[worst])) if others[worst] else None,
            )
        )
    return rows


def confused_pairs(accuracy: Accuracy) -> list[tuple[int, int, int]]:
    """Return (true class, predicted class, clips) for each pair that was confused, most clips first."""
    counts = _matrix(accuracy).copy()
    np.fill_diagonal(counts, 0)
    order = np.argsort(-counts, axis=None, kind="stable")[: np.count_nonzero(counts)]
    return [(int(i // len(counts)), int(i % len(counts)), int(counts.ravel()[i])) for i in order]


def format_classes(accuracy: Accuracy, names: Sequence[str], title: str) -> str:
    """Return how each class fares as text, the worst first: all of them, or the worst of many."""
    rows = [row for row in class_rows(accuracy, names) if row.recall_percent is not None]
    rows.sort(key=lambda row: row.recall_percent or 0.0)
    shown = rows if len(rows) <= MOST_CLASSES else rows[:WORST_CLASSES]
    what = "by class" if len(shown) == len(rows) else f"of the {len(shown)} worst of {len(rows)} classes"
    head = f"{title}, {what}"
    width = max(len(head), *(len(row.name) for row in shown))
    lines = [f"{head:<{width}}  clips  recall %  precision %  most often taken for"]
    for row in shown:
        precision = "" if row.precision_percent is None else f"{row.precision_percent:.1f}"
        taken = "" if row.taken_for is None else f"{row.taken_for[0]} ({row.taken_for[1]})"
        line = f"{row.name:<{width}}  {row.clips:>5}  {row.recall_percent:>8.1f}  {precision:>11}  {taken}"
        lines.append(line.rstrip())
    return "\n".join(lines)


def format_pairs(accuracy: Accuracy, names: Sequence[str], title: str) -> str:
    """Return the most confused pairs as a line of text."""
    sizes = _matrix(accuracy).sum(axis=1)
    pairs = [
        f"{names[true]} taken for {names[predicted]} ({count} of {sizes[true]})"
        for true, predicted, count in confused_pairs(accuracy)[:WORST_PAIRS]
    ]
    return f"{title}, most confused: {'; '.join(pairs) or 'no clip'}"


def write_confusion(stem: Path, accuracy: Accuracy, names: Sequence[str], title: str) -> None:
    """Write a confusion matrix (rows: true class, columns: predicted) as ``stem``.csv and ``stem``.png.

    Beside it ``stem``-classes.csv has a row for each class, and ``stem``-pairs.csv one for each pair of classes that
    was confused, most clips first.
    """
    counts = _matrix(accuracy)
    quoted = ['"' + name.replace('"', '""') + '"' for name in names]
    rows = [",".join([name, *map(str, row)]) for name, row in zip(quoted, counts.tolist(), strict=True)]
    write_text(_beside(stem, ".csv"), "\n".join([",".join(["true", *quoted]), *rows]) + "\n")
    write_csv(_beside(stem, "-classes.csv"), [_class_cells(row) for row in class_rows(accuracy, names)])
    write_pairs(_beside(stem, "-pairs.csv"), accuracy, names)
    _plot(_beside(stem, ".png"), counts, names, f"{title}: top-1 {accuracy.top1_percent:.1f} %")


def write_pairs(path: Path, accuracy: Accuracy, names: Sequence[str]) -> None:
    """Write a row for each pair of classes that was confused, most clips first."""
    sizes = _matrix(accuracy).sum(axis=1)
    cells: list[dict[str, object]] = [
        {
            "true": names[true],
            "predicted": names[predicted],
            "clips": count,
            "percent_of_true": f"{100 * count / sizes[true]:.3f}",
        }
        for true, predicted, count in confused_pairs(accuracy)
    ]
    write_csv(path, cells, columns=PAIR_COLUMNS)


def read_pairs(path: Path) -> list[ConfusedPair]:
    """Read what ``write_pairs`` wrote.

    Raises:
        ValueError: the file holds no such table.
        OSError: it cannot be read.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file)
            if tuple(rows.fieldnames or ()) != PAIR_COLUMNS:
                raise ValueError(f"expected the columns {', '.join(PAIR_COLUMNS)}")
            pairs = [
                ConfusedPair(
                    true=row["true"],
                    predicted=row["predicted"],
                    clips=int(row["clips"]),
                    percent_of_true=float(row["percent_of_true"]),
                )
                for row in rows
            ]
        if not all(pair.clips >= 0 and 0 <= pair.percent_of_true <= 100 for pair in pairs):
            raise ValueError("a number of clips or a percentage is out of range")
        return pairs
    except (TypeError, ValueError, csv.Error) as error:
        raise ValueError(f"{path}: is no table of confused classes ({error})") from error


def _matrix(accuracy: Accuracy) -> NDArray[np.int64]:
    """Return clips by true and predicted class, int64 [K, K]."""
    assert accuracy.confusion is not None  # as of all that was measured, and not read from a table
    return accuracy.confusion.numpy()


def _beside(stem: Path, ending: str) -> Path:
    return stem.with_name(stem.name + ending)


def _class_cells(row: ClassRow) -> dict[str, object]:
    taken_for, taken = row.taken_for or ("", "")
    percents = {"recall_percent": row.recall_percent, "precision_percent": row.precision_percent}
    return {
        "class": row.name,
        "clips": row.clips,
        "correct": row.correct,
        **{name: "" if value is None else f"{value:.3f}" for name, value in percents.items()},
        "most_often_taken_for": taken_for,
        "clips_taken_for_it": taken,
    }


def _plot(path: Path, counts: NDArray[np.int64], names: Sequence[str], title: str) -> None:
    """Draw the matrix in percent of the true class; classes that never occur are left out."""
    from matplotlib.figure import Figure

    met = np.flatnonzero(counts.sum(axis=0) + counts.sum(axis=1))
    shown = [names[k] for k in met.tolist()]
    counts = counts[np.ix_(met, met)]
    side = min(4 + 0.28 * len(shown), 24)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.add_subplot()
    shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    ticks = range(len(shown))
    size = 8 if len(shown) <= 30 else 5
    axes.set_xticks(ticks, shown, rotation=90, fontsize=size)
    axes.set_yticks(ticks, shown, fontsize=size)
    if len(shown) <= 30:
        for row in ticks:
            for column in ticks:
                if counts[row, column]:
                    axes.text(column, row, f"{shares[row, column]:.0f}", ha="center", va="center", fontsize=6,
                              color="white" if shares[row, column] > 50 else "black")  # fmt: skip
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(title)
    figure.colorbar(image, ax=axes, shrink=0.7, label="% of the true class")
    with atomic_path(path) as partial:
        figure.savefig(partial, format="png", dpi=130)
