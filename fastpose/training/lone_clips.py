"""Batches of one clip, which a model that normalises over clips cannot be trained on."""

import itertools

import torch

from fastpose.models.recompute import kept_statistics
from fastpose.training.accumulation import part_sizes
from fastpose.training.setup import Setup


def refuse_lone_clips(setup: Setup) -> None:
    """Raise ValueError where a single clip passes through a model that cannot train on one."""
    batches = {part.stop - part.start for part in setup.order.batches}
    if not any(1 in clips_of_passes(setup, clips) for clips in batches):
        return
    device = setup.placement.device
    views = {view: batch.to(device) for view, batch in setup.draw(setup.train_indices[:1], 0).items()}
    setup.model.train()
    try:
        with (
            torch.no_grad(),
            torch.random.fork_rng([device] if device.type == "cuda" else []),
            kept_statistics(setup.model),
            setup.placement.autocast(),
        ):
            setup.task.forward(setup.model, views)
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise ValueError(
            f"{setup.config.model.model} cannot be trained on one clip at a time, since it normalises features over "
            "clips; expected two training clips or more, and a --batch-size and --micro-batch of 2 or more"
        ) from error


def clips_of_passes(setup: Setup, batch: int) -> list[int]:
    """Return of how many clips each pass has statistics in a step on a ``batch`` of so many."""
    optim, sizes = setup.config.optim, setup.processes.sizes(batch)
    parts = [part_sizes(own, optim.micro_batch, of=max(sizes)) for own in sizes]
    if optim.sync_batch_norm:
        return [sum(of_all) for of_all in zip(*parts, strict=True)]
    return list(itertools.chain(*parts))
