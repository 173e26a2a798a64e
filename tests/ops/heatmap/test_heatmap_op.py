"""The renderer as a torch operator: checks, gradients, registration, compilation."""

import math
import warnings

import numpy as np
import pytest
import torch

from fastpose.ops import render_heatmaps
from fastpose.ops.backend import resolve_backend

POSES = torch.tensor([[3.2, 4.1, 0.9], [7.7, 2.4, 0.6], [5.0, 6.3, 0.8]]).reshape(1, 1, 1, 3, 3)
LIMBS = [(0, 1), (1, 2)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"keypoints": [[1.0, 2.0, 3.0]]}, r"must be a torch\.Tensor, got list"),
        ({"keypoints": torch.zeros(2, 3)}, r"got \(2, 3\)"),
        ({"keypoints": torch.zeros(1, 1, 1, 3, 2)}, r"3 \(x, y, score\)\], got \(1, 1, 1, 3, 2\)"),
        ({"keypoints": POSES.int()}, r"floating, got keypoints.dtype = torch.int32"),
        ({"size": 56}, r"size must be \(height, width\), got 56"),
        ({"size": (0, 5)}, r"integers from 1 to .*got \(0, 5\)"),
        ({"size": (5, 5.0)}, r"got \(5, 5\.0\)"),
        ({"size": (2**24, 2**25)}, r"integers from 1"),
        ({"sigma": 0.0}, r"sigma must be .* got 0\.0"),
        ({"sigma": math.nan}, r"got nan"),
        ({"sigma": math.inf}, r"got inf"),
        ({"sigma": "0.6"}, r"got '0\.6'"),
        ({"mode": "joints"}, r"one of heatmap, grayscale, limb, got 'joints'"),
        ({"mode": "limb"}, r"needs limbs"),
        ({"mode": "limb", "limbs": []}, r"at least one pair"),
        ({"mode": "limb", "limbs": [(0, 3)]}, r"from 0 to 2, got \(0, 3\)"),
        ({"mode": "limb", "limbs": [(-1, 0)]}, r"from 0 to 2, got \(-1, 0\)"),
        ({"mode": "limb", "limbs": [(0, 1, 2)]}, r"pairs of joint indices, got \(0, 1, 2\)"),
        ({"mode": "limb", "limbs": [0, 1]}, r"pairs of joint indices, got 0"),
        ({"mode": "grayscale", "joint_merge": "mean"}, r"one of sum, max, got 'mean'"),
        ({"dtype": torch.int8}, r"dtype must be one of .* got torch\.int8"),
        ({"backend": "cuda"}, r"backend must be one of auto, triton, native, blocked, reference, got 'cuda'"),
        (
            {"backend": "triton"},
            r"needs its tensors on a CUDA device, and they are on cpu; choose 'auto' or 'native'",
        ),
        (
            {"memory_format": torch.channels_last},
            r"memory_format must be one of .*, got torch\.channels_last",
        ),
        ({"backend": "native", "dtype": torch.float64}, r"does not write torch\.float64"),
        ({"out": torch.zeros(1, 3, 1, 9, 8)}, r"shape \(1, 3, 1, 9, 9\), got \(1, 3, 1, 9, 8\)"),
        ({"out": torch.zeros(1, 3, 1, 9, 9).half()}, r"dtype = torch\.float32, got torch\.float16"),
        ({"out": torch.zeros(1, 3, 1, 9, 9, device="meta")}, r"must be on cpu, got meta"),
        (
            {"out": torch.zeros(1, 3, 1, 9, 1).expand(1, 3, 1, 9, 9)},
            r"contiguous or in channels_last_3d order",
        ),
        ({"out": torch.zeros(1, 3, 1, 9, 9, requires_grad=True)}, r"out cannot take part in a gradient"),
        ({"out": [1.0]}, r"out must be a torch\.Tensor, got list"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        render_heatmaps(**{"keypoints": POSES, "size": (9, 9)} | arguments)


def test_more_elements_than_64_bits_count():
    poses = torch.zeros(1, 1, 1, 1, 3).expand(2**10, 1, 2**10, 1, 3)
    with pytest.raises(ValueError, match="64 bits"):
        render_heatmaps(poses, size=(2**24, 2**24))


def test_out_must_not_share_memory_with_keypoints():
    memory = torch.zeros(1000)
    with pytest.raises(ValueError, match="must not share memory"):
        render_heatmaps(memory[:9].view(1, 1, 1, 3, 3), (5, 5), out=memory[5:80].view(1, 3, 1, 5, 5))
    render_heatmaps(memory[:9].view(1, 1, 1, 3, 3), (5, 5), out=memory[9:84].view(1, 3, 1, 5, 5))


def test_settings_without_effect_warn():
    with pytest.warns(UserWarning, match="joint_merge has no effect with mode = 'heatmap'"):
        render_heatmaps(POSES, (9, 9), joint_merge="sum")
    with pytest.warns(UserWarning, match="limbs has no effect with mode = 'grayscale'"):
        render_heatmaps(POSES, (9, 9), mode="grayscale", limbs=LIMBS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        render_heatmaps(POSES, (9, 9), mode="grayscale", joint_merge="max")


def test_backend_resolution():
    both = {"native": None, "triton": None}
    neither = {"native": "cannot", "triton": "cannot"}
    assert resolve_backend("op", "auto", {"native": None, "triton": "cannot"}) == "native"
    assert resolve_backend("op", "auto", neither) == "reference"
    assert resolve_backend("op", "auto", both) == "triton"
    assert resolve_backend("op", "reference", both) == "reference"
    with pytest.raises(ValueError, match="op: backend='native' cannot; choose 'auto' or 'reference'"):
        resolve_backend("op", "native", neither)
    with pytest.raises(ValueError, match="backend='triton' cannot; choose 'auto' or 'native' or 'reference'"):
        resolve_backend("op", "triton", {"native": None, "triton": "cannot"})
    with pytest.raises(ValueError, match="op: backend='blocked' does not exist; choose"):
        resolve_backend("op", "blocked", both)


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last_3d])
def test_memory_format(backend, memory_format):
    maps = render_heatmaps(POSES, (9, 9), memory_format=memory_format, backend=backend)
    assert maps.is_contiguous(memory_format=memory_format)
    assert torch.equal(maps, render_heatmaps(POSES, (9, 9), backend=backend))
    with pytest.warns(UserWarning, match="memory_format has no effect where out is given"):
        render_heatmaps(POSES, (9, 9), memory_format=memory_format, out=maps, backend=backend)


@pytest.mark.parametrize("limbs", [LIMBS, torch.tensor(LIMBS)], ids=["list", "tensor"])
def test_limbs_may_be_a_list_or_a_tensor(limbs):
    maps = render_heatmaps(POSES, (9, 9), mode="limb", limbs=limbs)
    assert maps.shape == (1, 2, 1, 9, 9)
    assert maps.amax() > 0.5


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_numpy_scalars_are_numbers(backend):
    size, sigma = np.array([9, 7]), np.float32(0.5)
    limbs = [tuple(pair) for pair in np.array(LIMBS)]
    maps = render_heatmaps(POSES, tuple(size), sigma, mode="limb", limbs=limbs, backend=backend)
    assert torch.equal(maps, render_heatmaps(POSES, (9, 7), 0.5, mode="limb", limbs=LIMBS, backend=backend))
    with pytest.raises(ValueError, match="two integers"):
        render_heatmaps(POSES, (np.float64(9), 7), backend=backend)


def test_out_refuses_a_gradient():
    poses = POSES.clone().requires_grad_()
    out = torch.empty(1, 3, 1, 9, 9)
    with pytest.raises(ValueError, match="out cannot take part in a gradient"):
        render_heatmaps(poses, (9, 9), out=out)
    with torch.no_grad():
        assert not render_heatmaps(poses, (9, 9), out=out).requires_grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("mode", "limbs", "channels"),
    [("heatmap", [], 3), ("grayscale_sum", [], 1), ("grayscale_max", [], 1), ("limb", [0, 1, 1, 2], 2)],
)
def test_opcheck(mode, limbs, channels, dtype):
    ops = torch.ops.fastpose
    out = torch.zeros(1, channels, 1, 9, 7, dtype=dtype)
    arguments = (0.6, mode, limbs)
    for channels_last, poses in [(False, POSES.clone()), (True, POSES.clone().requires_grad_())]:
        torch.library.opcheck(ops.render_heatmaps.default, (poses, [9, 7], *arguments, dtype, channels_last))
    torch.library.opcheck(ops.render_heatmaps_into.default, (POSES.clone(), out, *arguments))
    torch.library.opcheck(ops.render_heatmaps_backward.default, (out + 1, POSES.clone(), *arguments))


def test_compiles_whole_with_dynamic_sizes():
    def model(poses, out):
        render_heatmaps(poses, (9, 9), out=out)
        return render_heatmaps(poses * 1.0, tuple(out.shape[3:]), dtype=torch.bfloat16) + 1

    compiled = torch.compile(model, fullgraph=True, dynamic=True, backend="aot_eager")
    for clips, frames in [(2, 3), (5, 4)]:
        poses = POSES.repeat(clips, 2, frames, 1, 1)
        out = torch.full((clips, 3, frames, 9, 9), math.nan)
        maps = compiled(poses, out)
        expected = render_heatmaps(poses, (9, 9))
        assert torch.equal(out, expected)
        assert torch.equal(maps, expected.bfloat16() + 1)


def test_a_gradient_compiles_whole():
    def loss(poses, size):
        return render_heatmaps(poses, size, memory_format=torch.channels_last_3d).square().sum()

    compiled = torch.compile(loss, fullgraph=True, dynamic=True, backend="aot_eager")
    for clips, size in [(2, (9, 9)), (3, (8, 11))]:
        poses = POSES.repeat(clips, 2, 1, 1, 1).requires_grad_()
        gradients = [torch.autograd.grad(form(poses, size), poses)[0] for form in (loss, compiled)]
        assert gradients[0].count_nonzero() > 0
        assert torch.equal(*gradients)


def square_loss(poses, backend="auto"):
    return render_heatmaps(poses, (9, 9), backend=backend).square().sum()


@pytest.mark.parametrize(
    "transform",
    [
        lambda loss: torch.func.grad(loss)(POSES),
        lambda loss: torch.func.jacfwd(loss)(POSES),
        lambda loss: torch.func.vmap(torch.func.grad(loss))(POSES[None]),
        lambda loss: torch.func.jvp(loss, (POSES,), (POSES,))[1],
    ],
    ids=["grad", "jacfwd", "vmap(grad)", "jvp"],
)
def test_unsupported_transforms_say_so(transform):
    with pytest.raises(NotImplementedError, match="pass backend='reference'"):
        transform(square_loss)
    assert transform(lambda poses: square_loss(poses, "reference")).count_nonzero() > 0


def test_vmap_draws_each():
    poses = torch.stack([POSES, POSES + 1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch: no batching rule
        maps = torch.func.vmap(lambda pose: render_heatmaps(pose, (9, 9)))(poses)
    assert torch.equal(maps, torch.stack([render_heatmaps(pose, (9, 9)) for pose in poses]))


@pytest.mark.parametrize(
    "second",
    [
        lambda loss, x: torch.autograd.grad(loss, x, create_graph=True)[0].sum().backward(),
        lambda loss, x: torch.autograd.grad(  # torch's own guard cuts the graph: x.sum() alone would remain
            torch.autograd.grad(loss, x, create_graph=True)[0].sum() + x.sum(), x
        ),
    ],
    ids=["backward", "penalty"],
)
def test_a_second_derivative_is_an_error(second):
    poses = POSES.clone().requires_grad_()
    with pytest.raises(
        RuntimeError, match="render_heatmaps: no second derivative; backend='reference' has one"
    ):
        second(square_loss(poses), poses)
    second(square_loss(poses, "reference"), poses)


def test_second_derivatives_of_torch_are_errors_too():
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.functional.hessian(square_loss, POSES)
    exact = torch.autograd.functional.hessian(lambda poses: square_loss(poses, "reference"), POSES)
    assert exact.count_nonzero() > 0
