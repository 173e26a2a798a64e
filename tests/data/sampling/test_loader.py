"""Batches through a DataLoader."""

import numpy as np
import pytest
import torch
from support.sampling import make_pack
from torch.utils.data import DataLoader

from fastpose.data.sampling.batch import AlphaRange, PoseBatch
from fastpose.data.sampling.loader import ClipRequest, EpochBatches, PoseDataset, pose_loader
from fastpose.data.sampling.order import epoch_order
from fastpose.data.sampling.sampler import ClipSampler


def make_dataset(indices=None, **keywords):
    pack = make_pack([(1 + i % 2, 5 + 3 * i) for i in range(23)], 17, missing=0.1)
    sampler = ClipSampler(pack, clip_len=8, seed=3, threads=2)
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


def test_the_order_is_that_of_training():
    dataset = make_dataset(np.arange(1, 23))
    expected = epoch_order(dataset.indices, 9, 3)
    loader = pose_loader(dataset, 5, seed=9)
    loader.sampler.set_epoch(3)
    assert torch.cat([batch.indices for batch in loader]).tolist() == expected.tolist()


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
        (lambda: pose_loader(make_dataset([]), 4), "0 clips make no batch of 4"),
        (lambda: pose_loader(make_dataset(), 0), "batch_size"),
        (lambda: pose_loader(make_dataset(), 24, drop_last=True), "23 clips make no batch of 24"),
        (lambda: EpochBatches(3, 5, drop_last=True), "3 clips make no batch of 5"),
    ],
)
def test_bad_settings(make, message):
    with pytest.raises(ValueError, match=message):
        make()
