"""Centre taps compute what the full kernels compute on 1×1 images."""

import copy

import pytest
import torch
import torch.nn.functional as F

from fastpose.models import create_model
from fastpose.models.layers import count_batch


class FullKernels(torch.nn.Module):
    """The same model, every kernel in full."""

    def __init__(self, model):
        super().__init__()
        self.model = copy.deepcopy(model)

    def forward(self, x):
        count_batch(self.model.backbone)
        return self.model.cls_head(self.model.backbone(x).mean((2, 3, 4)))


def random_model(**options):
    torch.manual_seed(0)
    model = create_model("posec3d", input="skeleton", num_classes=7, dropout=0.0, **options).double()
    for module in model.modules():  # zero-initialised branches would hide most of the network
        if isinstance(module, torch.nn.BatchNorm3d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.running_mean, -0.5, 0.5)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model


def largest_error(value, truth):
    return ((value - truth).abs().max() / truth.abs().max().clamp_min(1e-300)).item()


@pytest.mark.parametrize("frames", [1, 2, 7])
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_equals_full_kernels(frames, training):
    model = random_model(num_keypoints=4).train(training)
    full = FullKernels(model)
    x = torch.randn(16, model.in_channels, frames, 1, 1, dtype=torch.float64)
    inputs = x.clone().requires_grad_(), x.clone().requires_grad_()
    target = torch.arange(16) % 7
    logits = model(inputs[0]).logits
    expected = full(inputs[1])
    assert largest_error(logits, expected) < 1e-11
    F.cross_entropy(logits, target).backward()
    F.cross_entropy(expected, target).backward()
    assert largest_error(inputs[0].grad, inputs[1].grad) < 1e-11
    truth = dict(full.model.named_parameters())
    for name, parameter in model.named_parameters():
        assert largest_error(parameter.grad, truth[name].grad) < 1e-10, name
    buffers = dict(full.model.named_buffers())
    for name, buffer in model.named_buffers():
        torch.testing.assert_close(buffer, buffers[name], rtol=1e-12, atol=1e-12, msg=name)


def test_off_center_weights_get_no_gradient():
    model = random_model().train()
    model(torch.randn(4, model.in_channels, 6, 1, 1, dtype=torch.float64)).logits.square().sum().backward()
    used = 0
    for parameter in model.parameters():
        gradient = parameter.grad
        if gradient.dim() == 5 and gradient.shape[-1] > 1:
            center = gradient.shape[-1] // 2
            used += gradient[..., center, center].numel()
            assert gradient[..., center, center].abs().min() > 0
            gradient[..., center, center] = 0
            assert torch.count_nonzero(gradient) == 0
        else:
            used += gradient.numel()
    assert used == 1_377_788 - 512 * (60 - 7) - (60 - 7)


def test_parameters_are_those_of_the_full_network():
    model = create_model("posec3d", input="skeleton", num_classes=60)
    assert sum(p.numel() for p in model.parameters()) == 2_104_828
    assert model.backbone.conv1.conv.weight.shape == (32, 68, 1, 7, 7)
    assert sum(p.numel() for p in create_model("posec3d", input="heatmap", num_classes=60).parameters()) == (
        2_024_860
    )


def test_bfloat16_autocast_stays_close():
    model = random_model().float().eval()
    x = torch.randn(4, model.in_channels, 12, 1, 1)
    expected = model(x)
    with torch.autocast("cpu", torch.bfloat16):
        output = model(x)
    assert output.logits.dtype == output.features.dtype == torch.float32
    assert largest_error(output.features, expected.features) < 0.05
