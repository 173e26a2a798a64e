"""The moving average of a model's weights in training."""

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


class MovingAverage(AveragedModel):
    """Average that forgets the initial weights: its decay rises from 2/11 to ``decay`` with the updates.

    Batch-norm statistics are not averaged but taken over: they are moving averages already. The number of
    updates stays on the CPU, so that an update never waits for a GPU.

    Args:
        model: its weights are the first average.
        decay: of the average after many updates.
        graphed: whether ``take_in`` is replayed as a part of a CUDA graph, which reads the decay from the device.
    """

    def __init__(self, model: nn.Module, decay: float, *, graphed: bool = False) -> None:
        super().__init__(model)
        self.decay = decay
        device = next(model.parameters()).device
        self._share: float | Tensor = torch.zeros((), device=device) if graphed else 0.0

    def update_parameters(self, model: nn.Module) -> None:
        """Take in the weights of ``model``; the first ones are taken over."""
        self.advance()
        self.take_in(model)

    def advance(self) -> None:
        """Count one update more, and set the share that its weights have."""
        count = int(self.n_averaged)
        share = 1 - min(self.decay, (1 + count) / (10 + count)) if count else 1.0
        if isinstance(self._share, Tensor):
            self._share.fill_(share)
        else:
            self._share = share
        self.n_averaged += 1

    @torch.no_grad()
    def take_in(self, model: nn.Module) -> None:
        """Take in the weights of ``model`` with the share that is set, in few kernels and without reading any."""
        averages: list[Tensor] = list(self.module.parameters())
        weights: list[Tensor] = list(model.parameters())
        if isinstance(self._share, Tensor):  # of which torch makes no lerp of many
            changes = torch._foreach_sub(weights, averages)  # pyright: ignore[reportPrivateImportUsage]
            torch._foreach_mul_(changes, self._share)  # pyright: ignore[reportPrivateImportUsage]
            torch._foreach_add_(averages, changes)  # pyright: ignore[reportPrivateImportUsage]
        else:
            torch._foreach_lerp_(averages, weights, self._share)  # pyright: ignore[reportPrivateImportUsage]
        self.take_buffers(model)

    @torch.no_grad()
    def take_buffers(self, model: nn.Module) -> None:
        """Take over the buffers of ``model``, such as the running statistics of its batch norms."""
        for kept, current in _by_dtype(self.module.buffers(), model.buffers()):
            torch._foreach_copy_(kept, current)  # pyright: ignore[reportPrivateImportUsage]


def _by_dtype(
    kept: Iterable[Tensor], current: Iterable[Tensor]
) -> Iterable[tuple[list[Tensor], list[Tensor]]]:
    """Return the pairs of buffers of each dtype: torch copies mixed ones one by one."""
    groups: dict[torch.dtype, tuple[list[Tensor], list[Tensor]]] = defaultdict(lambda: ([], []))
    for one, other in zip(kept, current, strict=True):
        groups[one.dtype][0].append(one)
        groups[one.dtype][1].append(other)
    return groups.values()
