"""Which class, split and recording each clip of a folder belongs to."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np

_LONGEST_LINE, _MOST_ROWS = 1000, 1_000_000
_COLUMNS = ("clip", "label", "split", "group")
_SPLIT_FOLDERS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val",
                  "test": "test", "testing": "test"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ClipLabel:
    """Label (a number or a class name), split and group (clips of one group stay together) of a clip."""

    label: int | str
    split: str | None = None
    group: str | None = None


class LabelTable:
    """Labels by the names of clips.

    A clip is found by its name, or the last part of it where that names one row alone; suffixes do not matter.
    """

    def __init__(self, rows: dict[str, ClipLabel]) -> None:
        self._rows = rows
        self._by_last: dict[str, list[str]] = {}
        for name in rows:
            last = PurePosixPath(name).name if name.endswith(("/", "/.")) else name.rpartition("/")[2]
            self._by_last.setdefault(last, []).append(name)
        self._used: set[str] = set()

    @classmethod
    def read(cls, path: str | Path) -> "LabelTable":
        """Read a csv file with the columns clip, label and perhaps split and group.

        Labels that are all whole numbers are numbers, others class names.

        Raises:
            ValueError: a column is missing or unknown, a row incomplete, or a clip named twice; the text has the line.
            OSError: the file cannot be read.
        """
        rows: dict[str, ClipLabel] = {}
        if Path(path).exists() and not Path(path).is_file() and not Path(path).is_dir():
            raise ValueError(f"{path}: is no ordinary file; expected a csv table")
        try:
            with open(path, newline="", encoding="utf-8-sig") as file:
                head = file.readline(_LONGEST_LINE)
                separator = max(",;\t", key=head.count)
                columns = [name.strip().lower() for name in head.strip().split(separator)]
                if not {"clip", "label"} <= set(columns) or set(columns) - set(_COLUMNS):
                    raise ValueError(
                        f"line 1: expected the columns clip,label[,split][,group], got {head.strip()!r:.80}"
                    )
                for cells in csv.reader(file, delimiter=separator):
                    if not any(cell.strip() for cell in cells):
                        continue
                    line = len(rows) + 2
                    if len(cells) != len(columns):
                        raise ValueError(f"line {line}: expected {len(columns)} cells, got {len(cells)}")
                    row = {name: cell.strip() for name, cell in zip(columns, cells, strict=True)}
                    if not row["clip"] or not row["label"]:
                        raise ValueError(f"line {line}: a clip without name or label")
                    name = _plain(row["clip"])
                    if len(rows) == _MOST_ROWS:
                        raise ValueError(f"line {line}: more than {_MOST_ROWS:,} clips")
                    if name in rows:
                        raise ValueError(f"line {line}: clip {row['clip']!r:.100} is named twice")
                    rows[name] = ClipLabel(row["label"], row.get("split") or None, row.get("group") or None)
        except (ValueError, csv.Error) as error:
            raise ValueError(f"{path}: {error}") from error
        if not rows:
            raise ValueError(f"{path}: names no clip")
        numbers = [class_number(str(row.label)) for row in rows.values()]
        if all(number is not None for number in numbers):
            rows = {
                name: replace(row, label=number)
                for (name, row), number in zip(rows.items(), numbers, strict=True)
                if number is not None
            }
        return cls(rows)

    def find(self, name: str) -> ClipLabel:
        """Return the row of a clip.

        Raises:
            ValueError: there is none, or its name is that of several.
        """
        plain = _plain(name)
        if plain not in self._rows:
            alike = [
                row
                for row in self._by_last.get(PurePosixPath(plain).name, [])
                if row.endswith(f"/{plain}") or plain.endswith(f"/{row}")
            ]
            if not alike:
                raise ValueError(f"clip {name!r}: no label of it in the table")
            if len(alike) > 1:
                raise ValueError(
                    f"clip {name!r}: the table names {len(alike)} clips like it: {', '.join(alike[:3])}"
                )
            plain = alike[0]
        self._used.add(plain)
        return self._rows[plain]

    def unused(self) -> list[str]:
        """Return the names that no clip had."""
        return [name for name in self._rows if name not in self._used]


def class_number(text: str) -> int | None:
    """Return the whole number that a label is, be it "3" or "3.0"; None for a class name."""
    try:
        number = float(text)
    except ValueError:
        return None
    return int(number) if number.is_integer() and abs(number) < 2**53 else None


def label_of_folders(name: str) -> ClipLabel | None:
    """Return the class that a clip's folder names, and the split that the folder above it may name.

    "walk/a" is of class walk, "train/walk/a" and "walk/train/a" also of split train; "a" has no label.
    """
    folders = list(PurePosixPath(name).parts[:-1])
    split = None
    for i, folder in enumerate(folders):
        if folder.lower() in _SPLIT_FOLDERS:
            split = _SPLIT_FOLDERS[folder.lower()]
            del folders[i]
            break
    return ClipLabel(folders[0], split) if folders else None


def hold_out(labels: np.ndarray, groups: Sequence[str | None], fraction: float, seed: int) -> np.ndarray:
    """Return which clips to validate on, bool [n]: ``fraction`` of each class, clips of one group never divided.

    Args:
        labels: int64 [n].
        groups: the recording of each clip; None is a group of its own.
        fraction: above 0, below 1.
        seed: of the choice.

    Raises:
        ValueError: a fraction out of range.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"val_fraction must lie between 0 and 1, got {fraction}")
    keys = [f"clip {i}" if group is None else f"group {group}" for i, group in enumerate(groups)]
    numbers = {key: i for i, key in enumerate(dict.fromkeys(keys))}
    group_of = np.array([numbers[key] for key in keys])
    num_classes = int(labels.max()) + 1
    held = np.zeros(len(numbers), dtype=bool)
    missing = np.bincount(labels, minlength=num_classes) * fraction
    members = np.argsort(group_of, kind="stable")
    labels_of = np.split(labels[members], np.cumsum(np.bincount(group_of))[:-1])  # of each group
    for group in np.random.default_rng(seed).permutation(len(numbers)):
        counts = np.bincount(labels_of[group], minlength=num_classes)
        # taken where that brings the held-out counts nearer to what is wanted
        if np.abs(missing - counts).sum() < np.abs(missing).sum():
            held[group] = True
            missing -= counts
    return held[group_of]


def _plain(name: str) -> str:
    name = name.replace("\\", "/").removeprefix("./")
    if not name.lower().endswith(_SUFFIXES):
        return name
    path = PurePosixPath(name)
    return str(path.with_suffix("")) if path.suffix.lower() in _SUFFIXES else name


_SUFFIXES = (".json", ".npz", ".npy", ".pkl", ".pickle", ".skeleton", ".mp4", ".avi", ".mov", ".mkv", ".webm")
