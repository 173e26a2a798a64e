"""Accuracy over a set of clips, accumulated where the scores are."""

from dataclasses import dataclass

import torch
from torch import Tensor


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
