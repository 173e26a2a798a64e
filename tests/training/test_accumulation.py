"""A batch in parts gives the gradient of the whole batch."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.clips import waving_clips

from fastpose.data import ClipSampler
from fastpose.models import ModelOutput, create_model
from fastpose.settings import LossConfig, OptimConfig, RunConfig
from fastpose.system.placement import Placement
from fastpose.training.accumulation import accumulate_gradient, micro_batches
from fastpose.training.task import PoseTask, labels_of

CLIPS = 7
AUTOCAST = Placement.choose("cpu", "fp32").autocast
LOSS = LossConfig(gamma1=1.0, gamma2=0.3, supcon_weight=0.5, label_smoothing=0.1)


@pytest.fixture(scope="module")
def sampler():
    return ClipSampler(waving_clips(), clip_len=4, size=(16, 16))


def draw(task, sampler):
    return {
        view: sampler.batch(np.arange(CLIPS), stream=stream, alpha=alpha)
        for view, (stream, alpha) in task.views.items()
    }


def make_model(dropout=0.0):
    torch.manual_seed(0)
    model = create_model(
        "posec3d", input="skeleton", num_classes=3, max_persons=1, dropout=dropout, size=(16, 16)
    )
    model.register_forward_pre_hook(lambda _, inputs: (inputs[0].double(),))
    for name, parameter in model.named_parameters():
        if name.endswith("conv3.bn.weight"):  # zero hides the branch
            torch.nn.init.ones_(parameter)
    return model.double().train()


def gradients(model):
    return {
        name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None
    }


def assert_equal_gradients(model, expected):
    found = gradients(model)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-12, msg=name)
    assert max(float(value.abs().max()) for value in found.values()) > 1e-3


def config_of(arm, joint_pass, **loss):
    return RunConfig(
        arm=arm, loss=replace(LOSS, **loss), optim=OptimConfig(alpha="0:0.1", joint_pass=joint_pass)
    )


CONFIGS = {
    f"{arm} {'joint' if joint_pass else 'apart'}": config_of(arm, joint_pass)
    for arm in ("supervised", "augmented", "contrastive")
    for joint_pass in (False, True)
}
CONFIGS |= {
    "both views": config_of("contrastive", True, ce_views="both"),
    "own anchor": replace(config_of("contrastive", False), optim=OptimConfig(share_clean=False)),
    "detached clean": config_of("contrastive", False, detach_clean=True, supcon_weight=0.0, ce_views="noisy"),
    "logits": config_of("contrastive", True, representation="softmax", group_labels="pseudo"),
    "supervised phase": config_of("contrastive", False, sup_thresh=3),
}


@pytest.mark.parametrize("micro_batch", [1, 3, 4])
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_gradients_are_those_of_the_whole_batch(sampler, config, micro_batch):
    """With batch norm in evaluation mode no clip sees another but through the loss."""
    task, whole = PoseTask(config), make_model().eval()
    parts = copy.deepcopy(whole)
    batches = draw(task, sampler)
    expected = accumulate_gradient(task, whole, batches, 0, AUTOCAST)
    found = accumulate_gradient(task, parts, batches, 0, AUTOCAST, micro_batch)
    assert_equal_gradients(parts, gradients(whole))
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-12)
        assert not found[name].requires_grad


@pytest.mark.parametrize("joint_pass", [False, True])
def test_coupled_loss_with_dropout_and_batch_statistics(sampler, joint_pass):
    """One graph over the passes of all micro-batches is the definition: equal masks, statistics moved once."""
    task, parts = PoseTask(config_of("contrastive", joint_pass)), make_model(dropout=0.5)
    whole = copy.deepcopy(parts)
    batches = draw(task, sampler)
    torch.manual_seed(5)
    outputs = [task.forward(whole, part) for part in micro_batches(batches, 3)]
    joined = {
        view: ModelOutput(
            torch.cat([output[view].logits for output in outputs]),
            torch.cat([output[view].features for output in outputs]),
        )
        for view in batches
    }
    expected = task.objective(joined, labels_of(batches), 0)
    expected["loss"].backward()
    after = torch.rand(3)
    torch.manual_seed(5)
    found = accumulate_gradient(task, parts, batches, 0, AUTOCAST, 3)
    assert torch.equal(torch.rand(3), after)
    assert torch.equal(found["loss"], expected["loss"])
    assert_equal_gradients(parts, gradients(whole))
    buffers = dict(parts.named_buffers())
    assert all(torch.equal(value, buffers[name]) for name, value in whole.named_buffers())


def test_gradients_add_to_those_there_are(sampler):
    task, model = PoseTask(CONFIGS["contrastive apart"]), make_model().eval()
    batches = draw(task, sampler)
    accumulate_gradient(task, model, batches, 0, AUTOCAST, 2)
    once = {name: value.clone() for name, value in gradients(model).items()}
    accumulate_gradient(task, model, batches, 0, AUTOCAST, 2)
    assert_equal_gradients(model, {name: 2 * value for name, value in once.items()})


@settings(deadline=None, max_examples=50)
@given(size=st.integers(1, 40), most=st.integers(1, 50))
def test_parts_are_even_and_cover_the_batch(size, most):
    packed = waving_clips(4)
    batch = ClipSampler(packed, clip_len=2, size=(4, 4)).batch(np.arange(size) % 4)
    parts = [part["clean"] for part in micro_batches({"clean": batch}, most)]
    sizes = [len(part) for part in parts]
    assert max(sizes) <= most
    assert max(sizes) - min(sizes) <= 1
    assert len(sizes) == -(-size // most)
    for name in ("keypoints", "labels", "frames", "indices", "draws"):
        joined = torch.cat([getattr(part, name) for part in parts])
        assert torch.equal(joined, getattr(batch, name))
