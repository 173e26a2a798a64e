"""How long runs will take, from the time of a few clips."""

import heapq
import time
from collections.abc import Iterable

import numpy as np
import torch

from fastpose.evaluation.scores import count_levels
from fastpose.models.recompute import kept_statistics
from fastpose.settings import RunConfig
from fastpose.system.memory import is_out_of_memory
from fastpose.training.accumulation import accumulate_gradient
from fastpose.training.setup import Setup
from fastpose.training.task import PoseTask

FEW_CLIPS, MORE_CLIPS = 2, 8
LONG = 1.0  # seconds that clips may take for more to be tried
SHARE_OF_SCORING = 1 / 3  # of a training pass, whose backward takes about twice as long as its forward


def seconds_per_view(setup: Setup) -> float | None:
    """Return the seconds of drawing one view of a clip and passing it forward and backward on the CPU.

    None on other devices, whose first steps tell nothing, and where the clips do not fit in memory. Weights, statistics
    and random numbers stay as they are.
    """
    if setup.placement.device.type != "cpu":
        return None
    batch_size = setup.config.optim.batch_size
    assert isinstance(batch_size, int)  # "auto" was settled before
    measured, seconds = FEW_CLIPS, 0.0
    for size in (FEW_CLIPS, FEW_CLIPS, MORE_CLIPS, max(batch_size, MORE_CLIPS)):  # the first warms up
        if seconds > LONG or (size > MORE_CLIPS and seconds / measured * size > LONG):
            break
        try:
            seconds, measured = _time_pass(setup, np.resize(setup.train_indices, size)), size
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            return None
        finally:
            setup.optimizer.zero_grad(set_to_none=True)
    return seconds / (measured * len(setup.task.views))


def _time_pass(setup: Setup, clips: np.ndarray) -> float:
    epoch = min(setup.config.loss.sup_thresh, setup.config.optim.epochs - 1)  # with all terms of the loss
    started = time.perf_counter()
    with torch.random.fork_rng([]), kept_statistics(setup.model):
        accumulate_gradient(
            setup.task, setup.model, setup.draw(clips, epoch), epoch, setup.placement.autocast
        )
    return time.perf_counter() - started


def expected_views(
    config: RunConfig, done: int, trained: int, measured: int, validated: int
) -> tuple[float, float]:
    """Return what a run has before it, to train and then to be measured, as passes of a view in training.

    Args:
        config: its settings.
        done: its epochs that are done.
        trained, measured, validated: clips to train, to be measured and to validate on.
    """
    optim, evaluation = config.optim, config.eval
    epochs = max(optim.epochs - done, 0)
    training = float(epochs * trained * len(PoseTask(config).views))
    if optim.val_every:
        training += SHARE_OF_SCORING * (epochs // optim.val_every * validated * len(optim.val_alphas))
    scored = measured * count_levels(evaluation.alphas, dict.fromkeys(("gaussian", *evaluation.families)))
    scored *= evaluation.num_clips * (2 if evaluation.flip_test else 1)
    return training, SHARE_OF_SCORING * scored


def seconds_at_once(runs: Iterable[float], jobs: int) -> float:
    """Return how long runs of so many seconds each take, ``jobs`` at a time, the longest first."""
    ends = [0.0] * jobs
    for seconds in sorted(runs, reverse=True):
        heapq.heapreplace(ends, ends[0] + seconds)
    return max(ends)


def format_duration(seconds: float) -> str:
    """Return a time as people say it: "40 s", "12 min", "3.5 h"."""
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
