"""Networks whose products are of whole numbers, beside themselves in float32."""

from collections import OrderedDict

import pytest
import torch
from torch import nn

from fastpose.models import create_model
from fastpose.models.layers import BatchNorm, ConvNorm
from fastpose.models.quantized import Int8Linear, quantized


def randomize(model, seed=0):
    """Statistics and weights as of a trained network: residual branches that start as zero would hide much."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, BatchNorm):
            module.running_mean.normal_(0, 0.2, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
            if module.affine:
                module.weight.data.uniform_(0.5, 1, generator=generator)
                module.bias.data.normal_(0, 0.2, generator=generator)
    return model.eval()


def taken(model):
    """The names of the layers that are quantised."""
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, Int8Linear) or (isinstance(module, ConvNorm) and module.quantized is not None)
    ]


def keypoints(batch=3, joints=17, frames=8):
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(batch, 2, frames, joints, 3, generator=generator)
    x[..., :2] *= 56
    return x


@pytest.mark.parametrize(
    ("name", "input", "count"),
    [
        ("posec3d", "skeleton", 42),
        ("posec3d", "heatmap", 42),
        ("posec3d", "limb", 42),
        ("x3d_shallow", "heatmap", None),
        ("c3d_light", "grayscale", None),
        ("motionbert_lite", "skeleton", None),
        ("dct_mlp", "skeleton", None),
    ],
)
def test_logits_stay(name, input, count):
    torch.manual_seed(0)
    options = {} if name.startswith("motionbert") else {"num_keypoints": 17}
    layout = {"layout": "coco17"} if input == "limb" or name.startswith("motionbert") else {}
    model = randomize(create_model(name, input=input, num_classes=5, **options, **layout))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    whole = quantized(model)
    layers = taken(whole)
    assert layers
    assert count is None or len(layers) == count
    with torch.inference_mode():
        x = model.prepare_input(keypoints())
        truth, found = model(x), whole(x)
    error = (found.features - truth.features).norm() / truth.features.norm()
    assert 0 < error < 0.05
    # the model that was given is as it was
    assert taken(model) == []
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert whole.state_dict().keys() == before.keys()


def test_first_layer_and_head_stay():
    layers = taken(quantized(create_model("motionbert_lite", num_classes=5, layout="coco17")))
    assert "backbone.joints_embed" not in layers
    assert not [name for name in layers if name.startswith("head.")]
    assert "backbone.blocks_st.0.mlp_s.fc1" in layers
    assert "backbone.conv1" not in taken(quantized(create_model("posec3d", input="heatmap", num_classes=5)))


def test_a_network_of_ones_own():
    parts = {"input": nn.Linear(7, 20), "relu": nn.ReLU(), "fc1": nn.Linear(20, 30), "relu2": nn.ReLU()}
    network = nn.Sequential(OrderedDict(parts, fc=nn.Linear(30, 4)))
    whole = quantized(network)
    assert taken(whole) == ["fc1"]
    x = torch.randn(9, 7)
    with torch.no_grad():
        torch.testing.assert_close(whole(x), network(x), atol=0.05, rtol=0)
    with pytest.raises(ValueError, match="int8_linear has no gradients"):
        whole(x)


def test_nothing_to_quantise():
    with pytest.raises(
        ValueError, match=r"precision = 'int8': Sequential has no product that could take eight bits"
    ):
        quantized(nn.Sequential(nn.Linear(7, 20), nn.ReLU(), nn.Linear(20, 4)))


def test_point_images_take_centre_taps():
    """Rows of 1×1 images and volumes of them agree."""
    torch.manual_seed(0)
    layer = randomize(nn.ModuleList([ConvNorm(12, 9, (3, 3, 3), (2, 1, 1))]))[0]
    whole = quantized(nn.Sequential(ConvNorm(12, 12, (1, 1, 1)), layer, nn.Linear(1, 1)))[1]
    rows = torch.randn(6 * 4, 12)  # six frames of four clips
    volume = rows.view(6, 4, 12).permute(1, 2, 0)[..., None, None]
    with torch.inference_mode():
        of_rows = whole.quantized.rows(rows, None, 4).view(3, 4, 9)
        of_volume = whole(volume)[..., 0, 0].permute(2, 0, 1)
        truth = layer(volume)[..., 0, 0].permute(2, 0, 1)
    torch.testing.assert_close(of_rows, of_volume)
    torch.testing.assert_close(of_rows, truth, atol=0.1, rtol=0)
