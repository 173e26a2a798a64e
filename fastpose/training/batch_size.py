"""The batch size for a model, a device and the memory there is."""

import warnings
from dataclasses import replace

import numpy as np

from fastpose.data.pack.packed import PackedClips
from fastpose.settings import RunConfig
from fastpose.system.memory import format_bytes
from fastpose.training.setup import Setup
from fastpose.training.task import Views


def choose_batch_size(config: RunConfig, packed: PackedClips) -> tuple[RunConfig, str]:
    """Return ``config`` with the largest batch size that fits, and a line that says so.

    It is a power of two, at most as many clips as there are to train on. On the CPU it is predicted from the bytes
    of tensors that steps on 2 and on 4 clips take, and leaves a quarter of the memory free; on CUDA it is tried too.

    Raises:
        ValueError: not even one clip fits, or a setting that no run could use.
    """
    trial = replace(config, optim=replace(config.optim, batch_size=1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the run itself warns
        setup = Setup(trial, packed)
    epoch = min(config.loss.sup_thresh, config.optim.epochs - 1)  # with all terms of the loss

    def draw(size: int) -> Views:
        clips = np.resize(setup.train_indices, size)
        return {view: batch.to(setup.placement.device) for view, batch in setup.draw(clips, epoch).items()}

    free = format_bytes(setup.memory.free_bytes())
    size = setup.memory.fitting_batch(draw, epoch, most=len(setup.train_indices))
    if not size:
        raise ValueError(
            f"batch_size = 'auto': not even one clip fits in the memory there is ({free} free); "
            "try --checkpoint-activations, fewer frames, a smaller size or model"
        )
    chosen = replace(config, optim=replace(config.optim, batch_size=size))
    return chosen, (
        f"batch size {size}, which fits in {free} of free memory; "
        f"the learning rate is not scaled with it: --lr {config.optim.lr:g}"
    )
