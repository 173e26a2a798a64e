"""Forward and backward of MotionBERT on clips of one person, T = 24, beside the plain network.

All count the operations of the plain network. The strong peer has torch's scaled_dot_product_attention and keeps
freed memory. The floor is the matrix rate.
"""

import functools

import peers_motionbert
import torch
import torch.nn.functional as F
from measuring import measure, measure_products, size_name
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from fastpose.models import create_model
from fastpose.system.placement import Placement

SECTION = "MotionBERT, forward and backward, T = 24"
NUM_CLASSES = 60
SIZES = {"motionbert_lite": [(4, None)]}  # the full network takes minutes on a slow processor
WIDTHS = {"motionbert_lite": (256, 4), "motionbert": (512, 2)}
NAMES = {"motionbert_lite": "lite", "motionbert": "full"}


def make_batch(count: int) -> tuple[Tensor, Tensor]:
    """Return joints [B, 1, 24, 17, 3] and labels."""
    random = torch.Generator().manual_seed(0)
    x = torch.rand(count, 1, 24, 17, 3, generator=random)
    return x * 2 - 1, torch.arange(count) % NUM_CLASSES


def make_peer(name: str, *, strong: bool = False) -> nn.Module:
    torch.manual_seed(0)
    return peers_motionbert.PlainMotionBERT(*WIDTHS[name], NUM_CLASSES, fused=strong)


def step(model: nn.Module, x: Tensor, labels: Tensor, placement: Placement) -> Tensor:
    model.zero_grad()
    with placement.autocast():
        output = model(x)
    loss = F.cross_entropy(output if isinstance(output, Tensor) else output.logits, labels)
    loss.backward()
    return loss.detach()


@functools.cache
def flop_of_step(name: str, count: int) -> int:
    x, labels = make_batch(count)
    with FlopCounterMode(display=False) as counter:
        placement = Placement.choose("cpu", "fp32")
        step(make_peer(name).to("meta"), x.to("meta"), labels.to("meta"), placement)
    return counter.get_total_flops()


def activation_bytes(model: nn.Module, x: Tensor, placement: Placement) -> int:
    """Memory that the forward pass keeps for the backward pass, weights and their rounded copies left out."""
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    sizes = {weight.shape[::order] for weight in model.parameters() for order in (1, -1)}
    kept = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights and tensor.shape not in sizes:
            kept[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), placement.autocast():
        model(x)
    return sum(storage.nbytes() for storage in kept.values())


def test_step(benchmark, work, size, who, dtype):
    placement, batch = Placement.choose("cpu", dtype), make_batch(size[0])
    if who == "fastpose":
        model = create_model(work, num_classes=NUM_CLASSES)
        assert_same_network(model, make_peer(work), batch[0])
        model = placement.place(model)
    else:
        model = make_peer(work, strong=who == "strong")
    kept = activation_bytes(model, batch[0], placement) / size[0] / 1e6
    losses = []
    measure(
        benchmark,
        lambda: losses.append(step(model, *batch, placement)),
        SECTION,
        who=who,
        least=2,
        case=f"{NAMES[work]} {size_name(size)}",
        dtype=dtype,
        clips=size[0],
        flop=flop_of_step(work, size[0]),
        note=f"{kept:.0f} MB of activations a clip",
    )
    assert all(loss.isfinite() for loss in losses)


def test_products(benchmark, threads, dtype):
    measure_products(benchmark, SECTION, dtype)


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
