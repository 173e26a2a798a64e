"""PoseConv3D against PYSKL's own outputs, and the centre-tap path against the full kernels."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import shared_folder

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
