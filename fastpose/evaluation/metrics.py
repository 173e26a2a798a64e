"""Accuracy over a set of clips, accumulated where the scores are."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

CONFIDENCE_95 = 1.959964  # standard deviations of a normal variable that hold 95 % of it


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Shares in percent, and the confusion matrix (rows: true class, columns: predicted), int64 [K, K].

    Where it was read from a table there is no matrix.
    """

    top1_percent: float
    top5_percent: float
    mean_class_percent: float
    num_clips: int
    confusion: Tensor | None = None


class AccuracyMeter:
    """Accumulates top-1, top-5 and the confusion matrix on the device of the scores, without synchronising.

    A clip whose scores are not finite counts as wrong and is left out of the confusion matrix.
    """

    def __init__(self, num_classes: int, device: torch.device | str = "cpu") -> None:
        self.num_classes = num_classes
        self._cells = torch.zeros(num_classes * num_classes + 1, dtype=torch.int64, device=device)
        self._class_sizes = torch.zeros(num_classes, dtype=torch.int64, device=device)
        self._top5 = torch.zeros((), dtype=torch.int64, device=device)

    def update(self, scores: Tensor, labels: Tensor) -> None:
        """Add clips: ``scores`` [B, K] (logits or probabilities), ``labels`` int64 [B]."""
        finite = scores.isfinite().all(dim=1)  # [B]
        best = scores.nan_to_num().topk(min(5, self.num_classes), dim=1).indices  # [B, 5]
        self._top5 += ((best == labels[:, None]).any(dim=1) & finite).sum()
        cell = torch.where(finite, labels * self.num_classes + best[:, 0], self._cells.numel() - 1)
        ones = torch.ones_like(labels)
        self._cells.scatter_add_(0, cell, ones)
        self._class_sizes.scatter_add_(0, labels, ones)

    @property
    def counts(self) -> tuple[Tensor, ...]:
        """All that is counted, int64, to which others' counts may be added in place."""
        return self._cells, self._class_sizes, self._top5

    def compute(self) -> Accuracy:
        """Return the accuracies so far; mean class accuracy is over the classes that occur."""
        confusion = self._cells[:-1].view(self.num_classes, self.num_classes).cpu()
        sizes = self._class_sizes.cpu()
        total = int(sizes.sum())
        if total == 0:
            raise ValueError("no clip was scored: accuracy of an empty set is undefined")
        correct = confusion.diagonal()
        present = sizes > 0
        return Accuracy(
            top1_percent=100 * int(correct.sum()) / total,
            top5_percent=100 * int(self._top5) / total,
            mean_class_percent=100 * float((correct[present] / sizes[present]).mean()),
            num_clips=total,
            confusion=confusion,
        )


def wilson_interval(accuracy: Accuracy) -> tuple[float, float]:
    """Return between which percentages the top-1 of endlessly many such clips lies, with 95 % confidence.

    Unlike one of ± some standard errors, it has a width where all clips are right, or none. Source: Wilson, "Probable
    Inference", 1927.
    """
    share, count = accuracy.top1_percent / 100, accuracy.num_clips
    squared = CONFIDENCE_95**2 / count
    centre = (share + squared / 2) / (1 + squared)
    half = CONFIDENCE_95 / (1 + squared) * math.sqrt(share * (1 - share) / count + squared / (4 * count))
    low, high = (
        min(centre - half, share),
        max(centre + half, share),
    )  # rounding may not leave the share outside
    return 100 * max(low, 0.0), 100 * min(high, 1.0)


def format_interval(accuracy: Accuracy) -> str:
    """Say how sure a top-1 is, by the number of clips alone."""
    low, high = wilson_interval(accuracy)
    return (
        f"{accuracy.top1_percent:.1f} % of {accuracy.num_clips} clip{'' if accuracy.num_clips == 1 else 's'}; by their "
        f"number alone, the sampling error, "
        f"{low:.1f} to {high:.1f} % with 95 % confidence (Wilson)"
    )


def majority_percent(labels: NDArray[np.int64]) -> float:
    """Return the top-1, in percent, of always answering the class that most of some clips are of."""
    return 100 * float(np.bincount(labels).max()) / len(labels)


def tell_chances(chances: Iterable[float]) -> str:
    """Say what always answering the largest class would reach, in percent of the clips of each run."""
    shares = " or ".join(f"{chance:.1f}" for chance in sorted(set(chances)))
    return f"always answering the largest class: {shares} %"
