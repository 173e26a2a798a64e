"""PoseBatch through a torch DataLoader, or from a thread that runs ahead of the training loop."""

import queue
import threading
import time
import weakref
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, Sampler

from fastpose.data.sampling.checks import checked_indices
from fastpose.data.sampling.sampler import AlphaRange, ClipSampler, PoseBatch

T = TypeVar("T")


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
    """

    def __init__(
        self,
        sampler: ClipSampler,
        indices: Sequence[int] | NDArray[np.integer] | None = None,
        *,
        stream: int = 0,
        alpha: float | AlphaRange = 0.0,
    ) -> None:
        num_clips = len(sampler.packed.num_frames)
        self.sampler = sampler
        self.indices = checked_indices(np.arange(num_clips) if indices is None else indices, num_clips)
        self.stream = stream
        self.alpha = alpha
        self.epoch = 0
        sampler.batch(
            self.indices[:0], stream=stream, alpha=alpha
        )  # a bad setting fails here, not in a worker

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, request: ClipRequest | int) -> PoseBatch:
        if not isinstance(request, ClipRequest):
            request = ClipRequest(self.epoch, np.array([request]))
        clips = self.indices[request.positions]
        return self.sampler.batch(clips, epoch=request.epoch, stream=self.stream, alpha=self.alpha)

    @staticmethod
    def collate(batches: Sequence[PoseBatch]) -> PoseBatch:
        """One batch of all their clips."""
        fields = ("keypoints", "labels", "frames", "indices", "draws")
        columns = [[getattr(batch, name) for batch in batches] for name in fields]
        return PoseBatch(*(None if column[0] is None else torch.cat(column) for column in columns))


class EpochBatches(Sampler[ClipRequest]):
    """The batches of one epoch, shuffled by (seed, epoch); each pass is the next epoch.

    Args:
        size: clips of the data set.
        batch_size: B; the last batch may be smaller.
        shuffle: another order in every epoch; otherwise that of the data set.
        drop_last: leave out a last batch that is smaller.
        seed: of the order.
        rank, world_size: this process takes batches rank, rank + world_size, ... of each epoch; batches left
            over when world_size does not divide their number are left out.

    Raises:
        ValueError: ``batch_size`` or ``rank`` is out of range, or an epoch would hold no batch.
    """

    def __init__(
        self,
        size: int,
        batch_size: int,
        *,
        shuffle: bool = True,
        drop_last: bool = False,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        if not 0 <= rank < world_size:
            raise ValueError(f"rank must be from 0 to world_size - 1, got {rank} of {world_size}")
        batches = size // batch_size if drop_last else -(-size // batch_size)
        if batches < world_size:
            raise ValueError(
                f"{size} clips make {batches} batches of {batch_size} (drop_last={drop_last}), "
                f"too few for {world_size} process(es)"
            )
        self.size = size
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0  # of the next pass
        self._num_batches = batches // world_size

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
            order = np.random.default_rng([self.seed, epoch]).permutation(self.size)
        for i in range(self._num_batches):
            begin = (i * self.world_size + self.rank) * self.batch_size
            yield ClipRequest(epoch, order[begin : begin + self.batch_size])


def pose_loader(
    dataset: PoseDataset,
    batch_size: int,
    *,
    shuffle: bool = True,
    drop_last: bool = False,
    seed: int = 0,
    rank: int = 0,
    world_size: int = 1,
    num_workers: int = 0,
    pin_memory: bool = False,
) -> DataLoader[PoseBatch]:
    """A DataLoader whose every item is a ``PoseBatch``, the same to the bit for any ``num_workers``.

    Each pass over it is the next epoch; ``loader.sampler.set_epoch(k)`` chooses one, e.g. to resume. The
    other arguments are those of ``EpochBatches``.
    """
    batches = EpochBatches(
        len(dataset),
        batch_size,
        shuffle=shuffle,
        drop_last=drop_last,
        seed=seed,
        rank=rank,
        world_size=world_size,
    )
    return DataLoader(
        dataset,
        batch_size=None,
        sampler=batches,
        num_workers=num_workers,
        pin_memory=pin_memory,
        persistent_workers=num_workers > 0,
    )


class Prefetcher(Iterator[T]):
    """Iterates ``source`` in a thread, up to ``depth`` items ahead of the consumer.

    Native sampling holds no interpreter lock, so it runs beside the training step. An error in ``source`` is
    raised in the consumer, after the items before it. To leave early, close it or use a ``with`` block.

    Attributes:
        wait_seconds: time that the consumer has spent waiting for items so far.
    """

    def __init__(self, source: Iterable[T], depth: int = 2) -> None:
        if depth < 1:
            raise ValueError(f"depth must be at least 1, got {depth}")
        self.wait_seconds = 0.0
        self._items: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(depth)
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=_produce, args=(source, self._items, self._stop), name="fastpose-prefetch", daemon=True
        )
        self._finalizer = weakref.finalize(self, _shut, self._items, self._stop)
        self._thread.start()

    def __next__(self) -> T:
        if self._stop.is_set():
            raise StopIteration
        started = time.perf_counter()
        item, error = self._items.get()
        self.wait_seconds += time.perf_counter() - started
        if error is None:
            return item
        self.close()
        raise error

    def close(self) -> None:
        """Stop the thread and drop what it had ready."""
        self._finalizer()
        self._thread.join()

    def __enter__(self) -> "Prefetcher[T]":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _produce(source: Iterable[T], items: queue.Queue, stop: threading.Event) -> None:
    try:
        for item in source:
            items.put((item, None))
            if stop.is_set():
                return
        items.put((None, StopIteration()))
    except BaseException as error:
        items.put((None, error))


def _shut(items: queue.Queue, stop: threading.Event) -> None:
    stop.set()
    # At most one put is blocked; room for it lets the thread see the stop.
    while not items.empty():
        items.get_nowait()
