"""Recomputing activations changes what is kept for the backward pass, and nothing else."""

import copy
from functools import partial

import pytest
import torch
from torch import nn

from fastpose.models import MotionBERT, create_model
from fastpose.models.recompute import Segmented, kept_statistics, recompute_activations
from fastpose.models.registry import MODELS

SMALL_TRANSFORMER = {"dim_feat": 16, "dim_rep": 16, "depth": 2, "num_heads": 2, "hidden_dim": 16}
ON_SKELETONS = ("motionbert", "motionbert_lite", "dct_mlp")
NETWORKS = [(name, "skeleton" if name in ON_SKELETONS else "heatmap") for name in MODELS]
NETWORKS += [("posec3d", "skeleton"), ("posec3d_k400", "skeleton")]  # which run centre taps alone


def make_model(name, input):
    torch.manual_seed(0)
    options = SMALL_TRANSFORMER if name.startswith("motionbert") else {"layout": "coco17"}
    model = partial(MODELS[name], **options)(input=input, num_classes=3, dropout=0.3)
    for parameter in model.parameters():
        if parameter.dim() == 1:  # norms that start as zero hide the rest of their branch
            nn.init.uniform_(parameter, 0.5, 1.0)
    return model.train()


def make_input(model, input):
    if isinstance(model, MotionBERT):
        return torch.randn(2, 1, 6, 17, 3)
    size = (1, 1) if input == "skeleton" else (16, 20)
    x = torch.rand(2, model.in_channels, 6, *size)
    return x.contiguous(memory_format=torch.channels_last_3d) if input == "heatmap" else x


def run_step(model, x, dtype):
    """Loss, gradients, buffers afterwards, and the bytes kept for the backward pass."""
    kept = {}
    outside = {tensor.untyped_storage().data_ptr() for tensor in (x, *model.parameters(), *model.buffers())}

    def note(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in outside:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    torch.manual_seed(1)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            output = model(x)
        loss = output.logits.square().sum() + output.features.square().sum()
    kept_bytes = sum(kept.values())
    loss.backward()
    gradients = {name: value.grad for name, value in model.named_parameters() if value.grad is not None}
    return loss.detach(), gradients, dict(model.named_buffers()), kept_bytes


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize(("name", "input"), NETWORKS)
def test_same_step_with_less_kept(name, input, dtype):
    whole = make_model(name, input)
    parts = copy.deepcopy(whole)
    recompute_activations(parts)
    x = make_input(whole, input)
    loss, gradients, buffers, kept = run_step(whole, x, dtype)
    again, regradients, rebuffers, rekept = run_step(parts, x, dtype)
    assert torch.equal(loss, again)
    assert gradients.keys() == regradients.keys()
    assert buffers.keys() == rebuffers.keys()
    for name, value in {**gradients, **buffers}.items():
        assert torch.equal(value, {**regradients, **rebuffers}[name]), name
    assert rekept < 0.5 * kept


class Dropping(Segmented):
    def __init__(self):
        super().__init__()
        self.part = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 4))

    def forward(self, x):
        return self.segment(self.part)(self.segment(self.part)(x))


def test_the_same_dropout_is_drawn_and_statistics_move_once():
    whole, parts = Dropping(), Dropping()
    parts.load_state_dict(whole.state_dict())
    recompute_activations(parts)
    x = torch.randn(16, 4)
    after = []
    for network in (whole, parts):
        torch.manual_seed(3)
        network(x).square().sum().backward()
        after.append(torch.rand(4))
    for one, two in zip(whole.parameters(), parts.parameters(), strict=True):
        assert torch.equal(one.grad, two.grad)
    assert all(torch.equal(value, parts.state_dict()[name]) for name, value in whole.state_dict().items())
    assert int(parts.part[1].num_batches_tracked) == 2
    assert torch.equal(*after)


def test_statistics_are_kept_after_an_error_too():
    network = Dropping()
    before = copy.deepcopy(network.state_dict())
    with pytest.raises(KeyError), kept_statistics(network):
        network(torch.randn(8, 4))
        raise KeyError
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    network(torch.randn(8, 4))
    assert int(network.part[1].num_batches_tracked) == 2


def test_nothing_is_recomputed_where_no_gradient_is_wanted(monkeypatch):
    model = create_model("posec3d", input="skeleton", num_classes=2).eval()
    recompute_activations(model)
    monkeypatch.setattr("fastpose.models.recompute.checkpoint", None)
    with torch.no_grad():
        model(torch.zeros(1, 68, 4, 1, 1))


def test_copies_recompute_until_they_are_told_to_keep(monkeypatch):
    parts = Dropping()
    recompute_activations(parts)
    copied = copy.deepcopy(parts)
    monkeypatch.setattr("fastpose.models.recompute.checkpoint", lambda run, x, **_: x)
    x = torch.randn(16, 4)
    assert torch.equal(copied(x), x)
    recompute_activations(copied, enabled=False)
    assert not torch.equal(copied(x), x)
    assert torch.equal(parts(x), x)


def test_compiled_networks_recompute_between_their_graphs():
    whole = Dropping()
    parts, part = copy.deepcopy(whole), Dropping.forward
    recompute_activations(parts)
    x = torch.randn(16, 4)
    for network, forward in ((whole, part), (parts, torch.compile(part, backend="aot_eager"))):
        torch.manual_seed(3)
        forward(network, x).square().sum().backward()
    for one, two in zip(whole.parameters(), parts.parameters(), strict=True):
        assert torch.equal(one.grad, two.grad)
    assert all(torch.equal(value, parts.state_dict()[name]) for name, value in whole.state_dict().items())
