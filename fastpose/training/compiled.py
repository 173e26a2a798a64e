"""A training step's passes and loss, compiled as a whole where that works."""

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fastpose.models.inputs.protocol import PoseModule
from fastpose.system.memory import is_out_of_memory
from fastpose.training.task import PoseTask, Views, labels_of

# Independent kernels of a network, such as the casts of its weights, become one.
INDUCTOR_OPTIONS: dict[str, Any] = {"combo_kernels": True}


class CompiledObjective:
    """``task.step`` through ``torch.compile``, for batches of one size: that of the first.

    Others, such as an epoch's last batch, run as they are, as do all if compiling fails, which is said once.

    Args:
        backend: of ``torch.compile``.
    """

    def __init__(self, task: PoseTask, backend: str | Callable = "inductor") -> None:
        self.task = task
        self._size: int | None = None
        options = INDUCTOR_OPTIONS if backend == "inductor" else None
        self._compiled = torch.compile(task.step, fullgraph=True, backend=backend, options=options)
        self.failed = False

    def __call__(
        self, model: PoseModule, batches: Views, epoch: int, autocast: Callable
    ) -> dict[str, Tensor]:
        """Return what ``task.step`` returns."""
        size = len(labels_of(batches))
        if self._size is None:
            self._size = size
        if self.failed or size != self._size:
            return self.task.step(model, batches, epoch, autocast)
        try:
            return self._compiled(model, batches, self.task.phase(epoch), autocast)
        except Exception as error:  # whatever the model's code leads the compiler to
            if is_out_of_memory(error):
                raise
            self.failed = True
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            warnings.warn(f"torch.compile failed ({reason}); training goes on without it", stacklevel=2)
        return self.task.step(model, batches, epoch, autocast)
