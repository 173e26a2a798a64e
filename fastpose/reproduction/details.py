"""What stands below a table: accuracy by noise family, and the pairs of classes that were confused most."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastpose.evaluation.confusion import ConfusedPair
from fastpose.evaluation.families import accuracy_table
from fastpose.reproduction.results import RowResult
from fastpose.reproduction.tables import Spread

MOST_PAIRS = 5


@dataclass(frozen=True, slots=True)
class FamilyMap:
    """Top-1 by noise family and level, the mean over runs.

    Attributes:
        families: that all these runs have, a row each.
        alphas: the levels that all of these have, a column each.
        top1: in percent, float64 [F + 1, A + 1]; the last column is the mean over levels, the last row over families.
        mca: their corner, mCA, by run.
    """

    families: list[str]
    alphas: list[float]
    top1: NDArray[np.float64]
    mca: Spread

    @property
    def text(self) -> str:
        """Say of what its figures are the mean."""
        runs = len(self.mca.values)
        zero = "is among them" if 0.0 in self.alphas else "is not among them"
        mean = f"the mean over {runs} runs" if runs > 1 else "of one run"
        return (
            f"{mean}; mCA is {self.mca} %, the mean over {len(self.families)} families of the mean over "
            f"{len(self.alphas)} levels (α = 0 {zero})"
        )


def family_map(row: RowResult) -> FamilyMap | None:
    """Return the accuracy by noise family of a row's runs that measured any; None where they have nothing in common."""
    members = [run.families for run in row.runs if run.families]
    if not members:
        return None
    families = [name for name in members[0] if all(name in member for member in members)]
    curves = [member[name] for member in members for name in families]
    alphas = sorted(set.intersection(*map(set, curves))) if curves else []
    if not alphas:
        return None
    shared = [{name: member[name] for name in families} for member in members]
    tables = np.stack([accuracy_table(member, alphas) for member in shared])  # [runs, F + 1, A + 1]
    return FamilyMap(families, alphas, tables.mean(axis=0), Spread(tuple(map(float, tables[:, -1, -1]))))


def most_confused(row: RowResult, most: int = MOST_PAIRS) -> list[ConfusedPair]:
    """Return the pairs of classes with the most clips, summed over the runs of a row.

    Their share is the mean over the runs, none of whose classes differ in size; a run without the pair counts as 0.
    """
    clips: dict[tuple[str, str], int] = {}
    percents: dict[tuple[str, str], float] = {}
    for pair in (pair for run in row.runs for pair in run.pairs):
        key = pair.true, pair.predicted
        clips[key] = clips.get(key, 0) + pair.clips
        percents[key] = percents.get(key, 0.0) + pair.percent_of_true
    order = sorted(clips, key=lambda key: (-clips[key], -percents[key], key))[:most]
    return [
        ConfusedPair(
            true=true,
            predicted=predicted,
            clips=clips[true, predicted],
            percent_of_true=percents[true, predicted] / len(row.runs),
        )
        for true, predicted in order
    ]


def pairs_text(rows: Sequence[RowResult]) -> str:
    """Say which clips the pairs are of."""
    lowest = sorted({min(run.curve) for row in rows for run in row.runs if run.curve})
    levels = " or ".join(f"{alpha:g}" for alpha in lowest)
    at = f" at the lowest noise level (α = {levels})" if lowest else ""
    share = "the share is of the clips of the true class, the mean over runs"
    return f"Clips are summed over the runs of a row{at}; {share}."
