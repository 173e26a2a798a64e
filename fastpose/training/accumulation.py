"""The gradient of a batch's loss, a few clips at a time.

Batch norm in training mode normalises by the statistics of the clips that pass together, so those of
micro-batches stand in for those of the batch, and running statistics move once for each of them. All else is
as for the whole batch.
"""

import itertools
from collections.abc import Callable

import torch
from torch import Tensor

from fastpose.models.inputs.protocol import PoseModule
from fastpose.models.outputs import ModelOutput
from fastpose.models.recompute import kept_statistics
from fastpose.training.task import PoseTask, Views, labels_of


def accumulate_gradient(
    task: PoseTask,
    model: PoseModule,
    batches: Views,
    epoch: int,
    autocast: Callable,
    micro_batch: int | None = None,
    objective: Callable | None = None,
) -> dict[str, Tensor]:
    """Add the gradient of the batch's loss to that of the parameters; return what ``task.step`` does, detached.

    Args:
        micro_batch: most clips that pass through the model together, of each view; all by default. Where the
            loss compares clips with each other they pass twice: once for their features, once for the gradient.
        objective: called in place of ``task.step`` where all clips pass together.
    """
    parts = micro_batches(batches, micro_batch)
    if len(parts) == 1:
        if objective is None:
            with autocast():
                outputs = task.forward(model, batches)
            result = task.objective(outputs, labels_of(batches), epoch)
        else:
            result = objective(model, batches, epoch, autocast)
        result["loss"].backward()
        return detached(result)
    if task.couples_clips(epoch):
        return _from_cached_features(task, model, parts, labels_of(batches), epoch, autocast)
    return _from_each_part(task, model, parts, epoch, autocast)


def micro_batches(batches: Views, most: int | None) -> list[Views]:
    """Cut all views of a batch into parts of ``most`` clips or fewer, as even as can be: none is much smaller."""
    sizes = part_sizes(len(labels_of(batches)), most)
    return [
        {view: batch.part(end - size, end) for view, batch in batches.items()}
        for size, end in zip(sizes, itertools.accumulate(sizes), strict=True)
    ]


def part_sizes(clips: int, most: int | None, *, of: int | None = None) -> list[int]:
    """Return how many clips each part has into which ``clips`` are cut, as even as can be: none is much smaller.

    Args:
        clips: to be cut.
        most: clips of a part; all by default.
        of: cut into as many parts as so many clips are.
    """
    of = clips if of is None else of
    count = 1 if most is None else max(-(-of // most), 1)
    return [(part + 1) * clips // count - part * clips // count for part in range(count)]


def _from_each_part(
    task: PoseTask, model: PoseModule, parts: list[Views], epoch: int, autocast: Callable
) -> dict[str, Tensor]:
    size = sum(len(labels_of(part)) for part in parts)
    means: dict[str, Tensor] = {}
    logits = []
    for part in parts:
        share = len(labels_of(part)) / size
        result = task.step(model, part, epoch, autocast)
        (share * result["loss"]).backward()
        result = detached(result)
        logits.append(result.pop("output"))
        for name, value in result.items():
            means[name] = means.get(name, 0) + share * value
    return {**means, "output": torch.cat(logits)}


def _from_cached_features(
    task: PoseTask, model: PoseModule, parts: list[Views], labels: Tensor, epoch: int, autocast: Callable
) -> dict[str, Tensor]:
    """Cache gradients (Gao et al., "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup", 2021)."""
    states, cached = [], []
    with torch.no_grad(), kept_statistics(model):
        for part in parts:
            states.append(random_state(labels.device))
            with autocast():
                cached.append(task.forward(model, part))
    outputs = {view: _joined([output[view] for output in cached]) for view in parts[0]}
    result = task.objective(outputs, labels, epoch)
    leaves = [tensor for output in outputs.values() for tensor in (output.logits, output.features)]
    gradients = torch.autograd.grad(result["loss"], leaves, allow_unused=True)
    sizes = [len(labels_of(part)) for part in parts]
    by_part = zip(*(gradient.split(sizes) for gradient in gradients if gradient is not None), strict=True)
    for part, state, gradient in zip(parts, states, by_part, strict=True):
        set_random_state(labels.device, state)  # the same dropout in both passes
        with autocast():
            again = task.forward(model, part)
        tensors = [tensor for output in again.values() for tensor in (output.logits, output.features)]
        used = [tensor for tensor, whole in zip(tensors, gradients, strict=True) if whole is not None]
        torch.autograd.backward(used, gradient)
    return detached(result)


def detached(result: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach() for name, value in result.items()}


def _joined(outputs: list[ModelOutput]) -> ModelOutput:
    """Return all clips' logits and features, as tensors to be differentiated by."""
    return ModelOutput(
        torch.cat([output.logits for output in outputs]).requires_grad_(),
        torch.cat([output.features for output in outputs]).requires_grad_(),
    )


def random_state(device: torch.device) -> Tensor:
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def set_random_state(device: torch.device, state: Tensor) -> None:
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)
