"""Kernels that a compiled training step launches on an H100; a number may fall, and must not rise."""

import pytest
from support.clips import waving_clips
from support.compiled_step import compiled_launches
from support.effort import FULL

from fastpose.settings import LossConfig, ModelConfig, OptimConfig, RunConfig

MODELS = {"skeleton": (ModelConfig(), 471), "heatmap": (ModelConfig(input="heatmap"), 469)}


@pytest.mark.skipif(not FULL, reason="takes minutes: FASTPOSE_FULL=1 runs it")
@pytest.mark.parametrize("name", MODELS)
def test_passes_and_loss_of_two_streams(name):
    model, most = MODELS[name]
    optim = OptimConfig(batch_size=32, device="cuda", compile="on")
    config = RunConfig(arm="contrastive", model=model, loss=LossConfig(gamma1=1.0, gamma2=0.3), optim=optim)
    launches = compiled_launches(config, waving_clips(40))
    assert launches.total() <= most, launches
