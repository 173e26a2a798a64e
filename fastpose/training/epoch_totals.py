"""What an epoch adds up step by step, and how it goes on from a checkpoint in its middle."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass(slots=True)
class EpochTotals:
    """Sums over the steps of an epoch that are done.

    Attributes:
        steps: how many those are.
        sums: of the loss and its terms, each times the clips of its step.
        correct, known: clips whose class was found, and those that have a label.
        seconds, waited: since the epoch began, and of those for batches.
    """

    steps: int = 0
    sums: dict[str, Tensor] = field(default_factory=dict)
    correct: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.int64))
    known: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.int64))
    seconds: float = 0.0
    waited: float = 0.0

    def to(self, device: torch.device) -> "EpochTotals":
        """Return the same sums on ``device``, so that adding to them never waits for it."""
        sums = {name: value.to(device) for name, value in self.sums.items()}
        return EpochTotals(
            self.steps, sums, self.correct.to(device), self.known.to(device), self.seconds, self.waited
        )

    def add(self, result: dict[str, Tensor], labels: Tensor, clips: int) -> None:
        """Add a step on so many ``clips``: its loss and terms, and "output", the logits of the first of ``labels``."""
        output = result.pop("output")
        labels = labels[: len(output)]
        self.correct += (output.argmax(dim=1) == labels).sum()
        self.known += (labels >= 0).sum()
        for name, value in result.items():
            self.sums[name] = self.sums.get(name, 0) + value * clips
        self.steps += 1

    def state_dict(self) -> dict[str, Any]:
        """Return tensors and plain values, from which `from_state` goes on."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "EpochTotals":
        """Go on from a state; an error of Python where it is none."""
        totals = cls(**state)
        counts = (*totals.sums.values(), totals.correct, totals.known)
        if type(totals.steps) is not int or totals.steps < 0 or any(count.ndim for count in counts):
            raise ValueError("these are no sums over steps")
        return totals
