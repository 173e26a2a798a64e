"""How many clips fit in the memory of a step."""

import math
from collections.abc import Callable

import torch

from fastpose.models.inputs.protocol import PoseModule
from fastpose.models.recompute import kept_statistics
from fastpose.settings import OptimConfig
from fastpose.system.memory import available_memory, counted_bytes, format_bytes, is_out_of_memory
from fastpose.system.placement import Placement
from fastpose.system.processes import ALONE, Processes
from fastpose.training.accumulation import accumulate_gradient, micro_batches
from fastpose.training.step import graphs
from fastpose.training.task import PoseTask, Views, labels_of

FEW_CLIPS = 8  # of which it is not worth asking beforehand whether they fit
PROCESS_BYTES = 400e6  # of one that has loaded torch
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


class StepMemory:
    """What steps take, and what there is, in the memory of the device."""

    def __init__(
        self,
        task: PoseTask,
        model: PoseModule,
        optimizer: torch.optim.Optimizer,
        optim: OptimConfig,
        placement: Placement,
        processes: Processes = ALONE,
    ) -> None:
        self.task, self.model, self.optimizer = task, model, optimizer
        self.optim, self.placement, self.processes = optim, placement, processes

    def measure(self, batches: Views, epoch: int) -> float:
        """Return the bytes that a step on ``batches`` in one part takes beyond the weights and the optimiser's state.

        Infinity where they cannot be had. Weights, statistics and random numbers stay as they are.
        """
        device = self.placement.device
        self._release()
        try:
            with (
                torch.random.fork_rng([device] if device.type == "cuda" else []),
                kept_statistics(self.model),
                counted_bytes(device) as count,
            ):
                accumulate_gradient(self.task, self.model, batches, epoch, self.placement.autocast)
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

    def free_bytes(self) -> int:
        """Return the bytes that a step may take: those available, less the optimiser's state if that is to come.

        Of several processes of a machine each has its share.
        """
        state = 0 if self.optimizer.state else 2 * sum(p.nbytes for p in self.model.parameters())
        sharing = self.processes.here if self.placement.device.type == "cpu" else 1
        return available_memory(self.placement.device) // sharing - state

    def fitting_batch(self, draw: Callable[[int], Views], epoch: int, most: int) -> int:
        """Return the largest power of two up to ``most`` that fits as a batch in one part, 0 if none does.

        Args:
            draw: makes the views of so many clips.
        """
        self._release()
        device = self.placement.device
        # A CUDA graph keeps its step's memory beside that of steps on other shapes, such as an epoch's last.
        steps = 2 if graphs(self.optim, device) else 1
        return largest_batch(
            lambda size: self.measure(draw(size), epoch),
            SAFE_SHARE * self.free_bytes() / steps,
            most,
            verified=device.type == "cuda",
        )

    def steps_at_once(self, draw: Callable[[int], Views], epoch: int, size: int, most: int) -> int:
        """Return how many processes, 1 to ``most``, the CPU's memory holds that each take steps on ``size`` clips.

        Args:
            draw: makes the views of so many clips.
        """
        try:
            free = SAFE_SHARE * available_memory(self.placement.device)
        except ValueError:  # a system that does not say
            return most
        weights = sum(parameter.nbytes for parameter in self.model.parameters())
        process = PROCESS_BYTES + 4 * weights  # with gradients and the optimiser's state
        small = self.measure(draw(2), epoch)
        if most * (process + small * size / 2) <= free:
            return most
        large = self.measure(draw(4), epoch)
        step = large + (large - small) / 2 * (size - 4)
        return max(1, min(most, int(free / (process + step))))

    def check(self, batches: Views, epoch: int) -> None:
        """Raise ValueError where a step does not fit in the memory of the machine.

        Linux grants memory that it does not have, and ends the process that uses it without a word. Allocators of
        other devices refuse what does not fit, so nothing is asked there.
        """
        size = len(labels_of(micro_batches(batches, self.optim.micro_batch)[-1]))
        if size <= FEW_CLIPS or self.placement.device.type != "cpu":
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
            raise self.does_not_fit(batches, epoch)

    def does_not_fit(self, batches: Views, epoch: int) -> ValueError:
        """Return the error that says that a step does not fit, and what would."""
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
            of_all = fitting * self.processes.size
            fits = f"--batch-size {of_all}, or {fits} for the same batch in parts"
        thrift = "" if optim.checkpoint_activations else "; --checkpoint-activations needs less for each clip"
        return ValueError(f"{refusal}; what fits: {fits}{thrift}")


def _first(batches: Views, count: int) -> Views:
    return {view: batch.part(0, count) for view, batch in batches.items()}
