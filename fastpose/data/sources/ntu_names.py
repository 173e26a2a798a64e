"""NTU RGB+D 60 and 120: names of samples, class names, benchmark splits, the list of missing skeletons."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np

XSUB60_TRAIN = frozenset({1, 2, 4, 5, 8, 9, *range(13, 20), 25, 27, 28, 31, 34, 35, 38})
XSUB120_TRAIN = XSUB60_TRAIN | frozenset(
    {45, 46, 47, 49, 50, *range(52, 60), 70, 74, 78, *range(80, 87), 89, *range(91, 96), 97, 98, 100, 103}
)

_NAME = re.compile(r"S(\d{3})C(\d{3})P(\d{3})R(\d{3})A(\d{3})", re.ASCII)
_LIMITS = {"setup": 32, "camera": 3, "performer": 106, "replication": 2, "action": 120}


@dataclass(frozen=True, slots=True)
class NtuName:
    """What the name of a sample says, e.g. ``S001C002P003R002A013``; all numbers count from 1."""

    setup: int
    camera: int
    performer: int
    replication: int
    action: int

    @property
    def name(self) -> str:
        """The name itself, without suffix."""
        return f"S{self.setup:03}C{self.camera:03}P{self.performer:03}R{self.replication:03}A{self.action:03}"

    @property
    def label(self) -> int:
        """Class index, ``action - 1``: the same in NTU-60, NTU-120 and any part of them."""
        return self.action - 1


def parse_name(name: str) -> NtuName:
    """Read a sample's name, without folder or suffix.

    Raises:
        ValueError: not of the form SsssCcccPpppRrrrAaaa, or a number outside the data set's range.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise ValueError(f"{name!r} is no NTU RGB+D name such as S001C002P003R002A013")
    numbers = dict(zip(_LIMITS, map(int, match.groups()), strict=True))
    for field, number in numbers.items():
        if not 1 <= number <= _LIMITS[field]:
            raise ValueError(
                f"{name!r} is no NTU RGB+D name: {field} {number} is outside 1..{_LIMITS[field]}"
            )
    return NtuName(**numbers)


def _listed(file: str) -> tuple[str, ...]:
    lines = resources.files("fastpose.data.sources").joinpath(file).read_text(encoding="utf-8").splitlines()
    return tuple(line for line in lines if line and not line.startswith("#"))


@cache
def missing_skeletons() -> tuple[str, ...]:
    """Return the 535 samples whose skeletons are missing or incomplete; the first 302 are those of NTU-60."""
    return _listed("ntu_missing.txt")


@cache
def class_names(num_classes: int = 120) -> tuple[str, ...]:
    """Return the official class names, A1 first; 60 or 120 of them."""
    return _listed("ntu_classes.txt")[:num_classes]


def num_classes(names: Sequence[NtuName]) -> int:
    """Return 60 if every action is one of NTU-60's, else 120."""
    return 60 if all(name.action <= 60 for name in names) else 120


def benchmark_splits(names: Sequence[NtuName]) -> dict[str, np.ndarray]:
    """Return int64 indices into ``names``: X-Sub and X-View for NTU-60, X-Sub and X-Set for NTU-120."""
    sixty = num_classes(names) == 60
    xsub = XSUB60_TRAIN if sixty else XSUB120_TRAIN
    trains = {"xsub": np.array([name.performer in xsub for name in names], dtype=bool)}
    if sixty:
        trains["xview"] = np.array([name.camera != 1 for name in names], dtype=bool)
    else:
        trains["xset"] = np.array([name.setup % 2 == 0 for name in names], dtype=bool)
    return {
        f"{split}_{role}": np.flatnonzero(chosen).astype(np.int64)
        for split, train in trains.items()
        for role, chosen in (("train", train), ("val", ~train))
    }
