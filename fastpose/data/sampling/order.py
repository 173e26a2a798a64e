"""The order of clips in an epoch."""

import numpy as np
from numpy.typing import NDArray


def epoch_order(indices: NDArray[np.int64], seed: int, epoch: int) -> NDArray[np.int64]:
    """Return ``indices`` in the random order of one epoch, which depends on nothing else."""
    return np.random.Generator(np.random.Philox(key=[seed, epoch])).permutation(indices)
