"""Stopping a run that no longer improves, at the best weights that it had."""

import math
from typing import Any

from torch import Tensor, nn


class EarlyStop:
    """Keeps the weights of the best validation, and ends a run after ``patience`` others in a row.

    Of equal scores the first is the best. The weights are kept in the memory of the CPU.

    Attributes:
        best_score: higher is better; -inf before the first validation.
        best_epoch: epochs that were done at it.
        stale: validations since then.
    """

    def __init__(self, patience: int) -> None:
        self.patience = patience
        self.best_score = -math.inf
        self.best_epoch = 0
        self.stale = 0
        self._weights: dict[str, Tensor] = {}

    @property
    def exhausted(self) -> bool:
        """Whether the run is to end."""
        return self.stale >= self.patience

    def update(self, score: float, epochs_done: int, model: nn.Module) -> None:
        """Take in the validation of ``model`` after ``epochs_done`` epochs."""
        if score <= self.best_score:
            self.stale += 1
            return
        self.best_score, self.best_epoch, self.stale = score, epochs_done, 0
        self._weights = {
            name: value.detach().to("cpu", copy=True) for name, value in model.state_dict().items()
        }

    def restore_best(self, model: nn.Module) -> None:
        """Give ``model`` the weights and statistics of the best validation."""
        model.load_state_dict(self._weights)

    def state_dict(self) -> dict[str, Any]:
        """Return what `load_state_dict` needs to go on: tensors and plain values."""
        return {
            "best_score": self.best_score,
            "best_epoch": self.best_epoch,
            "stale": self.stale,
            "weights": self._weights,
        }

    def load_state_dict(self, state: dict[str, Any], model: nn.Module) -> None:
        """Go on from ``state``; an error of Python where it is not of such a ``model``."""
        weights, best_epoch = state["weights"], int(state["best_epoch"])
        expected = {name: value.shape for name, value in model.state_dict().items()} if best_epoch else {}
        if {name: value.shape for name, value in weights.items()} != expected:
            raise ValueError("the best weights are not of this model")
        self.best_score, self.best_epoch = float(state["best_score"]), best_epoch
        self.stale, self._weights = int(state["stale"]), weights
