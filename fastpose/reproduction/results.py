"""What a reproduction has found: what its report is written from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fastpose.evaluation.confusion import ConfusedPair
from fastpose.evaluation.curves import Curve, Families


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """One finished run of a row.

    Attributes:
        folder: its name.
        seed: of the run.
        curve: accuracy by level of Gaussian noise, without confusion matrices.
        families: the same by noise family; empty where they were not measured.
        pairs: confused at the curve's lowest noise level, most clips first.
        train_seconds: that its epochs took.
        threads: of torch that it was trained on.
    """

    folder: str
    seed: int
    curve: Curve
    families: Families
    pairs: Sequence[ConfusedPair]
    train_seconds: float
    threads: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RowResult:
    """A row of a table: the runs of one kind, which differ in their seed alone.

    Attributes:
        label: its name, such as "C_Sk_1".
        text: what is trained, in a few words.
        settings: those that differ from the defaults, by dotted name, as JSON values.
        published: top-1 in percent by noise level that the report has for it, on NTU RGB+D 60, X-Sub.
        published_top5: the same of top-5, on clean clips.
        seeds: how many runs it is to have.
        runs: those that are finished.
        reason: why some, or all, are not there; empty where nothing is missing.
    """

    label: str
    text: str
    settings: Mapping[str, object]
    published: Mapping[float, float] = field(default_factory=dict)
    published_top5: float | None = None
    seeds: int
    runs: Sequence[RunResult]
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A table, with its curves.

    Attributes:
        name: as on the command line, such as "table3".
        title: its heading.
        text: a paragraph on what is compared.
    """

    name: str
    title: str
    text: str
    rows: Sequence[RowResult]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduction:
    """All tables of one data set.

    Attributes:
        title: names the data.
        command: that made it.
        facts: what else is to know, by its name: clips, classes, processor, dtype, versions.
        chance_percent: top-1 of always answering the largest class.
    """

    title: str
    command: str
    facts: Mapping[str, str]
    chance_percent: float
    sections: Sequence[Section]
