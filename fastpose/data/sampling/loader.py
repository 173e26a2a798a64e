"""PoseBatch through a torch DataLoader."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, Sampler

from fastpose.data.sampling.batch import AlphaRange, PoseBatch
from fastpose.data.sampling.checks import checked_indices
from fastpose.data.sampling.order import epoch_order
from fastpose.data.sampling.sampler import ClipSampler


class ClipRequest(NamedTuple):
    """What one batch is made of: the epoch travels with the indices, so that long-lived workers see it."""

    epoch: int
    positions: NDArray[np.int64]  # [B] in the data set


class PoseDataset(Dataset[PoseBatch]):
    """A choice of packed clips as a map-style data set that yields whole batches.

    ``dataset[request]`` is the batch of a ``ClipRequest``, for which ``pose_loader`` makes a DataLoader.
    ``dataset[i]`` is the batch of clip ``i`` alone, in epoch ``dataset.epoch``: set that before each pass of a
    DataLoader of your own, and give it ``collate_fn=PoseDataset.collate``.

    Args:
        sampler: draws the batches.
        indices: clips of the pack, e.g. ``packed.split("xsub_train")``. Default: all.
        stream: as in ``ClipSampler.batch``.
        alpha: noise strength for all clips, or a range from which each clip draws its own.
        families: as in ``ClipSampler.batch``.
    """

    def __init__(
        self,
        sampler: ClipSampler,
        indices: Sequence[int] | NDArray[np.integer] | None = None,
        *,
        stream: int = 0,
        alpha: float | AlphaRange = 0.0,
        families: Sequence[str] = ("gaussian",),
    ) -> None:
        num_clips = len(sampler.packed.num_frames)
        self.sampler = sampler
        self.indices = checked_indices(np.arange(num_clips) if indices is None else indices, num_clips)
        self.stream = stream
        self.alpha = alpha
        self.families = families
        self.epoch = 0
        # A bad setting fails here, not in a worker.
        sampler.batch(self.indices[:0], stream=stream, alpha=alpha, families=families)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, request: ClipRequest | int) -> PoseBatch:
        if not isinstance(request, ClipRequest):
            request = ClipRequest(self.epoch, np.array([request]))
        clips = self.indices[request.positions]
        return self.sampler.batch(
            clips, epoch=request.epoch, stream=self.stream, alpha=self.alpha, families=self.families
        )

    collate = staticmethod(PoseBatch.cat)


class EpochBatches(Sampler[ClipRequest]):
    """The batches of one epoch in the order of training (``epoch_order``); each pass is the next epoch.

    Args:
        size: clips of the data set.
        batch_size: B; the last batch may be smaller.
        shuffle: another order in every epoch; otherwise that of the data set.
        drop_last: leave out a last batch that is smaller.
        seed: of the order.

    Raises:
        ValueError: ``batch_size`` is out of range, or an epoch would hold no batch.
    """

    def __init__(
        self, size: int, batch_size: int, *, shuffle: bool = True, drop_last: bool = False, seed: int = 0
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        self._num_batches = size // batch_size if drop_last else -(-size // batch_size)
        if not self._num_batches:
            raise ValueError(f"{size} clips make no batch of {batch_size} (drop_last={drop_last})")
        self.size = size
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.epoch = 0  # of the next pass

    def set_epoch(self, epoch: int) -> None:
        """Make the next pass that of ``epoch``."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self._num_batches

    def __iter__(self) -> Iterator[ClipRequest]:
        epoch = self.epoch
        self.epoch += 1
        order = np.arange(self.size)
        if self.shuffle:
            order = epoch_order(order, self.seed, epoch)
        for i in range(self._num_batches):
            yield ClipRequest(epoch, order[i * self.batch_size : (i + 1) * self.batch_size])


def pose_loader(
    dataset: PoseDataset,
    batch_size: int,
    *,
    shuffle: bool = True,
    drop_last: bool = False,
    seed: int = 0,
    num_workers: int = 0,
    pin_memory: bool = False,
) -> DataLoader[PoseBatch]:
    """Return a DataLoader whose every item is a ``PoseBatch``, the same to the bit for any ``num_workers``.

    Each pass over it is the next epoch, its clips in the order of training with the same seed;
    ``loader.sampler.set_epoch(k)`` chooses one, e.g. to resume. The other arguments are those of
    ``EpochBatches``.
    """
    batches = EpochBatches(len(dataset), batch_size, shuffle=shuffle, drop_last=drop_last, seed=seed)
    return DataLoader(
        dataset,
        batch_size=None,
        sampler=batches,
        num_workers=num_workers,
        pin_memory=pin_memory,
        persistent_workers=num_workers > 0,
    )
