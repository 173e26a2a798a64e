"""The gradient of a batch of which every process passes a part.

The model's outputs, which are small, are gathered, and each process computes from them the loss of the whole batch, and
its gradient for its own clips: nothing is sent back. Those of the weights are added up by torch's
DistributedDataParallel. So the gradient is that of the whole batch in one process, whatever the loss compares. Batch
norm alone tells processes apart, unless its statistics are those of all.
"""

import itertools
import warnings
from collections.abc import Callable, Mapping
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from fastpose.models.inputs.protocol import PoseModule
from fastpose.models.outputs import ModelOutput
from fastpose.models.recompute import kept_statistics
from fastpose.models.shared_statistics import check_can_synchronize, part_of_batch
from fastpose.settings import OptimConfig
from fastpose.system.processes import Processes
from fastpose.training.accumulation import detached, random_state, set_random_state
from fastpose.training.task import PoseTask, Views, labels_of

Outputs = Mapping[str, ModelOutput]


class SharedGradient:
    """Computes gradients together with the other processes, all of which call it at the same time.

    Attributes:
        asks: returns what this process asks of all; the larger number prevails.
        answer: the largest number that was asked in the last call, on the device; the same in all processes.

    Raises:
        ValueError: common statistics are asked for, and a batch norm of the model cannot have them.
    """

    def __init__(self, task: PoseTask, model: PoseModule, optim: OptimConfig, processes: Processes) -> None:
        if optim.sync_batch_norm:
            check_can_synchronize(model)
        self.task, self.model, self.processes = task, model, processes
        self._micro_batch, self._synchronized = optim.micro_batch, optim.sync_batch_norm
        self._passes: DistributedDataParallel | None = None
        self.asks: Callable[[], float] = lambda: 0.0
        self.answer: Tensor | float = 0.0

    def __call__(self, batches: Views, clips: int, epoch: int, autocast: Callable) -> dict[str, Tensor]:
        """Add to the parameters' gradient that of the loss of all processes' parts together.

        Args:
            batches: this process's part of the batch; any clip where it has none.
            clips: of the whole batch, of which ``Processes.parts`` gives each process its own.

        Returns:
            What ``task.step`` does, detached: the loss and its terms of the whole batch, the logits of its own clips.
        """
        sizes = [part.stop - part.start for part in self.processes.parts(clips)]
        own = sizes[self.processes.rank]
        parts = _cut(batches, own, -(-max(sizes) // (self._micro_batch or max(sizes))))
        passes = self._passes or self._wrap(batches, autocast)
        if len(parts) == 1:
            with self._part_of_batch(own == 0):
                outputs = passes(*parts, autocast)
                result, gradients = self._differentiate(_tensors(outputs), batches, own, sizes, epoch)
                _send_back(_tensors(outputs), gradients)
            return result
        states, cached = [], []
        for part, size in zip(parts, _sizes(own, len(parts)), strict=True):
            states.append(random_state(labels_of(batches).device))
            with torch.no_grad(), kept_statistics(self.model), self._part_of_batch(size == 0), autocast():
                cached.append([tensor[:size] for tensor in _tensors(self.task.forward(self.model, part))])
        whole = [torch.cat(tensors) for tensors in zip(*cached, strict=True)]
        result, gradients = self._differentiate(whole, batches, own, sizes, epoch)
        begins = itertools.accumulate(_sizes(own, len(parts)), initial=0)
        for number, (part, state, begin) in enumerate(zip(parts, states, begins, strict=False)):
            size = _sizes(own, len(parts))[number]
            set_random_state(labels_of(batches).device, state)  # the same dropout in both passes
            last = number + 1 == len(parts)
            with nullcontext() if last else passes.no_sync(), self._part_of_batch(size == 0):
                outputs = _tensors(passes(part, autocast))
                _send_back(outputs, [gradient[begin : begin + size] for gradient in gradients])
        return result

    def _part_of_batch(self, absent: bool):
        return part_of_batch(self.model, synchronized=self._synchronized, absent=absent)

    def _differentiate(
        self, tensors: list[Tensor], batches: Views, own: int, sizes: list[int], epoch: int
    ) -> tuple[dict[str, Tensor], list[Tensor]]:
        """Return the result for the whole batch, and the gradients of this process's outputs ``tensors``.

        Those are times the number of processes, by which the weights' gradients are divided.
        """
        columns = [_precise(tensor[:own].detach()) for tensor in tensors]
        dtype = columns[0].dtype
        of_clips = torch.cat([labels_of(batches)[:own, None].to(dtype), *columns], dim=1)
        block = of_clips.new_zeros(1 + max(sizes), of_clips.shape[1])
        block[0, 0] = self.asks()
        block[1 : 1 + own] = of_clips
        gathered = self.processes.gather(block)
        self.answer = gathered[:, 0, 0].amax()
        rows = torch.cat([of_one[1 : 1 + size] for of_one, size in zip(gathered, sizes, strict=True)])
        of_all = rows[:, 0].long()
        rows = rows[:, 1:].requires_grad_()
        widths = [tensor.shape[1] for tensor in tensors]
        logits_and_features = [part.contiguous() for part in rows.split(widths, dim=1)]
        pairs = zip(logits_and_features[::2], logits_and_features[1::2], strict=True)
        outputs = {view: ModelOutput(*pair) for view, pair in zip(batches, pairs, strict=True)}
        result = self.task.objective(outputs, of_all, epoch)
        (gradient,) = torch.autograd.grad(result["loss"], [rows])
        begin = sum(sizes[: self.processes.rank])
        mine = slice(begin, begin + own)
        result = detached(result)
        result["output"] = result["output"][mine]
        return result, list((self.processes.size * gradient[mine]).split(widths, dim=1))

    def _wrap(self, batches: Views, autocast: Callable) -> DistributedDataParallel:
        """Let torch add up the gradients of all weights that have any, which a pass of one clip tells."""
        unused = self._unused({view: batch.part(0, 1) for view, batch in batches.items()}, autocast)
        passes = _Passes(self.task, self.model)
        names = [name for name, weight in passes.named_parameters() if weight in unused]
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(passes, names)
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", FutureWarning
            )  # torch 2.13 has another name for broadcast_buffers
            self._passes = DistributedDataParallel(
                passes, broadcast_buffers=False, gradient_as_bucket_view=True
            )
        return self._passes

    def _unused(self, batches: Views, autocast: Callable) -> set[Tensor]:
        device = labels_of(batches).device
        weights = [weight for weight in self.model.parameters() if weight.requires_grad]
        with (
            torch.random.fork_rng([device] if device.type == "cuda" else []),
            kept_statistics(self.model),
            part_of_batch(self.model, synchronized=False, absent=True),
        ):
            with autocast():
                outputs = self.task.forward(self.model, batches)
            total = torch.stack([_precise(tensor).sum() for tensor in _tensors(outputs)]).sum()
            gradients = torch.autograd.grad(total, weights, allow_unused=True)
        return {weight for weight, gradient in zip(weights, gradients, strict=True) if gradient is None}


class _Passes(nn.Module):
    """All passes of a step as one module: of two calls of a wrapped model, torch would add up one."""

    def __init__(self, task: PoseTask, model: PoseModule) -> None:
        super().__init__()
        self.task, self.model = task, model

    def forward(self, batches: Views, autocast: Callable) -> dict[str, ModelOutput]:
        with autocast():
            return self.task.forward(self.model, batches)


def _sizes(count: int, parts: int) -> list[int]:
    edges = [part * count // parts for part in range(parts + 1)]
    return [end - begin for begin, end in itertools.pairwise(edges)]


def _cut(batches: Views, own: int, parts: int) -> list[Views]:
    """Return ``own`` clips in as many parts as all processes have; where one has no clip any clip stands for it."""
    cut, begin = [], 0
    for size in _sizes(own, parts):
        first = min(begin, max(own - 1, 0))
        cut.append({view: batch.part(first, first + max(size, 1)) for view, batch in batches.items()})
        begin += size
    return cut


def _tensors(outputs: Outputs) -> list[Tensor]:
    return [tensor for output in outputs.values() for tensor in (output.logits, output.features)]


def _send_back(outputs: list[Tensor], gradients: list[Tensor]) -> None:
    """Differentiate by ``outputs``, of which those without a gradient, behind the others, stand in for clips."""
    grads = []
    for tensor, gradient in zip(outputs, gradients, strict=True):
        padded = torch.zeros_like(tensor)
        padded[: len(gradient)] = gradient
        grads.append(padded)
    torch.autograd.backward(outputs, grads)


def _precise(x: Tensor) -> Tensor:
    return x.float() if x.dtype.itemsize < 4 else x
