"""The order of clips in an epoch, and the batches that it is cut into."""

import itertools

import numpy as np
from numpy.typing import NDArray


def epoch_order(indices: NDArray[np.int64], seed: int, epoch: int) -> NDArray[np.int64]:
    """Return ``indices`` in the random order of one epoch, which depends on nothing else."""
    return np.random.Generator(np.random.Philox(key=[seed, epoch])).permutation(indices)


def epoch_batches(num_clips: int, batch_size: int) -> list[slice]:
    """Return the batches of an epoch as parts of its order, all of ``batch_size`` clips but the last.

    A last clip that would be alone joins the batch before it: the gradient of one clip is mostly noise, and batch norm
    over features has nothing to compare it with.
    """
    begins = list(range(0, num_clips, batch_size))
    if batch_size > 1 and len(begins) > 1 and num_clips - begins[-1] == 1:
        begins.pop()
    return [slice(begin, end) for begin, end in itertools.pairwise([*begins, num_clips])]
