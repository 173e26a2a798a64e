"""A training run of seconds, the folder of one that was never trained, and how two runs are compared."""

import csv
import threading
from contextlib import nullcontext

import pytest
import torch

from fastpose.evaluation.curves import write_curve
from fastpose.evaluation.families import write_families
from fastpose.evaluation.metrics import Accuracy
from fastpose.settings import DataConfig, EvalConfig, ModelConfig, OptimConfig, RunConfig, SamplingConfig
from fastpose.settings.files import to_json
from fastpose.training.loggers import CsvLog
from fastpose.training.setup import Setup
from fastpose.training.trainer import Trainer
from fastpose.weights.runs import BY_FAMILY, COMPLETE, CONFIG, METRICS, load_model

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


def top1_of(path):
    """Return top-1 in percent of a robustness.csv, by run and noise level."""
    return {(row["run"], float(row["alpha"])): float(row["top1_percent"]) for row in rows_of(path)}


def weights_of(folder):
    return load_model(folder)[0].state_dict()


class CountingBar:
    """Calls ``told`` after some steps."""

    def __init__(self, told, steps):
        self.told, self.left = told, steps

    def __call__(self, **_):
        return nullcontext(self)

    def update(self, count=1):
        self.left -= count
        if self.left == 0:
            self.told()

    def set_postfix(self, *_, **__):
        pass


def stopped_after(folder, steps, config, packed, *, resume=False):
    """Train until so many steps are done, and one more that is in hand."""
    told = threading.Event()
    trainer = Trainer(Setup(config, packed), folder, bar=CountingBar(told.set, steps), told_to_end=told)
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(resume=resume)


def assert_equal_runs(one, two):
    for row, other in zip(rows_of(one / "metrics.csv"), rows_of(two / "metrics.csv"), strict=True):
        assert {k: v for k, v in row.items() if k not in TIMES} == {
            k: v for k, v in other.items() if k not in TIMES
        }
    first, second = weights_of(one), weights_of(two)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


def write_finished_run(folder, config, curve, families=None, epoch_s=()):
    """Write what a finished run leaves, untrained: top-1 by noise level, of other families too, seconds by epoch."""
    folder.mkdir(parents=True)
    (folder / CONFIG).write_text(to_json(config))
    write_curve(folder / COMPLETE, {folder.name: accuracies(curve)})
    if families:
        named = {family: accuracies(levels) for family, levels in families.items()}
        write_families(folder / BY_FAMILY, {folder.name: named})
    if epoch_s:
        log = CsvLog(folder / METRICS)
        for epoch, seconds in enumerate(epoch_s):
            log.write({"epoch": epoch, "epoch_s": seconds})
    return folder


def accuracies(top1):
    """A curve of these top-1 in percent by noise level, whose top-5 is 5 more."""
    return {alpha: Accuracy(share, share + 5, share - 1, num_clips=200) for alpha, share in top1.items()}
