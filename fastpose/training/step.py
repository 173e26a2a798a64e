"""One step of the optimiser, and how many clips fit in it."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from fastpose.models.recompute import kept_statistics
from fastpose.settings.config import OptimConfig
from fastpose.system.memory import available_memory, counted_bytes, format_bytes, is_out_of_memory
from fastpose.training.accumulation import accumulate_gradient, micro_batches
from fastpose.training.averaging import MovingAverage
from fastpose.training.compiled import CompiledObjective
from fastpose.training.graph import GraphedStep
from fastpose.training.task import PoseTask, Views, labels_of

FEW_CLIPS = 8  # of which it is not worth asking beforehand whether they fit
SAFE_SHARE = 0.75  # of the free memory: operators need some for themselves, and allocators leave gaps


def largest_batch(measure: Callable[[int], float], available: float, most: int, *, verified: bool) -> int:
    """Return the largest power of two up to ``most`` that is a number of clips whose step fits; 0 if none does.

    Args:
        measure: bytes that a step on so many clips takes, infinity where it fails for lack of memory. It is
            called for 2 and 4 clips, from which the rest is extrapolated; for 1 where 4 fail and 2 are too many.
        available: bytes that a step may take.
        verified: call it for the answer too, and halve that until it fits.
    """
    small, large = measure(2), measure(4)
    if math.isinf(large):
        if small <= available and most >= 2:
            return 2
        return 1 if measure(1) <= available else 0
    size = 1 << (most.bit_length() - 1)
    while size and large + (large - small) / 2 * (size - 4) > available:
        size //= 2
    while verified and size > 4 and measure(size) > available:
        size //= 2
    return size


def compiles(optim: OptimConfig, device: torch.device) -> bool:
    """Whether training on ``device`` goes through ``torch.compile``, which knows no passes in parts or again."""
    wanted = optim.compile == "on" or (optim.compile == "auto" and device.type == "cuda")
    return wanted and optim.micro_batch is None and not optim.checkpoint_activations


def graphs(optim: OptimConfig, device: torch.device) -> bool:
    """Whether training steps on ``device`` are CUDA graphs."""
    plain = optim.micro_batch is None and not optim.checkpoint_activations  # else random states are set
    return device.type == "cuda" and optim.cuda_graph == "auto" and plain


def make_optimizer(
    groups: list[dict[str, Any]], optim: OptimConfig, device: torch.device
) -> torch.optim.Optimizer:
    """AdamW in one kernel for all weights; where steps are CUDA graphs, its rates are tensors that they read."""
    if not graphs(optim, device):
        return torch.optim.AdamW(groups, lr=optim.lr, weight_decay=optim.weight_decay, fused=True)
    for group in groups:
        group["lr"] = torch.tensor(optim.lr, device=device)
    return torch.optim.AdamW(groups, weight_decay=optim.weight_decay, fused=True, capturable=True)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of each group, of the head in proportion."""
    for group in optimizer.param_groups:
        own = rate * group.get("lr_scale", 1.0)
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(own)
        else:
            group["lr"] = own


def restore_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load a checkpoint's state, of a run on whatever device, and keep rates that are tensors where they are."""
    rates = [group["lr"] for group in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        is_tensor = isinstance(rate, Tensor)
        group["lr"] = rate.fill_(float(group["lr"])) if is_tensor else float(group["lr"])
        group["capturable"] = is_tensor


class TrainingStep:
    """Computes the gradient of a batch, clips it and moves the weights and their moving average."""

    def __init__(
        self,
        task: PoseTask,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        optim: OptimConfig,
        autocast: Callable,
        average: MovingAverage | None = None,
    ) -> None:
        self.task, self.model, self.optimizer = task, model, optimizer
        self.optim, self.autocast, self.average = optim, autocast, average
        self.device = next(model.parameters()).device
        self._objective = CompiledObjective(task) if compiles(optim, self.device) else None
        self._take = GraphedStep(self._launch, task) if graphs(optim, self.device) else self._launch
        self._is_checked = self.device.type != "cpu"  # allocators of others refuse what does not fit

    def __call__(self, batches: Views, epoch: int, rate: float) -> dict[str, Tensor]:
        """Take one step at learning rate ``rate``, of the head in proportion; return the task's result, detached.

        Raises:
            ValueError: the batch does not fit in memory; the sentence names a size that does.
        """
        if not self._is_checked:
            self._check_memory(batches, epoch)
            self._is_checked = True
        set_rate(self.optimizer, rate)
        try:
            result = self._take(batches, epoch)
            if self.average is not None:
                self.average.update_parameters(self.model)
            return result
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
        # Here, because the handler's traceback holds the memory of the failed step.
        raise self._does_not_fit(batches, epoch)

    def _launch(self, batches: Views, epoch: int) -> dict[str, Tensor]:
        self.optimizer.zero_grad(set_to_none=True)
        result = accumulate_gradient(
            self.task, self.model, batches, epoch, self.autocast, self.optim.micro_batch, self._objective
        )
        nn.utils.clip_grad_norm_(self.model.parameters(), self.optim.grad_clip)
        self.optimizer.step()
        return result

    def measure(self, batches: Views, epoch: int) -> float:
        """Bytes that a step on ``batches`` in one part takes beyond the weights and the optimiser's state.

        Infinity where they cannot be had. Weights, statistics and random numbers stay as they are.
        """
        self._release()
        devices = [self.device] if self.device.type == "cuda" else []
        try:
            with (
                torch.random.fork_rng(devices),
                kept_statistics(self.model),
                counted_bytes(self.device) as count,
            ):
                accumulate_gradient(self.task, self.model, batches, epoch, self.autocast)
            return count()
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            return math.inf
        finally:
            self._release()

    def _release(self) -> None:
        """Give back what a step leaves until the next one."""
        self.optimizer.zero_grad(set_to_none=True)
        self.task.release_memory()

    def free_bytes(self) -> int:
        """Bytes that a step may take: what is available, less the optimiser's state where that is to come."""
        state = 0 if self.optimizer.state else 2 * sum(p.nbytes for p in self.model.parameters())
        return available_memory(self.device) - state

    def fitting_batch(self, draw: Callable[[int], Views], epoch: int, most: int) -> int:
        """Return the largest power of two up to ``most`` that fits as a batch in one part, 0 if none does.

        Args:
            draw: makes the views of so many clips.
        """
        self._release()
        # A CUDA graph keeps its step's memory beside that of steps on other shapes, such as an epoch's last.
        steps = 2 if graphs(self.optim, self.device) else 1
        return largest_batch(
            lambda size: self.measure(draw(size), epoch),
            SAFE_SHARE * self.free_bytes() / steps,
            most,
            verified=self.device.type == "cuda",
        )

    def _check_memory(self, batches: Views, epoch: int) -> None:
        """Raise ValueError where a step does not fit in the memory of the machine.

        Linux grants memory that it does not have, and ends the process that uses it without a word.
        """
        size = len(labels_of(micro_batches(batches, self.optim.micro_batch)[-1]))
        if size <= FEW_CLIPS:
            return
        try:
            free = self.free_bytes()
        except ValueError:  # a system that does not say
            return
        small = self.measure(_first(batches, 2), epoch)
        if small * size / 2 <= free:
            return
        large = self.measure(_first(batches, 4), epoch)
        if large + (large - small) / 2 * (size - 4) > free:
            raise self._does_not_fit(batches, epoch)

    def _does_not_fit(self, batches: Views, epoch: int) -> ValueError:
        optim = self.optim
        size = len(labels_of(micro_batches(batches, optim.micro_batch)[-1]))
        fitting = self.fitting_batch(lambda n: _first(batches, n), epoch, size - 1) if size > 1 else 0
        clips = f"{size} clips" if size > 1 else "1 clip"
        refusal = (
            f"a step on {clips} does not fit in the memory there is ({format_bytes(self.free_bytes())} free)"
        )
        if not fitting:
            smaller = ", nor does a smaller one" if size > 1 else ""
            return ValueError(f"{refusal}{smaller}; try fewer frames, a smaller size or model")
        fits = f"--micro-batch {fitting}"
        if len(labels_of(batches)) == size:
            fits = f"--batch-size {fitting}, or {fits} for the same batch in parts"
        thrift = "" if optim.checkpoint_activations else "; --checkpoint-activations needs less for each clip"
        return ValueError(f"{refusal}; what fits: {fits}{thrift}")


def _first(batches: Views, count: int) -> Views:
    return {view: batch.part(0, count) for view, batch in batches.items()}
