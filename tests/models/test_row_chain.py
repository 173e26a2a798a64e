"""Chains of native convolutions in whole networks, beside the same networks in float64, where torch runs them."""

import copy

import pytest
import torch
import torch.nn.functional as F

from fastpose.models import create_model, layers, row_chain
from fastpose.models.layers import BatchNorm, ConvNorm
from fastpose.models.row_chain import can_chain

NETWORKS = ["posec3d", "c3d_light", "x3d_shallow"]
LABELS = torch.tensor([1, 4, 2])


def make(name, format=torch.channels_last_3d):
    torch.manual_seed(0)
    model = create_model(name, input="heatmap", num_classes=5, size=(24, 28), dropout=0)
    for module in model.modules():
        if isinstance(module, BatchNorm):
            torch.nn.init.uniform_(module.weight, 0.5, 1)
            module.running_mean.normal_(0, 0.1)
    return model.to(memory_format=format)  # pyright: ignore[reportCallIssue]


def keypoints(seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(3, 1, 6, 17, 3, generator=generator) * torch.tensor([28, 24, 1.0])


def step(model, x):
    logits = model(x).logits
    F.cross_entropy(logits, LABELS).backward()
    state = {name: buffer.clone() for name, buffer in model.named_buffers() if "running" in name}
    return logits.detach(), {name: weight.grad for name, weight in model.named_parameters()}, state


def close(found, truth, tolerance):
    return float((found.double() - truth).norm()) <= tolerance * float(truth.norm()) + 1e-9


def distance(gradients, truths):
    """The mean relative error of the gradients."""
    errors = [(gradients[key].double() - truth).norm() / truth.norm() for key, truth in truths.items()]
    return float(torch.stack(errors).mean())


def in_torch(model, x):
    """A step whose convolutions are torch's."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (layers, row_chain):
            patch.setattr(module, "norm_conv_obstacle", lambda *_: "is not to be run")
        return step(model, x)


@pytest.mark.parametrize("format", [torch.channels_last_3d, torch.contiguous_format])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_training_step(name, format):
    """Native convolutions are as far from float64 as torch's, where values near 0 fall on either side of a ReLU."""
    errors = []
    for seed in range(5):
        model = make(name, format)
        plain, double = copy.deepcopy(model), copy.deepcopy(model).double()
        x = model.dense_input(keypoints(seed))
        logits, gradients, state = step(model, x)
        true_logits, true_gradients, true_state = step(double, x.double())
        assert close(logits, true_logits, 1e-4)
        for key, truth in true_state.items():
            assert close(state[key], truth, 1e-4), key
        errors.append([distance(found, true_gradients) for found in (gradients, in_torch(plain, x)[1])])
    native, torchs = torch.tensor(errors).median(0).values
    assert native <= 4 * torchs


@pytest.mark.parametrize("name", NETWORKS)
def test_evaluation(name):
    model = make(name).eval()
    x = model.dense_input(keypoints())
    with torch.no_grad():
        found = model(x).logits
        truth = copy.deepcopy(model).double()(x.double()).logits
    assert close(found, truth, 1e-5)
    torch.testing.assert_close(model(x).logits, found, rtol=1e-4, atol=1e-5)  # with gradients, layer by layer


def test_hooks_see_every_layer():
    model = make("posec3d")
    seen = []
    block = model.backbone.layer2[1]
    block.conv2.register_forward_hook(lambda module, inputs, output: seen.append(output))
    expected = step(copy.deepcopy(make("posec3d")), model.dense_input(keypoints()))[0]
    assert close(step(model, model.dense_input(keypoints()))[0], expected.double(), 1e-5)
    assert len(seen) == 1
    assert seen[0].min() >= 0


def test_a_lone_value_per_channel_is_an_error():
    layer = ConvNorm(3, 4, (1, 1, 1))
    with pytest.raises(ValueError, match="more than one value per channel"):
        layer(torch.zeros(1, 3, 1, 1, 1))


def test_what_cannot_be_chained():
    layer, x = ConvNorm(3, 4, (1, 1, 1)), torch.zeros(2, 3, 1, 4, 4)
    assert can_chain([layer], x)
    assert not can_chain([layer], x.double())
    assert not can_chain([ConvNorm(3, 3, (3, 3, 3), depthwise=True)], x)
    with torch.autocast("cpu", torch.bfloat16):
        assert not can_chain([layer], x)
    layer.bn.views = 2
    assert not can_chain([layer], x)
    layer.bn.views = 1
    assert not can_chain([layer.eval()], x)  # with gradients
    with torch.no_grad():
        assert can_chain([layer], x)
