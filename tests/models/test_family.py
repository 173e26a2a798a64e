"""Members of the PoseConv3D family: sizes, names and costs as published; any length and any image."""

import copy
import functools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fastpose.data import LAYOUTS, Layout
from fastpose.models import create_model, load_checkpoint
from fastpose.models.layers import Convolution

NAMES = ("posec3d", "posec3d_k400", "c3d_light", "x3d_shallow")


def make(name, kind="heatmap", num_classes=4, **options):
    torch.manual_seed(0)
    layout = {"layout": "coco17"} if kind == "limb" else {}
    return create_model(name, input=kind, num_classes=num_classes, **layout, **options)


def randomise_norms(model):
    """Zero-initialised branches would hide most of a residual network."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model


def multiply_adds(model, x):
    total = 0

    def count(module, _, y):
        nonlocal total
        total += y.numel() * module.weight[0].numel()

    for module in model.modules():
        if isinstance(module, nn.Conv3d | nn.Linear):
            module.register_forward_hook(count)
    with torch.no_grad():
        model.eval()(x)
    return total


@pytest.mark.parametrize(
    ("name", "num_classes", "parameters", "gflop"),
    [
        ("posec3d", 60, 2_024_860, 15.63),
        ("posec3d_k400", 400, 3_208_560, 14.49),
        ("c3d_light", 60, 3_404_892, 16.78),
        ("x3d_shallow", 60, 254_508, 0.569),
    ],
)
def test_parameters_and_flops(name, num_classes, parameters, gflop):
    model = make(name, num_classes=num_classes)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    flops = 2 * multiply_adds(model, torch.zeros(1, 17, 24, 56, 56))
    assert flops / 1e9 == pytest.approx(gflop, rel=1e-3)


@pytest.mark.parametrize("training", [False, True])
def test_hooks_see_every_layer(training):
    """Also those that are one operator, as a batch norm and the depthwise convolution of it may be."""
    model = make("x3d_shallow", dropout=0.0).train(training)
    x = torch.rand(2, 17, 4, 16, 16)
    with torch.no_grad():
        expected = model(x).logits
    seen = []
    for name, layer in model.backbone.named_modules():
        if not list(layer.children()):
            layer.register_forward_hook(lambda layer, inputs, output, name=name: seen.append(name))
    with torch.no_grad():
        torch.testing.assert_close(model(x).logits, expected, rtol=1e-4, atol=1e-5)
    assert sorted(seen) == sorted(
        name for name, layer in model.backbone.named_modules() if not [*layer.children()]
    )


def shapes(model):
    return {key: tuple(value.shape) for key, value in model.state_dict().items() if value.dim()}


def layer(name, shape):
    norm = {f"{name}.bn.{part}": shape[:1] for part in ("weight", "bias", "running_mean", "running_var")}
    return {f"{name}.conv.weight": shape, **norm}


def head(features, num_classes=4):
    return {"cls_head.fc_cls.weight": (num_classes, features), "cls_head.fc_cls.bias": (num_classes,)}


def test_keys_of_c3d():
    widths = {"1a": (17, 32), "2a": (32, 64), "3a": (64, 128), "3b": (128, 128), "4a": (128, 256)}
    expected = head(256)
    for name, (before, after) in {**widths, "4b": (256, 256)}.items():
        expected |= layer(f"backbone.conv{name}", (after, before, 3, 3, 3))
    assert shapes(make("c3d_light")) == expected


def test_keys_of_x3d():
    expected = {"backbone.conv1_s.conv.weight": (24, 17, 1, 3, 3), **head(216)}
    expected |= layer("backbone.conv1_t", (24, 1, 5, 1, 1)) | layer("backbone.conv5", (216, 96, 1, 1, 1))
    before = 24
    for stage, (blocks, inside, after) in enumerate([(2, 54, 24), (5, 108, 48), (3, 216, 96)], start=1):
        for i in range(blocks):
            block = f"backbone.layer{stage}.{i}"
            expected |= layer(f"{block}.conv1", (inside, before, 1, 1, 1))
            expected |= layer(f"{block}.conv2", (inside, 1, 3, 3, 3))
            expected |= layer(f"{block}.conv3", (after, inside, 1, 1, 1))
            if i == 0:
                expected |= layer(f"{block}.downsample", (after, before, 1, 1, 1))
            before = after
    assert shapes(make("x3d_shallow")) == expected


def test_keys_of_slowonly_on_kinetics():
    expected = layer("backbone.conv1", (32, 17, 1, 7, 7)) | head(512)
    before = 32
    for stage, (blocks, width, time) in enumerate([(3, 32, 1), (4, 64, 3), (6, 128, 3)], start=1):
        for i in range(blocks):
            block = f"backbone.layer{stage}.{i}"
            expected |= layer(f"{block}.conv1", (width, before, time, 1, 1))
            expected |= layer(f"{block}.conv2", (width, width, 1, 3, 3))
            expected |= layer(f"{block}.conv3", (4 * width, width, 1, 1, 1))
            if i == 0:
                expected |= layer(f"{block}.downsample", (4 * width, before, 1, 1, 1))
            before = 4 * width
    assert shapes(make("posec3d_k400")) == expected


class Plain:
    """The published definitions once more, from a state dict, in evaluation mode."""

    def __init__(self, state):
        self.state = state

    def layer(self, x, name, stride=1, relu=True):
        weight = self.state[f"backbone.{name}.conv.weight"]
        padding = [size // 2 for size in weight.shape[2:]]
        x = F.conv3d(x, weight, None, stride, padding, groups=x.shape[1] // weight.shape[1])
        parts = ("running_mean", "running_var", "weight", "bias")
        if f"backbone.{name}.bn.weight" in self.state:
            x = F.batch_norm(x, *(self.state[f"backbone.{name}.bn.{part}"] for part in parts))
        return x.relu() if relu else x

    def head(self, x):
        return F.linear(
            x.mean((2, 3, 4)), self.state["cls_head.fc_cls.weight"], self.state["cls_head.fc_cls.bias"]
        )

    def c3d_light(self, x):
        for names in (["conv1a"], ["conv2a"], ["conv3a", "conv3b"], ["conv4a", "conv4b"]):
            x = x if names == ["conv1a"] else F.avg_pool3d(x, (1, 2, 2))
            for name in names:
                x = self.layer(x, name)
        return self.head(x)

    def x3d_shallow(self, x):
        x = self.layer(self.layer(x, "conv1_s", (1, 2, 2), relu=False), "conv1_t")
        for stage, blocks in enumerate((2, 5, 3), start=1):
            for i in range(blocks):
                block, stride = f"layer{stage}.{i}", (1, 2, 2) if i == 0 else 1
                y = self.layer(self.layer(x, f"{block}.conv1"), f"{block}.conv2", stride, relu=False)
                y = self.layer(y, f"{block}.conv3", relu=False)
                if i == 0:
                    x = self.layer(x, f"{block}.downsample", stride, relu=False)
                x = (x + y).relu()
        return self.head(self.layer(x, "conv5"))


@pytest.mark.parametrize("name", ["c3d_light", "x3d_shallow"])
@pytest.mark.parametrize("size", [(1, 16, 16), (5, 31, 19)])
def test_outputs_of_the_published_definition(name, size):
    model = randomise_norms(make(name)).double().eval()
    x = torch.rand(2, 17, *size, dtype=torch.float64)
    expected = getattr(Plain(model.state_dict()), name)(x)
    torch.testing.assert_close(model(x).logits, expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(1, 9, 7), (48, 8, 8), (3, 1, 1), (2, 1, 12)])
def test_any_length_and_any_image(name, size):
    model = randomise_norms(make(name, "grayscale")).eval()
    with torch.no_grad():
        output = model(torch.rand(2, 1, *size))
    assert output.logits.shape == (2, 4)
    assert output.features.shape == (2, model.num_features)
    assert output.logits.isfinite().all()
    assert not torch.equal(output.logits[0], output.logits[1])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["heatmap", "grayscale", "limb", "skeleton"])
def test_every_input_trains(name, kind):
    model = make(name, kind, dropout=0.0, size=(8, 8))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(4, 2, 3, 17, 3, generator=generator) * torch.tensor([8, 8, 1])
    x, labels = model.prepare_input(points), torch.arange(4)
    before = {key: value.clone() for key, value in model.named_parameters()}
    losses = []
    for _ in range(8):
        loss = F.cross_entropy(model(x).logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    assert [key for key, value in model.named_parameters() if torch.equal(value, before[key])] == []


@pytest.mark.parametrize("name", NAMES)
def test_training_and_evaluation_differ_in_statistics_and_dropout(name):
    model = randomise_norms(make(name))
    x = torch.rand(3, 17, 4, 16, 16)
    statistics = {key: value.clone() for key, value in model.named_buffers()}
    with torch.no_grad():
        one, two = model(x).logits, model(x).logits
        assert not torch.equal(one, two)  # dropout
        assert all(not torch.equal(value, statistics[key]) for key, value in model.named_buffers())
        statistics = {key: value.clone() for key, value in model.named_buffers()}
        one, two = model.eval()(x).logits, model(x[:1]).logits
        torch.testing.assert_close(one[:1], two)
    assert all(torch.equal(value, statistics[key]) for key, value in model.named_buffers())


@pytest.mark.parametrize("name", ["c3d_light", "x3d_shallow"])
def test_channels_last_and_bfloat16(name):
    model = randomise_norms(make(name)).eval()
    x = torch.rand(2, 17, 4, 24, 24)
    with torch.no_grad():
        expected = model(x)
        model = model.to(memory_format=torch.channels_last_3d)
        x = x.to(memory_format=torch.channels_last_3d)
        torch.testing.assert_close(model(x).logits, expected.logits, rtol=1e-4, atol=1e-5)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = model(x)
    assert rounded.logits.dtype == rounded.features.dtype == torch.float32
    error = (rounded.features - expected.features).abs().max() / expected.features.abs().max()
    assert error < 0.05


@pytest.mark.usefixtures("poisoned_memory")
@pytest.mark.parametrize("stride", [1, (1, 2, 2), (2, 1, 3)], ids=str)
def test_points_that_are_matrix_products(stride):
    stride = (stride,) * 3 if isinstance(stride, int) else stride
    layer = Convolution(3, 4, (1, 1, 1), stride).double()
    x = torch.randn(2, 3, 5, 6, 7).double().contiguous(memory_format=torch.channels_last_3d).requires_grad_()
    found, expected = layer(x), F.conv3d(x, layer.weight, None, stride)
    gradient = torch.randn(expected.shape).double()
    torch.testing.assert_close(found, expected)
    for one, other in zip(
        torch.autograd.grad(found, (x, layer.weight), gradient),
        torch.autograd.grad(expected, (x, layer.weight), gradient),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("name", NAMES)
def test_skeletons_in_bfloat16(name):
    """Whole kernels on 1×1 images end the process, in the backward pass of torch's bfloat16 convolution."""
    torch.manual_seed(0)
    model = create_model(name, input="skeleton", num_classes=4, dropout=0.0)
    exact = copy.deepcopy(model).double()
    x = torch.randn(3, 68, 9, 1, 1)
    with torch.autocast("cpu", torch.bfloat16):
        features = model(x).features
    features.square().mean().backward()
    assert all(weight.grad.isfinite().all() for weight in model.backbone.parameters())
    for layer in exact.backbone.modules():
        if isinstance(layer, nn.Conv3d):
            layer.forward = functools.partial(nn.Conv3d.forward, layer)  # whole kernels
    expected = exact.backbone(x.double()).mean((2, 3, 4))
    assert (features - expected).norm() <= 5e-2 * expected.norm()


@pytest.mark.parametrize("name", ["c3d_light", "x3d_shallow"])
def test_checkpoints_in_pyskl_form(name, tmp_path):
    source, target = randomise_norms(make(name)), make(name)
    torch.save({"meta": {}, "state_dict": source.state_dict()}, tmp_path / "joint.pth")
    load_checkpoint(target, tmp_path / "joint.pth", strict=True)
    x = torch.rand(1, 17, 2, 16, 16)
    assert torch.equal(source.eval()(x).logits, target.eval()(x).logits)
    with pytest.raises(ValueError, match="PoseConv3D"):
        load_checkpoint(make("posec3d"), tmp_path / "joint.pth")


@pytest.mark.parametrize("name", NAMES)
def test_names_in_any_form(name):
    spoken = name.replace("_", "-").title()
    assert type(make(spoken)) is type(make(name))


def test_limb_channels_follow_the_layout():
    for layout in LAYOUTS.values():
        model = create_model(
            "X3D-shallow", input="limb", num_classes=2, layout=layout, num_keypoints=layout.num_joints
        )
        assert model.in_channels == len(layout.limbs)
    with pytest.raises(ValueError, match="limb input needs a layout with limbs, and no layout is given"):
        create_model("c3d-light", input="limb", num_classes=2)
    dots = Layout("dots", joints=("a", "b"), pairs=(), limbs=())
    with pytest.raises(ValueError, match="needs a layout with limbs, and layout 'dots' has none"):
        create_model("c3d-light", input="limb", num_classes=2, layout=dots, num_keypoints=2)
