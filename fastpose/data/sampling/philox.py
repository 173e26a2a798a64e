"""The random words of clips and what is made of them, in NumPy: csrc/sample/philox.hpp."""

import numpy as np
from numpy.typing import NDArray

FRAMES, NOISE, CROP_AND_FLIP, ALPHA, INPUT, HITS, LOSSES = range(7)  # purposes


def philox4x32_10(counter: NDArray[np.uint32], key: tuple[int, int]) -> NDArray[np.uint32]:
    """Return Philox4x32-10 (Salmon et al., SC 2011): counter uint32 [..., 4] → uint32 [..., 4]."""
    low, high = np.uint64(0xFFFFFFFF), np.uint64(32)
    c0, c1, c2, c3 = np.moveaxis(np.asarray(counter).astype(np.uint64), -1, 0)
    for step in range(10):
        key0 = np.uint64((key[0] + step * 0x9E3779B9) % 2**32)
        key1 = np.uint64((key[1] + step * 0xBB67AE85) % 2**32)
        product0 = np.uint64(0xD2511F53) * c0
        product1 = np.uint64(0xCD9E8D57) * c2
        c0, c1 = (product1 >> high) ^ c1 ^ key0, product1 & low
        c2, c3 = (product0 >> high) ^ c3 ^ key1, product0 & low
    return np.stack([c0, c1, c2, c3], axis=-1).astype(np.uint32)


class BatchRandom:
    """The random words of clips, by the hashes of their names [B], in one epoch and stream."""

    def __init__(self, seed: int, name_hashes: NDArray[np.uint64], epoch: int, stream: int) -> None:
        self.key = (seed % 2**32, seed >> 32)
        self.hashes = name_hashes
        self.epoch = epoch
        self.stream = stream

    def of(self, position: int) -> "BatchRandom":
        """Return the words of one of the clips alone."""
        return BatchRandom(
            self.key[0] | self.key[1] << 32, self.hashes[position : position + 1], self.epoch, self.stream
        )

    def words(
        self, purpose: int, count: int, frames: NDArray[np.integer] | None = None
    ) -> NDArray[np.uint32]:
        """Return the first ``count`` words of a purpose [B, count]: word i is word i % 4 of block i // 4.

        With ``frames`` [B, T], places in the videos: those of each frame [B, T, count], by the clip's hash plus it.
        """
        hashes = self.hashes if frames is None else self.hashes[:, None] + frames.astype(np.uint64)
        blocks = np.arange(-(-count // 4), dtype=np.uint32)
        counter = np.empty((*hashes.shape, len(blocks), 4), np.uint32)
        counter[..., 0] = (hashes & np.uint64(2**32 - 1))[..., None]
        counter[..., 1] = (hashes >> np.uint64(32))[..., None]
        counter[..., 2] = self.epoch
        counter[..., 3] = self.stream << 28 | purpose << 24 | blocks
        return philox4x32_10(counter, self.key).reshape(*hashes.shape, 4 * len(blocks))[..., :count]


def below(words: NDArray[np.uint32], n: NDArray[np.int64] | int) -> NDArray[np.int64]:
    """Return integers of [0, n), n < 2**31."""
    return words.astype(np.int64) * n >> 32


def uniform(words: NDArray[np.uint32]) -> NDArray[np.float32]:
    """Return multiples of 2**-24 in [0, 1)."""
    return (words >> 8).astype(np.float32) * np.float32(2**-24)


def between(
    words: NDArray[np.uint32], low: NDArray[np.float64] | float, high: NDArray[np.float64] | float
) -> NDArray[np.float64]:
    """Return numbers of [low, high)."""
    return low + uniform(words).astype(np.float64) * (high - low)
