"""Memory on a GPU: its allocator says what a step takes, and what does not fit."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.clips import waving_clips
from support.training import TINY

from fastpose.settings import LossConfig, ModelConfig
from fastpose.system.memory import begin_peak, peak_memory
from fastpose.training.batch_size import choose_batch_size
from fastpose.training.setup import Setup
from fastpose.training.trainer import Trainer

pytestmark = pytest.mark.gpu

DEVICE = torch.device("cuda")
MODEL = ModelConfig(model="x3d_shallow", input="heatmap")
CONFIG = replace(TINY, model=MODEL, optim=replace(TINY.optim, device="cuda", batch_size="auto"))


def draw(trainer, size):
    views = trainer.setup.draw(np.resize(trainer.setup.train_indices, size), 0)
    return {view: batch.to(DEVICE) for view, batch in views.items()}


def test_the_choice_is_tried_and_more_is_refused(tmp_path):
    """The limit is one that free memory does not show, so that only trying finds it."""
    total = torch.cuda.get_device_properties(DEVICE).total_memory
    torch.cuda.set_per_process_memory_fraction(0.5e9 / total)
    try:
        config, _ = choose_batch_size(CONFIG, waving_clips(6144))
        size = config.optim.batch_size
        trainer = Trainer(Setup(config, waving_clips()), tmp_path, quiet=True)
        assert 4 < size < 4096
        trainer.setup.step(draw(trainer, size), 0, 1e-3)
        with pytest.raises(ValueError, match=r"does not fit .*what fits: --batch-size "):
            trainer.setup.step(draw(trainer, 8 * size), 0, 1e-3)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.mark.parametrize("optim", [{"micro_batch": 4}, {"checkpoint_activations": True}])
def test_peak_memory_is_less(tmp_path, optim):
    peaks = []
    for changes in ({}, optim):
        config = replace(CONFIG, optim=replace(CONFIG.optim, batch_size=32, **changes))
        trainer = Trainer(Setup(config, waving_clips()), tmp_path, quiet=True)
        batches = draw(trainer, 32)
        trainer.setup.step(batches, 0, 1e-3)
        begin_peak(DEVICE)
        trainer.setup.step(batches, 0, 1e-3)
        peaks.append(peak_memory(DEVICE))
        del trainer
    assert peaks[1] < 0.6 * peaks[0]


@pytest.mark.parametrize(
    "settings",
    [
        {"compile": "off", "cuda_graph": "auto"},
        {"compile": "on", "cuda_graph": "off"},
        {"compile": "on", "cuda_graph": "auto"},
    ],
)
@pytest.mark.parametrize("input", ["heatmap", "skeleton"])
def test_compiled_and_graphed_steps_learn_the_same(tmp_path, input, settings):
    """Twelve steps, more than run before a graph is captured, with rates, shapes and terms that change."""
    losses = []
    for changes in ({"compile": "off", "cuda_graph": "off"}, settings):
        config = replace(
            CONFIG,
            arm="contrastive",
            model=ModelConfig(model="posec3d", input=input, dropout=0.0),
            loss=LossConfig(gamma1=1.0, gamma2=0.3, sup_thresh=1),
            optim=replace(CONFIG.optim, batch_size=16, precision="fp32", ema=0.9, **changes),
        )
        trainer = Trainer(Setup(config, waving_clips()), tmp_path, quiet=True)
        steps = (
            trainer.setup.step(draw(trainer, 16 - i % 3 // 2), i // 6, 1e-3 / (i + 1)) for i in range(12)
        )
        losses.append(torch.stack([result["loss"].clone() for result in steps]))
        graphed = trainer.setup.step._take
        assert not getattr(graphed, "failed", False)
        assert not getattr(trainer.setup.step._objective, "failed", False)
    torch.testing.assert_close(losses[1], losses[0], rtol=2e-3, atol=1e-4)
