"""Forward and backward of MotionBERT on clips of one person, T = 24, beside the plain fp32 network.

Both count the operations of the plain network. The floor is the rate of one large matrix product in the number
format that fastpose chooses here.
"""

import peers_motionbert
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from fastpose.models import create_model
from fastpose.system.placement import Placement

NUM_CLASSES = 60
BATCH = 8
WIDTHS = {"motionbert_lite": (256, 4), "motionbert": (512, 2)}
SECTION = "MotionBERT, forward and backward, T = 24"
CPU = torch.device("cpu")


def make_batch() -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    x = torch.rand(BATCH, 1, 24, 17, 3, generator=random)
    return x * 2 - 1, torch.arange(BATCH) % NUM_CLASSES


def make_peer(name: str) -> nn.Module:
    torch.manual_seed(0)
    return peers_motionbert.PlainMotionBERT(*WIDTHS[name], NUM_CLASSES)


def step(model: nn.Module, x: Tensor, labels: Tensor, precision: str) -> Tensor:
    model.zero_grad()
    with Placement.choose("cpu", precision).autocast():
        output = model(x)
    loss = F.cross_entropy(output if isinstance(output, Tensor) else output.logits, labels)
    loss.backward()
    return loss.detach()


def flop_of_step(name: str) -> int:
    x, labels = make_batch()
    with FlopCounterMode(display=False) as counter:
        step(make_peer(name).to("meta"), x.to("meta"), labels.to("meta"), "fp32")
    return counter.get_total_flops()


def activation_bytes(model: nn.Module, x: Tensor, precision: str) -> int:
    """Memory that the forward pass keeps for the backward pass, weights and their rounded copies left out."""
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    sizes = {weight.shape[::order] for weight in model.parameters() for order in (1, -1)}
    kept = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights and tensor.shape not in sizes:
            kept[storage.data_ptr()] = storage
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        Placement.choose("cpu", precision).autocast(),
    ):
        model(x)
    return sum(storage.nbytes() for storage in kept.values())


def describe(benchmark, name: str, model: nn.Module, x: Tensor, precision: str, **info: str) -> None:
    dtype = str(Placement.choose("cpu", precision).dtype).removeprefix("torch.")
    megabytes = activation_bytes(model, x, precision) / BATCH / 1e6
    benchmark.group = SECTION
    benchmark.extra_info.update(
        case=name,
        clips=BATCH,
        flop=flop_of_step(name),
        note=f"{dtype}, {torch.get_num_threads()} threads, {megabytes:.0f} MB of activations a clip",
        **info,
    )


@pytest.mark.parametrize("name", WIDTHS)
@pytest.mark.as_today
def test_peer(benchmark, name):
    model, batch = make_peer(name), make_batch()
    describe(benchmark, name, model, batch[0], "fp32", role="peer")
    losses = []
    benchmark.pedantic(lambda: losses.append(step(model, *batch, "fp32")), rounds=2, warmup_rounds=1)
    assert all(loss.isfinite() for loss in losses)


@pytest.mark.parametrize("name", WIDTHS)
def test_fastpose(benchmark, name):
    model, batch = create_model(name, num_classes=NUM_CLASSES), make_batch()
    assert_same_network(model, make_peer(name), batch[0])
    describe(benchmark, name, model, batch[0], "auto")
    losses = []
    benchmark.pedantic(lambda: losses.append(step(model, *batch, "auto")), rounds=3, warmup_rounds=1)
    assert all(loss.isfinite() for loss in losses)


def test_matrix_rate(benchmark):
    dtype = Placement.choose("cpu").dtype
    x, weight = torch.randn(24 * 17 * BATCH, 1024, dtype=dtype), torch.randn(1024, 1024, dtype=dtype)
    benchmark.group = SECTION
    benchmark.extra_info.update(
        role="floor", flop=2 * x.numel() * len(weight), note=str(dtype).removeprefix("torch.")
    )
    benchmark.pedantic(lambda: F.linear(x, weight), rounds=20, iterations=3, warmup_rounds=2)


@torch.no_grad()
def assert_same_network(model: nn.Module, peer: nn.Module, x: Tensor) -> None:
    """With the peer's weights, the model says what the peer says."""
    state = {}
    for stream, order in enumerate(("st", "ts")):
        for depth, layers in enumerate(peer.streams[stream]):
            for axis, layer in zip(order, layers, strict=True):
                parts = {
                    "norm1": layer.norm1, "attn": layer.attention, "norm2": layer.norm2,
                    "mlp": nn.ModuleDict({"fc1": layer.mlp[0], "fc2": layer.mlp[2]}),
                }  # fmt: skip
                for name, part in parts.items():
                    prefix = f"backbone.blocks_{order}.{depth}.{name}_{axis}."
                    state.update(part.state_dict(prefix=prefix))
    parts = {"ts_attn": peer.mixes, "joints_embed": peer.joints_embed, "norm": peer.norm, "head": peer.pose}
    parts["pre_logits.fc"] = peer.representation
    for name, part in parts.items():
        state.update(part.state_dict(prefix=f"backbone.{name}."))
    for name in ("fc1", "bn", "fc2"):
        state.update(getattr(peer, name).state_dict(prefix=f"head.{name}."))
    state |= {f"backbone.{name}": getattr(peer, name) for name in ("pos_embed", "temp_embed")}
    model.load_state_dict(state)
    torch.testing.assert_close(model.eval()(x).logits, peer.eval()(x), rtol=1e-3, atol=1e-4)
    model.train()
