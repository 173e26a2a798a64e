"""Models that are given keypoints against the same models on drawn heatmaps."""

import copy

import numpy as np
import pytest
import torch
from support.clips import waving_clips

from fastpose.data import ClipSampler
from fastpose.models import create_model
from fastpose.models.inputs.pose_input import is_drawn
from fastpose.models.recompute import recompute_activations
from fastpose.system.placement import VOLUME_FORMAT

SIZE = (24, 20)


def batch_of(count=3, epoch=0):
    return ClipSampler(waving_clips(), clip_len=5, size=SIZE).batch(np.arange(count), epoch=epoch, alpha=0.05)


def model_of(name="x3d_shallow", input="heatmap", **options):
    torch.manual_seed(0)
    return create_model(
        name, input=input, num_classes=3, layout="coco17", max_persons=1, size=SIZE, sigma=0.9, dropout=0.0,
        **options,
    )  # fmt: skip


def loss_and_gradients(model, x):
    loss = model(x).logits.square().sum()
    loss.backward()
    return loss, {name: weight.grad for name, weight in model.named_parameters()}


@pytest.mark.parametrize("input", ["heatmap", "grayscale", "limb"])
@pytest.mark.parametrize("name", ["posec3d", "c3d_light", "x3d_shallow"])
def test_equal_to_the_drawn_heatmaps(name, input):
    implicit = model_of(name, input).eval()  # so that statistics of small batches do not amplify rounding
    explicit = copy.deepcopy(implicit)
    batch = batch_of()
    loss, gradients = loss_and_gradients(implicit, batch)
    drawn = explicit.dense_input(batch)
    assert drawn.count_nonzero() > 100
    expected_loss, expected = loss_and_gradients(explicit, drawn)
    torch.testing.assert_close(loss, expected_loss, rtol=1e-4, atol=0)
    for key, gradient in expected.items():
        error = (gradients[key] - gradient).norm()
        assert error <= 1e-3 * gradient.norm(), key


def test_gradients_reach_the_keypoints():
    model = model_of().eval()
    keypoints = batch_of().keypoints
    found, drawn = (keypoints.clone().requires_grad_() for _ in range(2))
    model(model.prepare_input(found)).logits.square().sum().backward()
    model(model.dense_input(drawn)).logits.square().sum().backward()
    assert drawn.grad.norm() > 0
    assert (found.grad - drawn.grad).norm() <= 1e-3 * drawn.grad.norm()


def test_a_batch_takes_the_way_that_the_settings_say():
    batch = batch_of()
    ways = {
        ("heatmap", "implicit", None): True,
        ("limb", "implicit", None): True,
        ("grayscale", "implicit", "sum"): True,
        ("grayscale", "implicit", "max"): False,  # has to be drawn
        ("heatmap", "explicit", None): False,
    }
    for (input, heatmaps, merge), implicit in ways.items():
        model = model_of(input=input, heatmaps=heatmaps, joint_merge=merge).eval()
        x = model.prepare_input(batch)
        assert is_drawn(x) != implicit, (input, heatmaps, merge)
        assert x.shape == (3, model.in_channels, 5, *SIZE)
        expected = model(model.dense_input(batch)).logits
        for found in (model(x).logits, model(batch).logits):
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_drawn_input_has_the_dtype_and_memory_format_of_the_products(dtype):
    model, batch = model_of(heatmaps="explicit"), batch_of()
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        x = model.prepare_input(batch)
    assert x.dtype == dtype
    assert torch.equal(x, model.dense_input(batch).to(dtype))
    assert x.is_contiguous(memory_format=VOLUME_FORMAT)


def test_autocast_lowers_the_stem_and_keeps_its_layout():
    model = model_of("c3d_light")
    with torch.autocast("cpu", torch.bfloat16):
        y = model.backbone.conv1a.conv(model.prepare_input(batch_of()))
    assert y.dtype == torch.bfloat16
    assert y.is_contiguous(memory_format=torch.channels_last_3d)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("settings", [{}, {"heatmaps": "explicit"}, {"input": "skeleton"}], ids=str)
def test_a_batch_is_made_in_the_dtype_of_the_model(settings, dtype):
    model = model_of(**settings).to(dtype).eval()
    assert model(batch_of()).logits.dtype == dtype


def test_wrong_batches_are_refused():
    model = model_of()
    batch = batch_of()
    with pytest.raises(ValueError, match="takes 17 keypoints, got 5"):
        model.prepare_input(batch.keypoints[..., :5, :])
    with pytest.raises(
        ValueError, match=r"floating-point \[B, 17, T, H, W\], got torch.float32 \(0, 17, 5, 24, 20\)"
    ):
        model(model.prepare_input(batch.keypoints[:0]))
    with pytest.raises(ValueError, match="heatmaps must be one of implicit, explicit, got 'drawn'"):
        model_of(heatmaps="drawn")
    with pytest.warns(UserWarning, match="heatmaps has no effect on the skeleton input"):
        model_of(input="skeleton", heatmaps="explicit")


@pytest.mark.parametrize("name", ["posec3d", "c3d_light", "x3d_shallow"])
def test_activations_are_recomputed_from_keypoints_too(name):
    kept = model_of(name).train()
    again = copy.deepcopy(kept)
    recompute_activations(again)
    loss, gradients = loss_and_gradients(kept, batch_of())
    other_loss, others = loss_and_gradients(again, batch_of())
    assert torch.equal(loss, other_loss)
    assert all(torch.equal(gradient, others[key]) for key, gradient in gradients.items())
