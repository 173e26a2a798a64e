"""Forward and backward of the networks without data and optimiser, from keypoints, and scoring.

The peers' networks are fed with drawn inputs. The strong ones have channels_last_3d or, on skeletons, the kernels'
centre taps, and keep freed memory. The floor is the matrix rate, for the convolutions (without PoseConv3D's stem).
"""

from collections.abc import Callable

import peers_train
import peers_x3d
import torch
import torch.nn.functional as F
from measuring import measure, measure_products, size_name
from torch import Tensor, nn

from fastpose.models import create_model
from fastpose.system.placement import Placement

SECTION = "forward and backward, without data"
FRAMES, SIDE, NUM_CLASSES = 24, 56, 60
NETWORKS = {  # (model, input, persons, peer, FLOP of a clip's forward pass)
    "skeleton": ("posec3d", "skeleton", 2, peers_train.SlowOnly, 46e6),
    "heatmap": ("posec3d", "heatmap", 1, peers_train.SlowOnly, 35e9 / 3),
    "X3D-shallow": ("x3d_shallow", "heatmap", 1, peers_x3d.X3DShallow, 0.569e9),
}
SIZES = {  # bench_train.py has the heatmap step of 8 clips on two threads
    "skeleton": [(64, 1), (64, 2)],
    "heatmap": [(2, 1)],
    "X3D-shallow": [(8, 2), (4, 1)],
}
PARAMETERS = {"X3D-shallow": 254_508}


def make_keypoints(network: str, batch: int) -> tuple[Tensor, Tensor]:
    """Return keypoints [B, M, T, 17, 3] and labels."""
    generator = torch.Generator().manual_seed(0)
    shape = (batch, NETWORKS[network][2], FRAMES, 17, 3)
    keypoints = torch.rand(shape, generator=generator) * torch.tensor([SIDE, SIDE, 1])
    return keypoints, torch.randint(NUM_CLASSES, (batch,), generator=generator)


def make_fastpose(network: str, placement: Placement) -> nn.Module:
    model, kind, persons, _, _ = NETWORKS[network]
    torch.manual_seed(0)
    return placement.place(create_model(model, input=kind, num_classes=NUM_CLASSES, max_persons=persons))


def make_peer(network: str, keypoints: Tensor, *, strong: bool) -> tuple[nn.Module, Tensor]:
    """Return the network and its input, drawn."""
    x = make_fastpose(network, Placement.choose("cpu", "fp32")).dense_input(keypoints)
    torch.manual_seed(0)
    model = NETWORKS[network][3](x.shape[1], NUM_CLASSES)
    if strong and network == "skeleton":
        peers_train.crop_to_centre_taps(model)
    elif strong:
        model, x = (each.to(memory_format=torch.channels_last_3d) for each in (model, x))
    return model, x


def forward_of(
    network: str, who: str, dtype: str, keypoints: Tensor
) -> tuple[nn.Module, Callable[[], Tensor]]:
    """Return a network and what computes its logits."""
    placement = Placement.choose("cpu", dtype)
    if who == "fastpose":
        model = make_fastpose(network, placement)

        def logits() -> Tensor:
            return model(model.prepare_input(keypoints)).logits
    else:
        model, x = make_peer(network, keypoints, strong=who == "strong")

        def logits() -> Tensor:
            return model(x)

    def forward() -> Tensor:
        with placement.autocast():
            return logits()

    return model, forward


def test_step(benchmark, work, size, who, dtype):
    keypoints, labels = make_keypoints(work, size[0])
    model, forward = forward_of(work, who, dtype, keypoints)
    count = sum(weight.numel() for weight in model.parameters())
    assert count == PARAMETERS.get(work, count)

    def step() -> None:
        model.zero_grad()
        F.cross_entropy(forward(), labels).backward()

    flop = 3 * NETWORKS[work][4] * len(labels)
    case = f"{work} {size_name(size)}"
    measure(benchmark, step, SECTION, who=who, case=case, dtype=dtype, clips=len(labels), flop=flop, least=2)


def test_scoring(benchmark, threads, dtype):
    """The forward pass of an evaluation, to be set against the step."""
    keypoints, _ = make_keypoints("X3D-shallow", 8)
    model, forward = forward_of("X3D-shallow", "fastpose", dtype, keypoints)
    model.eval()
    case = f"X3D-shallow scoring {size_name((8, threads))}"
    flop = NETWORKS["X3D-shallow"][4] * 8
    measure(benchmark, torch.inference_mode()(forward), SECTION, case=case, dtype=dtype, clips=8, flop=flop)


def test_products(benchmark, threads, dtype):
    measure_products(benchmark, SECTION, dtype)


def test_peer_is_the_same_network():
    keypoints, _ = make_keypoints("X3D-shallow", 2)
    model = make_fastpose("X3D-shallow", Placement.choose("cpu", "fp32")).eval()
    peer, x = make_peer("X3D-shallow", keypoints, strong=False)
    ours, theirs = ([*network.parameters()] for network in (model, peer.eval()))
    assert [weight.shape for weight in ours] == [weight.shape for weight in theirs]
    with torch.no_grad():
        for weight, other in zip(ours, theirs, strict=True):
            if weight.ndim == 1:  # among them those of batch norms that start as zero
                weight.uniform_(0.5, 1)
            other.copy_(weight)
        found = model(model.prepare_input(keypoints)).logits
        torch.testing.assert_close(peer(x), found, rtol=1e-4, atol=1e-4)


def test_centre_taps_give_the_same():
    keypoints, _ = make_keypoints("skeleton", 2)
    peer, x = make_peer("skeleton", keypoints, strong=False)
    cropped, _ = make_peer("skeleton", keypoints, strong=False)
    peers_train.crop_to_centre_taps(cropped)
    torch.testing.assert_close(cropped.eval()(x), peer.eval()(x), rtol=1e-4, atol=1e-4)
