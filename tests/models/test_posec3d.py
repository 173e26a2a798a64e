"""PoseConv3D against PYSKL's own outputs, and the centre-tap path against the full kernels."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.shared import shared_folder

from fastpose.models import create_model

STAGES = ("conv1", "maxpool", "layer1", "layer2", "layer3")


@pytest.fixture(scope="module")
def oracle():
    with np.load(shared_folder() / "oracles" / "posec3d.npz", allow_pickle=False) as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


def oracle_model(oracle, dtype, **options):
    model = create_model("posec3d", input="heatmap", num_classes=60, **options)
    prefix = "state_dict/"
    state = {name.removeprefix(prefix): value for name, value in oracle.items() if name.startswith(prefix)}
    model.load_state_dict(state)
    return model.to(dtype)


def relative_error(value, truth):
    return ((value.double() - truth.double()).abs().max() / truth.double().abs().max()).item()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-10)])
def test_logits_and_stages(oracle, dtype, tolerance):
    model = oracle_model(oracle, dtype).eval()
    means = {}
    for name in STAGES:
        layer = getattr(model.backbone, name)
        # a copy, since ReLU and the sums work in place
        layer.register_forward_hook(lambda _, __, y, name=name: means.update({name: y.mean((2, 3, 4))}))
    with torch.no_grad():
        output = model(oracle["input"].to(dtype))
    assert relative_error(output.logits, oracle["logits_float64"]) < tolerance
    assert torch.equal(output.features, means["layer3"])
    for name in STAGES:
        assert relative_error(means[name], oracle[f"stage/{name}"]) < 1e-5


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-9)])
def test_training_loss_and_gradient_norms(oracle, dtype, tolerance):
    model = oracle_model(oracle, dtype, dropout=0.0).train()
    loss = F.cross_entropy(model(oracle["input"].to(dtype)).logits, oracle["train/label"])
    loss.backward()
    assert relative_error(loss, oracle["train/loss_float64"]) < tolerance
    norms = {name: parameter.grad.norm() for name, parameter in model.named_parameters()}
    truth = {name: oracle[f"train/grad_norm/{name}"] for name in norms}
    assert len(truth) == sum(name.startswith("train/grad_norm/") for name in oracle)
    largest = max(truth.values()).item()
    for name, norm in norms.items():
        assert abs(norm.item() - truth[name].item()) < tolerance * largest, name


def test_channels_last_and_bfloat16(oracle):
    model = oracle_model(oracle, torch.float32).eval()
    x = oracle["input"]
    model = model.to(memory_format=torch.channels_last_3d)
    x = x.contiguous(memory_format=torch.channels_last_3d)
    with torch.no_grad():
        exact = model(x).logits
        with torch.autocast("cpu", torch.bfloat16):
            rounded = model(x).logits
    assert relative_error(exact, oracle["logits_float64"]) < 1e-4
    assert rounded.dtype == torch.float32
    assert relative_error(rounded, oracle["logits_float64"]) < 0.05


def test_pooling_keeps_the_format_under_autocast():
    """In bfloat16 as in float32, forward and backward; autocast by itself makes it float32."""
    pool = create_model("posec3d", input="heatmap", num_classes=2).backbone.maxpool
    x = torch.randn(2, 8, 3, 9, 7, generator=torch.Generator().manual_seed(0)).bfloat16()
    narrow, wide = x.clone().requires_grad_(), x.float().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        y = pool(narrow)
    truth = pool(wide)
    assert y.dtype == torch.bfloat16
    assert torch.equal(y.float(), truth)
    gradient = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).bfloat16()
    y.backward(gradient)
    truth.backward(gradient.float())
    torch.testing.assert_close(narrow.grad.float(), wide.grad, rtol=2**-6, atol=2**-6)


def test_frames_pool_by_themselves_without_a_copy():
    """What a GPU runs: the same places of the same memory, and results in the same format."""
    pool = create_model("posec3d", input="heatmap", num_classes=2).backbone.maxpool
    x = torch.randn(2, 8, 3, 9, 7).contiguous(memory_format=torch.channels_last_3d)
    assert x.transpose(1, 2).flatten(0, 1).data_ptr() == x.data_ptr()
    whole, by_frame = x.clone().requires_grad_(), x.clone().requires_grad_()
    expected, found = pool(whole), pool.pool_frames(by_frame)
    assert torch.equal(found, expected)
    assert found.is_contiguous(memory_format=torch.channels_last_3d)
    gradient = torch.randn(found.shape)
    for y in (expected, found):
        y.backward(gradient)
    assert torch.equal(by_frame.grad, whole.grad)


def test_batches_are_counted_once_by_each_norm_that_trains():
    model = create_model("posec3d", input="skeleton", num_classes=3)
    x = torch.randn(2, model.in_channels, 4, 1, 1)
    model.train()
    model.backbone.layer1.eval()  # frozen
    for _ in range(3):
        model(x)
    model.eval()(x)
    counts = {name: int(b) for name, b in model.named_buffers() if name.endswith("num_batches_tracked")}
    assert len(counts) == 43
    assert all(count == (0 if ".layer1." in name else 3) for name, count in counts.items())


def test_initial_weights():
    torch.manual_seed(0)
    model = create_model("posec3d", input="skeleton", num_classes=60)
    for name, parameter in model.named_parameters():
        if parameter.dim() == 5:
            out_channels, _, *kernel = parameter.shape
            std = (2 / (out_channels * np.prod(kernel))) ** 0.5  # the fan of the full kernel
            assert parameter.std().item() == pytest.approx(std, rel=0.1), name
        elif name.endswith("conv3.bn.weight"):
            assert torch.count_nonzero(parameter) == 0, name
        elif name.endswith("bn.weight"):
            assert (parameter == 1).all(), name
        elif name.endswith("bias"):
            assert torch.count_nonzero(parameter) == 0, name
    assert model.cls_head.fc_cls.weight.std().item() == pytest.approx(0.01, rel=0.05)


@pytest.mark.parametrize(
    ("kind", "shape", "message"),
    [
        ("heatmap", (2, 16, 4, 8, 8), r"heatmap input .* \[B, 17, T, H, W\], got .* \(2, 16, 4, 8, 8\)"),
        ("heatmap", (2, 17, 8, 8), r"\[B, 17, T, H, W\], got .* \(2, 17, 8, 8\)"),
        ("heatmap", (2, 17, 0, 8, 8), r"got .* \(2, 17, 0, 8, 8\)"),
        ("grayscale", (2, 17, 4, 8, 8), r"\[B, 1, T, H, W\]"),
        ("skeleton", (2, 34, 4, 1, 1), r"\[B, 68, T, 1, 1\], got .* \(2, 34, 4, 1, 1\)"),
        ("skeleton", (2, 68, 4, 2, 1), r"\[B, 68, T, 1, 1\]"),
        ("skeleton", (0, 68, 4, 1, 1), r"\[B, 68, T, 1, 1\]"),
    ],
)
def test_wrong_shapes(kind, shape, message):
    model = create_model("posec3d", input=kind, num_classes=2)
    with pytest.raises(ValueError, match=message):
        model(torch.zeros(shape))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input": "rgb"}, "unknown input 'rgb'"),
        ({"num_classes": 0}, "num_classes must be a positive whole number, got 0"),
        ({"num_keypoints": 1.5}, "num_keypoints must be a positive whole number, got 1.5"),
        ({"dropout": 1.0}, r"dropout must lie in \[0, 1\), got 1.0"),
        ({"max_persons": 0}, "max_persons must be at least 1, got 0"),
        ({"layout": "penn13"}, "layout 'penn13' has 13 joints, but num_keypoints is 17"),
        ({"num_class": 2}, "model 'posec3d': .*unexpected keyword argument 'num_class'"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        create_model("posec3d", **{"input": "skeleton", "num_classes": 2, **options})


def test_unknown_model_and_wrong_keypoints():
    with pytest.raises(ValueError, match="unknown model 'resnet'; there are: .*posec3d"):
        create_model("resnet", num_classes=2)
    with pytest.raises(ValueError, match="model 'posec3d': .*missing .* 'input'"):
        create_model("posec3d", num_classes=2)
    model = create_model("posec3d", input="heatmap", num_classes=2)
    with pytest.raises(ValueError, match="takes 17 keypoints, got 13"):
        model.prepare_input(torch.zeros(1, 1, 4, 13, 3))
    with pytest.raises(ValueError, match="floating-point tensor, got ndarray"):
        model.prepare_input(np.zeros((1, 1, 4, 17, 3)))
