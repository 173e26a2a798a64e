"""The moving average of a model's weights in training."""

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel


class MovingAverage(AveragedModel):
    """Average that forgets the initial weights: its decay rises from 2/11 to ``decay`` with the updates.

    Batch-norm statistics are not averaged but taken over: they are moving averages already. The number of
    updates stays on the CPU, so that an update never waits for a GPU.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__(model)
        self.decay = decay

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Take in the weights of ``model``; the first ones are taken over."""
        count = int(self.n_averaged)
        decay = min(self.decay, (1 + count) / (10 + count)) if count else 0.0
        torch._foreach_lerp_(  # pyright: ignore[reportPrivateImportUsage]
            list(self.module.parameters()), list(model.parameters()), 1 - decay
        )
        torch._foreach_copy_(  # pyright: ignore[reportPrivateImportUsage]
            list(self.module.buffers()), list(model.buffers())
        )
        self.n_averaged += 1
