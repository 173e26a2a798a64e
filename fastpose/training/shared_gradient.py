"""The gradient of a batch of which every process passes a part.

The model's outputs, which are small, are gathered, and each process computes from them the loss of the whole batch, and
its gradient for its own clips: nothing is sent back. Those of the weights are added up by torch's
DistributedDataParallel. So the gradient is that of the whole batch in one process, whatever the loss compares. Batch
norm alone tells processes apart, unless its statistics are those of all.
"""

import itertools
import warnings
from collections.abc import Callable, Collection, Mapping
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
from fastpose.training.accumulation import detached, part_sizes, random_state, set_random_state
from fastpose.training.task import PoseTask, Views, labels_of

Outputs = Mapping[str, ModelOutput]


class SharedGradient:
    """Computes gradients together with the other processes, all of which call it at the same time.

    Attributes:
        asks: returns what this process asks of all; the larger number prevails.

    Raises:
        ValueError: common statistics are asked for, and a batch norm of the model cannot have them.
    """

    def __init__(self, task: PoseTask, model: PoseModule, optim: OptimConfig, processes: Processes) -> None:
        if optim.sync_batch_norm:
            check_can_synchronize(model)
        self.task, self.model, self.processes = task, model, processes
        self._micro_batch, self._synchronized = optim.micro_batch, optim.sync_batch_norm
        self._passes: DistributedDataParallel | None = None
        self._reached: list[set[nn.Parameter]] = []  # weights that each output depends on
        self.asks: Callable[[], float] = lambda: 0.0
        self._answer, self._answered = torch.zeros(()), None

    def __call__(self, batches: Views, clips: int, epoch: int, autocast: Callable) -> dict[str, Tensor]:
        """Add to the parameters' gradient that of the loss of all processes' parts together.

        Args:
            batches: this process's part of the batch; any clip where it has none.
            clips: of the whole batch, of which ``Processes.parts`` gives each process its own.

        Returns:
            What ``task.step`` does, detached: the loss and its terms of the whole batch, the logits of its own clips.
        """
        sizes = self.processes.sizes(clips)
        own = sizes[self.processes.rank]
        own_sizes = part_sizes(own, self._micro_batch, of=max(sizes))
        parts = _cut(batches, own_sizes)
        passes = self._passes or self._wrap(batches, autocast)
        if len(parts) == 1:
            with self._part_of_batch(own == 0):
                outputs = passes(*parts, autocast)
                result, gradients = self._differentiate(_tensors(outputs), batches, own, sizes, epoch)
                _send_back(_tensors(outputs), gradients, unused := self._unused(gradients))
            _forget(unused)
            return result
        states, cached = [], []
        for part, size in zip(parts, own_sizes, strict=True):
            states.append(random_state(labels_of(batches).device))
            with torch.no_grad(), kept_statistics(self.model), self._part_of_batch(size == 0):
                cached.append([tensor[:size] for tensor in self._outputs(part, autocast)])
        whole = [torch.cat(tensors) for tensors in zip(*cached, strict=True)]
        result, gradients = self._differentiate(whole, batches, own, sizes, epoch)
        unused, ends = self._unused(gradients), itertools.accumulate(own_sizes)
        for number, (part, state, size, end) in enumerate(zip(parts, states, own_sizes, ends, strict=True)):
            set_random_state(labels_of(batches).device, state)  # the same dropout in both passes
            last = number + 1 == len(parts)
            with nullcontext() if last else passes.no_sync(), self._part_of_batch(size == 0):
                outputs = _tensors(passes(part, autocast))
                of_part = [None if whole is None else whole[end - size : end] for whole in gradients]
                _send_back(outputs, of_part, unused)
        _forget(unused)
        return result

    def answer(self) -> float:
        """Return the largest number that was asked in the last call; the same in all processes."""
        if self._answered is not None:
            self._answered.synchronize()
        return float(self._answer)

    def _keep_answer(self, answer: Tensor) -> None:
        """Keep it where it can be read while the device goes on with the step."""
        if answer.device.type != "cuda":
            self._answer = answer
            return
        self._answer = torch.empty((), dtype=answer.dtype, pin_memory=True).copy_(answer, non_blocking=True)
        self._answered = torch.cuda.Event()
        self._answered.record()

    def _part_of_batch(self, absent: bool):
        return part_of_batch(self.model, synchronized=self._synchronized, absent=absent)

    def _differentiate(
        self, tensors: list[Tensor], batches: Views, own: int, sizes: list[int], epoch: int
    ) -> tuple[dict[str, Tensor], list[Tensor | None]]:
        """Return the result for the whole batch, and the gradients of this process's outputs ``tensors``.

        Those are times the number of processes, by which the weights' gradients are divided; None where the loss does
        not depend on an output.
        """
        columns = [_precise(tensor[:own].detach()) for tensor in tensors]
        dtype = columns[0].dtype
        of_clips = torch.cat([labels_of(batches)[:own, None].to(dtype), *columns], dim=1)
        block = of_clips.new_zeros(1 + max(sizes), of_clips.shape[1])
        block[0, 0] = self.asks()
        block[1 : 1 + own] = of_clips
        gathered = self.processes.gather(block)
        self._keep_answer(gathered[:, 0, 0].amax())
        rows = torch.cat([of_one[1 : 1 + size] for of_one, size in zip(gathered, sizes, strict=True)])
        of_all = rows[:, 0].long()
        widths = [tensor.shape[1] for tensor in tensors]
        leaves = [part.contiguous().requires_grad_() for part in rows[:, 1:].split(widths, dim=1)]
        pairs = zip(leaves[::2], leaves[1::2], strict=True)  # logits and features
        outputs = {view: ModelOutput(*pair) for view, pair in zip(batches, pairs, strict=True)}
        result = self.task.objective(outputs, of_all, epoch)
        gradients = torch.autograd.grad(result["loss"], leaves, allow_unused=True)
        begin = sum(sizes[: self.processes.rank])
        mine = slice(begin, begin + own)
        result = detached(result)
        result["output"] = result["output"][mine]
        return result, [None if whole is None else self.processes.size * whole[mine] for whole in gradients]

    def _unused(self, gradients: list[Tensor | None]) -> set[nn.Parameter]:
        """Return the weights that outputs depend on, but the loss does not."""
        used = [
            weights
            for weights, gradient in zip(self._reached, gradients, strict=True)
            if gradient is not None
        ]
        return set[nn.Parameter]().union(*self._reached) - set[nn.Parameter]().union(*used)

    def _wrap(self, batches: Views, autocast: Callable) -> DistributedDataParallel:
        """Let torch add up the gradients of all weights that outputs depend on, which a pass of one clip tells."""
        self._reached = self._weights_reached(
            {view: batch.part(0, 1) for view, batch in batches.items()}, autocast
        )
        reached = set[nn.Parameter]().union(*self._reached)
        passes = _Passes(self.task, self.model)
        names = [name for name, weight in passes.named_parameters() if weight not in reached]
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(passes, names)
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", FutureWarning
            )  # torch 2.13 has another name for broadcast_buffers
            self._passes = DistributedDataParallel(
                passes, broadcast_buffers=False, gradient_as_bucket_view=True
            )
        return self._passes

    def _weights_reached(self, batches: Views, autocast: Callable) -> list[set[nn.Parameter]]:
        device = labels_of(batches).device
        weights = [weight for weight in self.model.parameters() if weight.requires_grad]
        with (
            torch.random.fork_rng([device] if device.type == "cuda" else []),
            kept_statistics(self.model),
            part_of_batch(self.model, synchronized=False, absent=True),
        ):
            count = 2 * len(batches)
            return [
                _weights_behind(self._outputs(batches, autocast)[number], weights) for number in range(count)
            ]

    def _outputs(self, batches: Views, autocast: Callable) -> list[Tensor]:
        with autocast():
            return _tensors(self.task.forward(self.model, batches))


class _Passes(nn.Module):
    """All passes of a step as one module: of two calls of a wrapped model, torch would add up one."""

    def __init__(self, task: PoseTask, model: PoseModule) -> None:
        super().__init__()
        self.task, self.model = task, model

    def forward(self, batches: Views, autocast: Callable) -> dict[str, ModelOutput]:
        with autocast():
            return self.task.forward(self.model, batches)


def _weights_behind(output: Tensor, weights: list[nn.Parameter]) -> set[nn.Parameter]:
    if not output.requires_grad:
        return set()
    gradients = torch.autograd.grad(_precise(output).sum(), weights, allow_unused=True)
    return {weight for weight, gradient in zip(weights, gradients, strict=True) if gradient is not None}


def _cut(batches: Views, sizes: list[int]) -> list[Views]:
    """Cut clips into parts of ``sizes``; where one has no clip any clip stands in."""
    cut, begin = [], 0
    for size in sizes:
        first = min(begin, max(sum(sizes) - 1, 0))
        cut.append({view: batch.part(first, first + max(size, 1)) for view, batch in batches.items()})
        begin += size
    return cut


def _tensors(outputs: Outputs) -> list[Tensor]:
    return [tensor for output in outputs.values() for tensor in (output.logits, output.features)]


def _send_back(
    outputs: list[Tensor], gradients: list[Tensor | None], unused: Collection[nn.Parameter]
) -> None:
    """Differentiate by ``outputs``, and give zeros to ``unused`` weights: torch waits for a gradient of each.

    Those zeros do not go through outputs, whose derivative may be infinite. Rows behind those of the gradient stand in
    for clips.
    """
    roots, grads = list[Tensor](), list[Tensor]()
    for tensor, gradient in zip(outputs, gradients, strict=True):
        if gradient is None or not tensor.requires_grad:  # of a frozen part, or detached
            continue
        padded = torch.zeros_like(tensor)
        padded[: len(gradient)] = gradient
        roots.append(tensor)
        grads.append(padded)
    roots += unused
    grads += map(torch.zeros_like, unused)
    torch.autograd.backward(roots, grads)


def _forget(weights: Collection[nn.Parameter]) -> None:
    """Leave ``weights`` without a gradient, so that they do not decay."""
    for weight in weights:
        weight.grad = None


def _precise(x: Tensor) -> Tensor:
    return x.float() if x.dtype.itemsize < 4 else x
