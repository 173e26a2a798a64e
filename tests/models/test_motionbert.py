"""MotionBERT against the published network's outputs, and what the network promises beyond them."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.shared import shared_folder

from fastpose.models import create_model, dstformer
from fastpose.ops.layers.attention.reference import attend_reference

SMALL = {
    "num_classes": 5, "dim_feat": 16, "dim_rep": 12, "depth": 2, "num_heads": 2, "maxlen": 9, "hidden_dim": 10
}  # fmt: skip


@pytest.fixture(scope="module")
def oracle():
    with np.load(shared_folder() / "oracles" / "motionbert_tiny.npz", allow_pickle=False) as file:
        config = json.loads(str(file["config"]))
        return config, {name: torch.from_numpy(file[name]) for name in file.files if name != "config"}


def oracle_model(oracle, dtype=torch.float64, **options):
    config, arrays = oracle
    config = {
        name: value for name, value in config.items() if name not in ("dim_in", "dim_out", "num_joints")
    }
    model = create_model("motionbert", **config, **options).to(dtype)
    prefix = "state_dict/"
    state = {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}
    model.load_state_dict(state)
    return model


def relative_error(value, truth):
    return ((value.double() - truth.double()).abs().max() / truth.double().abs().max()).item()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-9)])
def test_outputs(oracle, dtype, tolerance):
    model = oracle_model(oracle, dtype).eval()
    arrays = oracle[1]
    x = arrays["input"].to(dtype)
    with torch.no_grad():
        output = model(x)
        assert relative_error(output.logits, arrays["logits_eval"]) < tolerance
        assert relative_error(model.embed(x), arrays["embed_eval"]) < tolerance
        assert relative_error(model.representation(x).flatten(0, 1), arrays["rep"]) < tolerance
        assert relative_error(model.pose3d(x).flatten(0, 1), arrays["pose3d"]) < tolerance
        pooled = arrays["rep"].view(3, 2, *arrays["rep"].shape[1:]).mean((1, 2)).flatten(1)
        assert relative_error(output.features, pooled) < tolerance
        assert output.logits.dtype == output.features.dtype == dtype


def test_intermediates(oracle):
    model = oracle_model(oracle).eval()
    arrays = oracle[1]
    backbone, depth = model.backbone, len(model.backbone.ts_attn)
    found = {}
    backbone.blocks_st[0].register_forward_pre_hook(lambda _, inputs: found.update(embed=inputs[0]))
    for i in range(depth):
        for name in ("st", "ts"):
            block = getattr(backbone, f"blocks_{name}")[i]
            block.register_forward_hook(lambda _, __, y, key=f"{name}{i}": found.update({key: y}))
    backbone.pre_logits.register_forward_pre_hook(lambda _, inputs: found.update(norm=inputs[0]))
    with torch.no_grad():
        model(arrays["input"])
        for i, mix in enumerate(backbone.ts_attn):
            found[f"fuse_logit{i}"] = mix(torch.cat([found[f"st{i}"], found[f"ts{i}"]], dim=-1))
    assert len(found) == sum(name.startswith("intermediate/") for name in arrays)
    for name, value in found.items():
        assert relative_error(value.flatten(0, 1), arrays[f"intermediate/{name}"]) < 1e-9, name


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-9)])
def test_training_loss_and_gradient_norms(oracle, dtype, tolerance):
    model = oracle_model(oracle, dtype, dropout=0.0).train()
    arrays = oracle[1]
    output = model(arrays["input"].to(dtype))
    loss = F.cross_entropy(output.logits, arrays["labels"])
    loss.backward()
    assert relative_error(output.logits, arrays["logits_train"]) < tolerance
    assert relative_error(loss, arrays["loss"]) < tolerance
    norms = {
        name: parameter.grad.norm().item()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }
    truth = {
        name.removeprefix("grad_norm/"): value.item() for name, value in arrays.items() if "grad_norm" in name
    }
    assert norms.keys() == truth.keys()
    assert not any(name.startswith("backbone.head.") for name in norms)
    largest = max(truth.values())
    for name, norm in norms.items():
        assert abs(norm - truth[name]) < tolerance * largest, name


@pytest.mark.parametrize(
    ("name", "backbone", "total"),
    [("motionbert", 42_466_317, 60_421_193), ("motionbert_lite", 16_001_549, 33_956_425)],
)
def test_parameter_counts(name, backbone, total):
    with torch.device("meta"):
        model = create_model(name, num_classes=60)
    assert sum(parameter.numel() for parameter in model.backbone.parameters()) == backbone
    assert sum(parameter.numel() for parameter in model.parameters()) == total


def test_initial_weights():
    torch.manual_seed(0)
    model = create_model("motionbert_lite", num_classes=60, depth=1)
    for name, parameter in model.backbone.named_parameters():
        if name.startswith("ts_attn"):
            assert (parameter == (0.5 if name.endswith("bias") else 0)).all(), name
        elif "norm" in name:
            assert (parameter == (1 if name.endswith("weight") else 0)).all(), name
        elif name.endswith("bias"):
            assert torch.count_nonzero(parameter) == 0, name
        else:
            assert parameter.std().item() == pytest.approx(0.02, rel=0.1), name
            assert parameter.abs().max() < 0.15, name
    for layer in (model.head.fc1, model.head.fc2):  # uniform
        bound = layer.in_features**-0.5
        assert layer.weight.abs().max().item() == pytest.approx(bound, rel=1e-3)
        assert layer.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.02)


@pytest.mark.parametrize(("persons", "frames"), [(1, 1), (1, 9), (3, 4)])
def test_any_number_of_persons_and_frames(persons, frames):
    torch.manual_seed(0)
    model = create_model("motionbert", **SMALL).double().eval()
    x = torch.rand(2, persons, frames, 17, 3, dtype=torch.float64)
    with torch.no_grad():
        output = model(x)
        alone = torch.stack([model(x[:, m : m + 1]).features for m in range(persons)])
        assert model.pose3d(x).shape == x.shape
        assert model.representation(x).shape == (2, persons, frames, 17, 12)
        torch.testing.assert_close(model.embed(x).norm(dim=1), torch.ones(2, dtype=torch.float64))
    torch.testing.assert_close(output.features, alone.mean(0))  # persons meet in the pooling only
    assert output.features.shape == (2, 17 * 12)


def test_axes_of_attention():
    """A joint reaches other joints and frames in full, and the order of frames counts."""
    torch.manual_seed(0)
    model = create_model("motionbert", **SMALL).double().eval()
    x = torch.rand(1, 1, 6, 17, 3, dtype=torch.float64)
    moved = x.clone()
    moved[0, 0, 2, 5] += 0.5
    with torch.no_grad():
        change = (model.representation(moved) - model.representation(x)).abs().amax(-1)[0, 0]  # [T, V]
        assert (change > 0).all()
        assert change.argmax() == 2 * 17 + 5
        assert not torch.allclose(model(x.flip(2)).logits, model(x).logits)


def test_dropout_acts_on_the_representation():
    torch.manual_seed(0)
    model = create_model("motionbert", **SMALL).train()
    x = torch.rand(3, 1, 4, 17, 3)
    first, second = model(x).features, model(x).features
    assert not torch.equal(first, second)
    model.eval()
    assert torch.equal(model(x).features, model(x).features)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (
            torch.zeros(2, 1, 4, 16, 3),
            r"floating-point \[B, M, T, 17, 3\], got torch.float32 \(2, 1, 4, 16, 3\)",
        ),
        (torch.zeros(2, 1, 4, 17, 2), r"got torch.float32 \(2, 1, 4, 17, 2\)"),
        (torch.zeros(2, 4, 17, 3), r"got torch.float32 \(2, 4, 17, 3\)"),
        (torch.zeros(2, 0, 4, 17, 3), r"got torch.float32 \(2, 0, 4, 17, 3\)"),
        (torch.zeros(2, 1, 4, 17, 3, dtype=torch.int64), "got torch.int64"),
        (torch.zeros(2, 1, 10, 17, 3), "at most 9 frames, got 10"),
    ],
)
def test_wrong_inputs(x, message):
    model = create_model("motionbert", **SMALL)
    for method in (model, model.representation, model.pose3d, model.embed):
        with pytest.raises(ValueError, match=message):
            method(x)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_classes": 0}, "num_classes must be a positive whole number, got 0"),
        ({"depth": 1.5}, "depth must be a positive whole number, got 1.5"),
        ({"maxlen": "243"}, "maxlen must be a positive whole number, got '243'"),
        ({"dim_feat": 100}, "dim_feat must be a multiple of num_heads = 8, got 100"),
        ({"mlp_ratio": 0}, "mlp_ratio must leave hidden layers of at least one unit, got 0"),
        ({"dropout": 1}, r"dropout must lie in \[0, 1\), got 1"),
        ({"input": "heatmap"}, "MotionBERT takes the skeleton input only, got input = 'heatmap'"),
        ({"num_keypoints": 13}, "has 17 keypoints .*, but num_keypoints is 13"),
        ({"heads": 2}, "model 'motionbert': .*unexpected keyword argument 'heads'"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        create_model("motionbert", **{"num_classes": 2, **options})


def test_bfloat16_is_as_near_the_truth_as_plain_autocast(oracle, monkeypatch):
    x = oracle[1]["input"]
    direction = torch.randn((*x.shape[:4], 48), generator=torch.Generator().manual_seed(0))

    def representation_and_gradient(dtype, autocast):
        model = oracle_model(oracle, dtype)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            representation = model.representation(x.to(dtype))
        (representation.double() * direction).mean().backward()
        gradients = [
            weight.grad.double().flatten() for weight in model.parameters() if weight.grad is not None
        ]
        return representation.detach().double(), torch.cat(gradients)

    truth = representation_and_gradient(torch.float64, autocast=False)
    own = representation_and_gradient(torch.float32, autocast=True)
    monkeypatch.setattr(dstformer, "attend", attend_reference)
    plain = representation_and_gradient(torch.float32, autocast=True)
    for exact, ours, theirs in zip(truth, own, plain, strict=True):
        assert (ours - exact).norm() < 1.2 * (theirs - exact).norm()
        assert (ours - exact).norm() < 0.03 * exact.norm()


def test_compiles_to_one_graph():
    torch.manual_seed(0)
    model = create_model("motionbert", **{**SMALL, "depth": 1}).eval()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    for shape in ((2, 1, 4, 17, 3), (3, 2, 6, 17, 3)):
        x = torch.rand(shape)
        with torch.autocast("cpu", torch.bfloat16):
            found, expected = compiled(x), model(x)
        torch.testing.assert_close(found.logits, expected.logits, rtol=1e-2, atol=1e-3)
        found.logits.sum().backward()
    assert model.backbone.blocks_st[0].attn_s.qkv.weight.grad.abs().sum() > 0


class Logits(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(x).logits


def test_export_has_no_operators_of_its_own():
    model = create_model("motionbert", **SMALL).eval()
    x = torch.rand(2, 1, 4, 17, 3)
    program = torch.export.export(Logits(model), (x,))
    assert not any("fastpose" in str(node.target) for node in program.graph.nodes)
    torch.testing.assert_close(program.module()(x), model(x).logits)
