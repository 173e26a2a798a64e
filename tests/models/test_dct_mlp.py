"""The multilayer perceptron on trajectories: its features, its definition, its statistics."""

import copy

import numpy as np
import pytest
import scipy.fft
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from fastpose.models import create_model, load_checkpoint
from fastpose.models.dct_mlp import COEFFICIENTS, cosine_transform
from fastpose.models.layers import BatchNorm

CHANNELS = 68  # two persons with 17 keypoints


def make(**options):
    torch.manual_seed(0)
    return create_model("dct_mlp", **{"input": "skeleton", "num_classes": 4, **options})


def with_statistics(model):
    """As after training: no running statistic, weight or bias is that of a new network."""
    for norm in model.modules():
        if isinstance(norm, BatchNorm):
            nn.init.uniform_(norm.running_mean, -0.5, 0.5)
            nn.init.uniform_(norm.running_var, 0.5, 1.5)
            for weight in norm.parameters():
                nn.init.uniform_(weight, 0.5, 1.5)
    nn.init.normal_(model.cls_head.fc_cls.bias)
    return model


def without_dropout(model):
    for layer in model.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    return model


@given(frames=st.integers(1, 60), count=st.integers(1, 20), seed=st.integers(0, 99))
def test_the_cosine_transform_is_that_of_scipy(frames, count, seed):
    x = torch.randn(2, 3, frames, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    expected = np.zeros((2, 3, count))
    kept = min(frames, count)
    expected[..., :kept] = scipy.fft.dct(x.numpy(), norm="ortho")[..., :kept]
    np.testing.assert_allclose(cosine_transform(x, count), expected, atol=1e-12)
    np.testing.assert_allclose(cosine_transform(x.float(), count), expected, atol=1e-5)


def test_the_cosine_transform_is_not_rounded_by_autocast():
    x = torch.randn(3, 5, 24)
    with torch.autocast("cpu", torch.bfloat16):
        found = cosine_transform(x, 12)
    assert torch.equal(found, cosine_transform(x, 12))
    rounded = cosine_transform(x.bfloat16(), 12)
    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(
        rounded, cosine_transform(x.bfloat16().double(), 12).bfloat16(), rtol=2**-7, atol=1e-6
    )


@pytest.mark.parametrize("frames", [1, 5, 12, 24, 100])
def test_outputs_of_the_definition(frames):
    model = with_statistics(make()).double().eval()
    state = {name: value.numpy() for name, value in model.state_dict().items()}

    def normalised(x, name):
        spread = np.sqrt(state[f"{name}.running_var"] + (1e-3 if name == "backbone.norm" else 1e-5))
        return (x - state[f"{name}.running_mean"]) / spread

    x = torch.randn(3, CHANNELS, frames, 1, 1, dtype=torch.float64)
    coefficients = np.zeros((3, CHANNELS, 12))
    coefficients[..., :frames] = scipy.fft.dct(x[..., 0, 0].numpy(), norm="ortho")[..., :12]
    features = normalised(coefficients.reshape(3, -1), "backbone.norm")
    for name in ("backbone.hidden.0", "backbone.hidden.1"):
        features = normalised(features @ state[f"{name}.fc.weight"].T, f"{name}.bn")
        features = np.maximum(features * state[f"{name}.bn.weight"] + state[f"{name}.bn.bias"], 0)
    logits = features @ state["cls_head.fc_cls.weight"].T + state["cls_head.fc_cls.bias"]
    with torch.no_grad():
        output = model(x)
    np.testing.assert_allclose(output.features, features, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(output.logits, logits, rtol=1e-11, atol=1e-12)


def test_weights_and_dropout():
    model = make(dropout=0.4)
    assert {name: tuple(value.shape) for name, value in model.named_parameters()} == {
        "backbone.hidden.0.fc.weight": (256, 12 * CHANNELS),
        "backbone.hidden.0.bn.weight": (256,),
        "backbone.hidden.0.bn.bias": (256,),
        "backbone.hidden.1.fc.weight": (256, 256),
        "backbone.hidden.1.bn.weight": (256,),
        "backbone.hidden.1.bn.bias": (256,),
        "cls_head.fc_cls.weight": (4, 256),
        "cls_head.fc_cls.bias": (4,),
    }
    assert [layer.p for layer in model.modules() if isinstance(layer, nn.Dropout)] == [0.1, 0.2, 0.4]
    assert model.num_features == 256


def test_initial_weights():
    model = make(num_classes=60)
    before = copy.deepcopy(model.state_dict())
    model.reset_parameters()
    for name in ("backbone.hidden.0.fc.weight", "backbone.hidden.1.fc.weight", "cls_head.fc_cls.weight"):
        weight = model.state_dict()[name]
        assert not torch.equal(weight, before[name])
        expected = 0.01 if name.startswith("cls_head") else (3 * weight.shape[1]) ** -0.5
        assert weight.std().item() == pytest.approx(expected, rel=0.05), name


@pytest.mark.parametrize("channels", [2, 26, 204])
def test_any_number_of_channels_and_frames(channels):
    score_channel = channels % 3 == 0
    joints = channels // (3 if score_channel else 2)
    model = make(num_keypoints=joints, max_persons=1, score_channel=score_channel).eval()
    assert model.in_channels == channels
    for frames in (1, 7, 50):
        points = torch.rand(3, 1, frames, joints, 3) * 50
        output = model(model.prepare_input(points))
        assert output.logits.shape == (3, 4)
        assert output.features.shape == (3, 256)
        assert torch.equal(model.dense_input(points), model.prepare_input(points))


def test_trains():
    model = without_dropout(make())
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    x, labels = torch.randn(8, CHANNELS, 24, 1, 1), torch.arange(8) % 4
    before = {key: value.clone() for key, value in model.named_parameters()}
    losses = []
    for _ in range(12):
        loss = F.cross_entropy(model(x).logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]
    assert [key for key, value in model.named_parameters() if torch.equal(value, before[key])] == []


def test_coefficients_are_standardised_by_the_clips_trained_on():
    """Whatever their scale and place; running statistics converge to those of the data."""
    model = make(num_keypoints=3, max_persons=1)
    scale, place = torch.rand(6, 1) + 0.5, torch.randn(6, 1)
    seen = []
    model.backbone.norm.register_forward_hook(lambda *call: seen.append(call[2]))
    for _ in range(80):
        model((torch.randn(256, 6, 24) * scale + place)[..., None, None])
    assert seen[-1].mean(0).abs().max() < 1e-5
    torch.testing.assert_close(seen[-1].std(0), torch.ones(6 * COEFFICIENTS), rtol=0.01, atol=0)
    norm = model.backbone.norm
    expected = torch.zeros(6, COEFFICIENTS)
    expected[:, 0] = 24**0.5 * place[:, 0]
    torch.testing.assert_close(norm.running_mean.view(6, -1), expected, rtol=0, atol=0.1)
    torch.testing.assert_close(
        norm.running_var.view(6, -1), (scale**2).expand(6, COEFFICIENTS), rtol=0.1, atol=0
    )


def test_a_channel_that_never_varied_is_not_blown_up():
    """A joint that is always present in training, and absent for a frame afterwards: a few deviations, not 300."""
    model = make(num_keypoints=3, max_persons=1)
    x = torch.randn(64, 6, 24, 1, 1)
    x[:, 2] = 1
    for _ in range(100):
        assert model(x).logits.isfinite().all()
    model.eval()
    seen = []
    model.backbone.norm.register_forward_hook(lambda *call: seen.append(call[2].view(64, 6, -1)))
    model(x)
    assert seen[-1][:, 2].abs().max() < 1e-2
    x[0, 2, 5] = 0
    model(x)
    assert 5 < seen[-1][0, 2].abs().max() < 10
    x[:, 2] = 1 + 1e-4 * torch.randn(64, 24, 1, 1)  # rounding
    model(x)
    assert seen[-1][:, 2].abs().max() < 0.05


def test_statistics_move_by_view_as_if_each_passed_alone():
    model = without_dropout(make()).double()
    at_once = copy.deepcopy(model)
    assert at_once.separate_views(2)
    clean, noisy = torch.randn(2, 5, CHANNELS, 24, 1, 1, dtype=torch.float64)
    noisy *= 3
    expected = torch.stack([model(clean).logits, model(noisy).logits], 1)
    found = at_once(torch.stack([clean, noisy], 1).flatten(0, 1)).logits.unflatten(0, (5, 2))
    torch.testing.assert_close(found, expected)
    for (name, one), other in zip(model.named_buffers(), at_once.buffers(), strict=True):
        torch.testing.assert_close(other, one, msg=lambda text, name=name: f"{name}: {text}")
    assert int(model.backbone.norm.num_batches_tracked) == 2


def test_bfloat16_is_near_float32():
    model = with_statistics(make()).eval()
    x = torch.randn(16, CHANNELS, 24, 1, 1)
    with torch.no_grad():
        exact = model(x)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = model(x)
    assert rounded.logits.dtype == rounded.features.dtype == torch.float32
    assert (rounded.features - exact.features).norm() < 0.01 * exact.features.norm()
    model.train()
    with torch.autocast("cpu", torch.bfloat16):
        model(x).logits.square().mean().backward()
    assert all(weight.grad.isfinite().all() and weight.grad.any() for weight in model.parameters())


def test_compiles_to_one_graph_for_any_length():
    torch.compiler.reset()
    model = without_dropout(make())
    eager = copy.deepcopy(model)
    compiled = torch.compile(model, fullgraph=True, dynamic=True, backend="aot_eager")
    for step, frames in enumerate((24, 9, 48)):
        x = torch.randn(4 + step, CHANNELS, frames, 1, 1)
        with torch.compiler.set_stance("fail_on_recompile" if step else "default"):
            found = compiled(x).logits
        torch.testing.assert_close(found, eager(x).logits)
        found.sum().backward()
    for one, other in zip(model.buffers(), eager.buffers(), strict=True):
        torch.testing.assert_close(one, other)


def test_checkpoints_load_whole(tmp_path):
    source, target = with_statistics(make()), make()
    torch.save({"state_dict": source.state_dict()}, tmp_path / "model.pth")
    load_checkpoint(target, tmp_path / "model.pth", strict=True)
    x = torch.randn(2, CHANNELS, 24, 1, 1)
    assert torch.equal(source.eval()(x).logits, target.eval()(x).logits)


@pytest.mark.parametrize("kind", ["heatmap", "grayscale", "limb"])
def test_other_inputs_are_refused(kind):
    with pytest.raises(ValueError, match=rf"^DctMLP takes the skeleton input only, got input = '{kind}'$"):
        make(input=kind, layout="coco17")


@pytest.mark.parametrize(
    "shape", [(2, 34, 4, 1, 1), (2, CHANNELS, 4, 2, 1), (2, CHANNELS, 0, 1, 1), (2, CHANNELS, 4)]
)
def test_wrong_shapes(shape):
    with pytest.raises(ValueError, match=r"skeleton input .* \[B, 68, T, 1, 1\], got .*" + str(shape[-1])):
        make()(torch.zeros(shape))
