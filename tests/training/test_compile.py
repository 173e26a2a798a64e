"""torch.compile over a whole training step: inputs, passes of all views, loss and gradients in one graph."""

import copy
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from support.clips import waving_clips
from support.training import TINY

from fastpose.data import ClipSampler
from fastpose.models import create_model
from fastpose.settings import LossConfig, ModelConfig
from fastpose.system.placement import Placement
from fastpose.training.task import PoseTask

FULL = os.environ.get("FASTPOSE_FULL") == "1"  # inductor compiles C++ for minutes
BACKENDS = ("aot_eager", "inductor") if FULL else ("aot_eager",)
SIZE, FRAMES, CLIPS = (12, 12), 4, 6


def shallow_model(input):
    """PoseConv3D with one block in each stage: every kind of layer, at a fraction of the compile time."""
    model = create_model(
        "posec3d", input=input, num_classes=3, num_keypoints=17, max_persons=1, size=SIZE, dropout=0.0
    )
    for stage in ("layer1", "layer2", "layer3"):
        setattr(model.backbone, stage, getattr(model.backbone, stage)[:1])
    return model.train()


def draw(task, packed, epoch):
    sampler = ClipSampler(packed, clip_len=FRAMES, size=SIZE)
    return {
        view: sampler.batch(np.arange(CLIPS), epoch=epoch, stream=stream, alpha=alpha)
        for view, (stream, alpha) in task.views.items()
    }


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("input", "arm", "joint_pass", "precision"),
    [
        ("skeleton", "contrastive", True, "bf16"),
        ("heatmap", "supervised", False, "bf16"),
        ("heatmap", "contrastive", False, "fp32"),
        *(
            [("skeleton", "supervised", False, "fp32"), ("heatmap", "contrastive", True, "bf16")]
            if FULL
            else []
        ),
    ],
)
def test_a_training_step_compiles_whole(input, arm, joint_pass, precision, backend):
    config = replace(
        TINY,
        arm=arm,
        model=ModelConfig(input=input, dropout=0.0),
        loss=LossConfig(gamma1=1.0, gamma2=0.3, supcon_weight=0.5),
        optim=replace(TINY.optim, precision=precision, joint_pass=joint_pass),
    )
    placement = Placement.choose("cpu", precision)
    autocast = placement.autocast
    task, packed = PoseTask(config, placement.dtype), waving_clips(12)
    batches = [draw(task, packed, epoch) for epoch in range(2)]
    torch.manual_seed(0)
    eager = shallow_model(input)
    fast = copy.deepcopy(eager)
    torch.compiler.reset()
    step = torch.compile(lambda views: task.step(fast, views, 0, autocast), fullgraph=True, backend=backend)
    compare(task.step(eager, batches[0], 0, autocast), step(batches[0]), eager, fast, precision)
    with torch.compiler.set_stance("fail_on_recompile"):
        compare(task.step(eager, batches[1], 0, autocast), step(batches[1]), eager, fast, precision)


def compare(expected, found, eager, fast, precision):
    tolerance = {"fp32": 1e-4, "bf16": 3e-2}[precision]
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=tolerance, atol=tolerance)
    for result, model in ((expected, eager), (found, fast)):
        model.zero_grad()
        result["loss"].backward()
    others = dict(fast.named_parameters())
    for name, weight in eager.named_parameters():
        difference = (others[name].grad - weight.grad).norm()
        assert difference <= 2 * tolerance * weight.grad.norm(), name
    assert sum(weight.grad.count_nonzero() for weight in eager.parameters()) > 1000
    others = dict(fast.named_buffers())
    for name, buffer in eager.named_buffers():
        torch.testing.assert_close(others[name], buffer, rtol=tolerance, atol=tolerance)
