"""A training run of seconds, and how two runs are compared."""

import csv

import torch

from fastpose.settings import DataConfig, EvalConfig, ModelConfig, OptimConfig, RunConfig, SamplingConfig
from fastpose.weights.runs import load_model

TINY = RunConfig(
    arm="contrastive",
    data=DataConfig(sampling=SamplingConfig(clip_len=8, size=(16, 16))),
    model=ModelConfig(dropout=0.2),
    optim=OptimConfig(epochs=3, batch_size=6, ema=0.9, alpha="0:0.05", precision="fp32", device="cpu"),
    eval=EvalConfig(alphas=(0.0, 0.1)),
)
TIMES = {"epoch_s", "clips_per_s", "wait_s", "wait_share", "peak_memory_mb", "val_s", "val_clips_per_s"}


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def weights_of(folder):
    return load_model(folder)[0].state_dict()


def assert_equal_runs(one, two):
    for row, other in zip(rows_of(one / "metrics.csv"), rows_of(two / "metrics.csv"), strict=True):
        assert {k: v for k, v in row.items() if k not in TIMES} == {
            k: v for k, v in other.items() if k not in TIMES
        }
    first, second = weights_of(one), weights_of(two)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)
