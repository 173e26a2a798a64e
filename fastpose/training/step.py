"""One step of the optimiser."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from fastpose.models.inputs.protocol import PoseModule
from fastpose.settings import OptimConfig
from fastpose.system.memory import is_out_of_memory
from fastpose.system.placement import Placement
from fastpose.system.processes import ALONE, Processes
from fastpose.training.accumulation import accumulate_gradient
from fastpose.training.averaging import MovingAverage
from fastpose.training.compiled import CompiledObjective
from fastpose.training.graph import GraphedStep
from fastpose.training.optimizer import set_rate
from fastpose.training.shared_gradient import SharedGradient
from fastpose.training.task import PoseTask, Views


def compiles(optim: OptimConfig, device: torch.device) -> bool:
    """Return whether training on ``device`` goes through ``torch.compile``, which knows no passes in parts or again."""
    wanted = optim.compile == "on" or (optim.compile == "auto" and device.type == "cuda")
    return wanted and optim.micro_batch is None and not optim.checkpoint_activations


def graphs(optim: OptimConfig, device: torch.device) -> bool:
    """Return whether training steps on ``device`` are CUDA graphs."""
    plain = optim.micro_batch is None and not optim.checkpoint_activations  # else random states are set
    return device.type == "cuda" and optim.cuda_graph == "auto" and plain


class TrainingStep:
    """Computes the gradient of a batch, clips it and moves the weights and their moving average.

    Args:
        refuse: makes the error of a batch that does not fit in memory, from its views and the epoch.
        processes: those that take the step together, each with its part of the batch. Of several, each launches its
            kernels one by one, without torch.compile.

    Attributes:
        shared: how several processes come to one gradient; None in one alone.
    """

    def __init__(
        self,
        task: PoseTask,
        model: PoseModule,
        optimizer: torch.optim.Optimizer,
        optim: OptimConfig,
        placement: Placement,
        average: MovingAverage | None = None,
        *,
        refuse: Callable[[Views, int], ValueError],
        processes: Processes = ALONE,
    ) -> None:
        self.task, self.model, self.optimizer = task, model, optimizer
        self.optim, self.placement, self.average = optim, placement, average
        self._refuse = refuse
        device, alone = placement.device, processes.size == 1
        self.shared = None if alone else SharedGradient(task, model, optim, processes)
        self._objective = CompiledObjective(task) if alone and compiles(optim, device) else None
        self._take = GraphedStep(self._launch, task) if alone and graphs(optim, device) else self._launch

    def __call__(
        self, batches: Views, epoch: int, rate: float, clips: int | None = None
    ) -> dict[str, Tensor]:
        """Take one step at learning rate ``rate``, of the head in proportion; return the task's result, detached.

        Args:
            batches: the views of the batch, of several processes those of this one's part.
            epoch: from 0.
            rate: the learning rate.
            clips: of the whole batch, where processes share it.

        Raises:
            ValueError: the batch does not fit in memory; the sentence names a size that does.
        """
        set_rate(self.optimizer, rate)
        if self.average is not None:
            self.average.advance()
        try:
            return self._take(batches, epoch) if self.shared is None else self._launch(batches, epoch, clips)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
        # Here, because the handler's traceback holds the memory of the failed step.
        raise self._refuse(batches, epoch)

    def _launch(self, batches: Views, epoch: int, clips: int | None = None) -> dict[str, Tensor]:
        self.optimizer.zero_grad(set_to_none=True)
        if self.shared is not None:
            assert clips is not None  # of the whole batch
            result = self.shared(batches, clips, epoch, self.placement.autocast)
        else:
            result = accumulate_gradient(
                self.task,
                self.model,
                batches,
                epoch,
                self.placement.autocast,
                self.optim.micro_batch,
                self._objective,
            )
        nn.utils.clip_grad_norm_(self.model.parameters(), self.optim.grad_clip)
        self.optimizer.step()
        if self.average is not None:
            self.average.take_in(self.model)
        return result
