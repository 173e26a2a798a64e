"""Batch norms of a network of which every process passes a part of the batch."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fastpose.models.layers import BatchNorm
from fastpose.system.processes import Processes


def check_can_synchronize(network: nn.Module) -> None:
    """Raise ValueError where a batch norm of ``network`` is not fastpose's, which alone can have common statistics."""
    for name, module in network.named_modules():
        if isinstance(module, _BatchNorm) and not isinstance(module, BatchNorm):
            raise ValueError(
                f"sync_batch_norm: {name} of the model is torch's {type(module).__name__}; expected "
                "fastpose.models.layers.BatchNorm, which takes statistics of all processes' clips"
            )


@contextmanager
def part_of_batch(network: nn.Module, *, synchronized: bool, absent: bool) -> Iterator[None]:
    """Let batch norms know within that what passes is one process's part of a batch.

    Args:
        synchronized: whether they normalise by the statistics of all processes' clips.
        absent: whether this process has no clips, and what passes only stands in for them.
    """
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    foreign = [norm for norm in norms if absent and norm.training and not isinstance(norm, BatchNorm)]
    for norm in norms:
        if isinstance(norm, BatchNorm):
            norm.synchronized, norm.absent = synchronized, absent
    for norm in foreign:
        norm.eval()
    try:
        yield
    finally:
        for norm in norms:
            if isinstance(norm, BatchNorm):
                norm.synchronized = norm.absent = False
        for norm in foreign:
            norm.train()


def running_statistics(network: nn.Module) -> dict[str, Tensor]:
    """Return the running means and variances of all batch norms of ``network``, by name."""
    return {
        f"{name}.{kind}": statistic
        for name, module in network.named_modules()
        if isinstance(module, _BatchNorm)
        for kind in ("running_mean", "running_var")
        if (statistic := getattr(module, kind)) is not None
    }


@torch.no_grad()
def average_statistics(network: nn.Module, processes: Processes) -> None:
    """Set each running statistic to its mean over all processes, in one exchange."""
    statistics = list(running_statistics(network).values())
    if processes.size == 1 or not statistics:
        return
    joined = torch.cat([statistic.flatten() for statistic in statistics])
    processes.add(joined)
    means = (joined / processes.size).split([statistic.numel() for statistic in statistics])
    for statistic, mean in zip(statistics, means, strict=True):
        statistic.copy_(mean.view_as(statistic))
