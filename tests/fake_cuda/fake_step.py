"""Training steps as a GPU would be given them: nothing crosses from the host, and how many operators work."""

from dataclasses import replace

import pytest
import torch
from support.clips import waving_clips
from support.fake_cuda import Operators, trace_step

from fastpose.settings import DataConfig, LossConfig, ModelConfig, OptimConfig, RunConfig, SamplingConfig

# Working operators of a step of three streams, launched one by one; a number may fall, and must not rise. Fake
# convolutions forget channels_last_3d in their gradients, which makes 3 copies before the pooling of heatmaps.
MODELS = {
    "skeleton": (ModelConfig(), 2025),
    "heatmap": (ModelConfig(input="heatmap"), 1280),
    "x3d": (ModelConfig(model="x3d_shallow", input="heatmap"), 973),
    "dct_mlp": (ModelConfig(model="dct_mlp"), 241),
    "motionbert": (ModelConfig(model="motionbert"), 3814),
}
OTHERS = {
    "published": ModelConfig(model="motionbert", published=True),
    "limb": ModelConfig(input="limb"),
    "grayscale": ModelConfig(input="grayscale"),
    "c3d": ModelConfig(model="c3d_light", input="heatmap"),
}
LOSS = LossConfig(gamma1=1.0, gamma2=0.3, supcon_weight=0.1)


def config_of(model: ModelConfig, **optim) -> RunConfig:
    sampling = SamplingConfig(crop="frame" if model.published else "box")
    optim = OptimConfig(batch_size=32, device="cuda", compile="off", ema=0.99, **optim)
    data = DataConfig(sampling=sampling)
    return RunConfig(arm="contrastive", data=data, model=model, loss=LOSS, optim=optim)


def test_a_copy_is_noticed():
    """Lists of numbers and whole tensors are copies; a number on the host is an argument of a kernel."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode(), Operators() as operators:
        x = torch.empty(3, device="cuda")
        x.fill_(torch.tensor(1.0))
        x * torch.tensor(2.0)
        assert operators.copies == []
        torch.tensor([1.0, 2.0, 3.0]).to("cuda")
        assert len(operators.copies) == 1
        x.copy_(torch.empty(3))
        assert len(operators.copies) == 2


@pytest.mark.parametrize("name", MODELS)
def test_steps_of_three_streams(name):
    model, most = MODELS[name]
    operators = trace_step(config_of(model, share_clean=False), waving_clips())
    assert operators.copies == []
    assert operators.working.total() <= most, operators.working.most_common()


@pytest.mark.parametrize("name", OTHERS)
def test_steps_of_other_models(name):
    assert trace_step(config_of(OTHERS[name]), waving_clips()).copies == []


@pytest.mark.parametrize("views", ["noise", "tempo"])
def test_steps_with_few_labels_and_weighted_classes(views):
    """What is unlabelled, and what the model is sure of, is for the device alone to know."""
    config = config_of(ModelConfig(model="dct_mlp"), views=views, joint_pass=True)
    loss = replace(LOSS, ce_views="both", pseudo_after=0, class_weights="balanced")
    config = replace(config, data=replace(config.data, labels_per_class=2), loss=loss)
    assert trace_step(config, waving_clips()).copies == []
