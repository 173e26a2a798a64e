"""Batches through a DataLoader and through the prefetching thread."""

import gc
import threading
import time
import weakref

import numpy as np
import pytest
import torch
from support.sampling import make_pack
from torch.utils.data import DataLoader

from fastpose.data.sampling.loader import ClipRequest, EpochBatches, PoseDataset, Prefetcher, pose_loader
from fastpose.data.sampling.sampler import AlphaRange, ClipSampler, PoseBatch


def make_dataset(indices=None, **keywords):
    pack = make_pack([(1 + i % 2, 5 + 3 * i) for i in range(23)], 17, missing=0.1)
    sampler = ClipSampler(pack, 8, seed=3, threads=2)
    return PoseDataset(sampler, indices, stream=1, alpha=AlphaRange(0, 0.1), **keywords)


def assert_same(got, expected):
    for name in ("keypoints", "labels", "frames", "indices"):
        assert torch.equal(getattr(got, name), getattr(expected, name)), name


@pytest.mark.parametrize("num_workers", [0, 2])
def test_workers_give_the_same_batches_in_the_same_order(num_workers):
    dataset = make_dataset(np.arange(1, 23))
    dataset.sampler.batch(range(23))  # the thread pool has threads before the fork
    loader = pose_loader(dataset, 5, seed=9, num_workers=num_workers)
    orders = []
    for epoch in range(2):
        batches = list(loader)
        assert [len(batch) for batch in batches] == [5, 5, 5, 5, 2] == [5] * (len(loader) - 1) + [2]
        for batch in batches:
            assert isinstance(batch, PoseBatch)
            expected = dataset.sampler.batch(batch.indices, epoch, stream=1, alpha=AlphaRange(0, 0.1))
            assert_same(batch, expected)
        orders.append(torch.cat([batch.indices for batch in batches]).tolist())
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(1, 23))
    assert orders[0] != orders[1]
    plain = EpochBatches(22, 5, seed=9)
    assert orders == [[1 + i for request in plain for i in request.positions] for _ in range(2)]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_loader_of_ones_own(num_workers):
    dataset = make_dataset(np.arange(3, 23))
    dataset.sampler.batch(range(23))  # the thread pool has threads before the fork
    loader = DataLoader(dataset, batch_size=6, collate_fn=PoseDataset.collate, num_workers=num_workers)
    for dataset.epoch in range(2):
        for begin, batch in zip(range(0, 20, 6), loader, strict=True):
            chosen = dataset.indices[begin : begin + 6]
            expected = dataset.sampler.batch(chosen, dataset.epoch, stream=1, alpha=AlphaRange(0, 0.1))
            assert_same(batch, expected)


def test_set_epoch_repeats_an_epoch():
    loader = pose_loader(make_dataset(), 8, seed=1)
    passes = [list(loader) for _ in range(3)]
    loader.sampler.set_epoch(1)
    for got, expected in zip(loader, passes[1], strict=True):
        assert_same(got, expected)


def test_order_without_shuffle_and_drop_last():
    requests = list(EpochBatches(7, 3, shuffle=False, drop_last=True))
    assert [request.positions.tolist() for request in requests] == [[0, 1, 2], [3, 4, 5]]
    assert [request.epoch for request in requests] == [0, 0]


def test_ranks_share_an_epoch():
    whole = [request.positions.tolist() for request in EpochBatches(20, 3, seed=4)]
    ranks = [EpochBatches(20, 3, seed=4, rank=rank, world_size=3) for rank in range(3)]
    assert [len(rank) for rank in ranks] == [2, 2, 2]
    interleaved = [request.positions.tolist() for step in zip(*ranks, strict=True) for request in step]
    assert interleaved == whole[:6]


def test_dataset_items():
    dataset = make_dataset([4, 2, 9])
    assert len(dataset) == 3
    one = dataset[1]
    assert one.indices.tolist() == [2]
    pair = dataset[ClipRequest(0, np.array([2, 1]))]
    assert pair.indices.tolist() == [9, 2]
    assert torch.equal(pair.keypoints[1], one.keypoints[0])
    with pytest.raises(IndexError):
        dataset[3]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: make_dataset([0, 23]), "clip index 23 at position 1"),
        (lambda: make_dataset([0.5]), "integers"),
        (lambda: PoseDataset(make_dataset().sampler, alpha=-1), "alpha"),
        (lambda: PoseDataset(make_dataset().sampler, stream=16), "stream"),
        (lambda: pose_loader(make_dataset([]), 4), "0 clips make 0 batches of 4"),
        (lambda: pose_loader(make_dataset(), 0), "batch_size"),
        (lambda: pose_loader(make_dataset(), 24, drop_last=True), "23 clips make 0 batches of 24"),
        (lambda: EpochBatches(10, 2, rank=2, world_size=2), "rank"),
        (lambda: EpochBatches(10, 5, world_size=3), "too few for 3 process"),
        (lambda: Prefetcher([], depth=0), "depth"),
    ],
)
def test_bad_settings(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_prefetcher_gives_every_item_in_order():
    loader = pose_loader(make_dataset(), 4, seed=1)
    expected = list(loader)
    loader.sampler.set_epoch(0)
    with Prefetcher(loader) as batches:
        got = list(batches)
        assert next(batches, None) is None
    assert len(got) == len(expected)
    for one, other in zip(got, expected, strict=True):
        assert_same(one, other)


def test_prefetcher_runs_ahead_by_its_depth_only():
    made = []
    ready = threading.Semaphore(0)

    def source():
        for i in range(100):
            made.append(i)
            ready.release()
            yield i

    with Prefetcher(source(), depth=3) as items:
        for _ in range(4):  # three in the queue, one waiting to be put
            assert ready.acquire(timeout=5)
        assert not ready.acquire(timeout=0.05)
        assert next(items) == 0
        assert ready.acquire(timeout=5)
        assert made == [0, 1, 2, 3, 4]


def test_prefetcher_counts_the_seconds_waited():
    gate = threading.Event()

    def source():
        yield 0
        gate.wait()
        yield 1

    with Prefetcher(source()) as items:
        next(items)
        before = items.wait_seconds
        threading.Timer(0.1, gate.set).start()
        assert next(items) == 1
        assert items.wait_seconds - before > 0.05
        time.sleep(0.05)  # the end is ready by now
        before = items.wait_seconds
        assert next(items, None) is None
        assert items.wait_seconds - before < 0.05


def test_prefetcher_raises_the_error_of_its_source_after_the_items_before_it():
    def source():
        yield 1
        raise ValueError("clip index 7 is out of range")

    items = Prefetcher(source())
    assert next(items) == 1
    with pytest.raises(ValueError, match="clip index 7"):
        next(items)
    assert next(items, None) is None
    assert not items._thread.is_alive()


@pytest.mark.parametrize("leave", ["close", "collect"])
def test_leaving_early_ends_the_thread(leave):
    def source():
        while True:
            yield 0

    items = Prefetcher(source(), depth=1)
    thread = items._thread
    next(items)
    if leave == "close":
        items.close()
        items.close()
        assert next(items, None) is None
    else:
        gone = weakref.ref(items)
        del items
        gc.collect()
        assert gone() is None
    thread.join(5)
    assert not thread.is_alive()
