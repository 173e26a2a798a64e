"""Gradients of the renderer: the reference by gradcheck, native code against the reference."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from fastpose.ops import render_heatmaps

POSES = torch.tensor([[3.2, 4.1, 0.9], [7.7, 2.4, 0.6], [5.0, 6.3, 0.8]]).reshape(1, 1, 1, 3, 3)
LIMBS = [(0, 1), (1, 2)]
MODES = [("heatmap", None), ("grayscale", "sum"), ("grayscale", "max"), ("limb", None)]


def gradient_of(poses, gradient, backend, **settings):
    poses = poses.clone().requires_grad_()
    maps = render_heatmaps(poses, backend=backend, **settings)
    return torch.autograd.grad(maps, poses, gradient.to(maps.dtype))[0]


@pytest.mark.parametrize(("mode", "joint_merge"), MODES)
def test_reference_passes_gradcheck(mode, joint_merge):
    poses = POSES.double().repeat(2, 2, 1, 1, 1)
    poses[:, 1, ..., :2] += torch.tensor([0.37, -0.41])
    poses[1, 1, 0, 2] = torch.tensor([math.nan, 3.0, 1.0])
    limbs = LIMBS if mode == "limb" else None

    def render(x):
        x = torch.where(poses.isnan(), poses, x)
        return render_heatmaps(
            x, (9, 9), mode=mode, limbs=limbs, joint_merge=joint_merge, dtype=torch.float64
        )

    assert torch.autograd.gradcheck(render, (poses.nan_to_num().requires_grad_(),))
    free = poses.nan_to_num().requires_grad_()
    (gradient,) = torch.autograd.grad(render(free).square().sum(), free)
    assert gradient.isfinite().all()
    assert (gradient[0, 0, 0].abs().sum(-1) > 0).all()  # no joint without a gradient


@given(data=st.data())
def test_native_agrees_with_the_reference(data):
    clips, persons, frames, joints = data.draw(st.tuples(*[st.integers(1, 3)] * 4))
    size = data.draw(st.one_of(st.just((1, 1)), st.tuples(st.integers(1, 30), st.integers(1, 30))))
    mode, joint_merge = data.draw(st.sampled_from(MODES))
    settings = {
        "size": size,
        "sigma": data.draw(st.sampled_from([0.3, 0.6, 1.3, 5.0])),
        "mode": mode,
        "limbs": [(0, joints - 1), (joints - 1, 0), (0, 0)] if mode == "limb" else None,
        "joint_merge": joint_merge,
        "dtype": data.draw(st.sampled_from([torch.float32, torch.float16, torch.bfloat16])),
    }
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 1000)))
    shape = (clips, persons, frames, joints)
    height, width = size
    xy = torch.rand(*shape, 2, generator=generator) * torch.tensor([width + 6.0, height + 6.0]) - 3
    if data.draw(st.booleans()):
        xy = xy.floor()  # equal persons, limbs of equal ends
    score = data.draw(
        st.sampled_from([torch.rand(*shape, 1, generator=generator) + 0.01, torch.ones(*shape, 1)])
    )
    poses = torch.cat([xy, score], -1)
    broken = data.draw(st.sampled_from([None, math.nan, math.inf, 1e9]))
    if broken is not None:
        poses[0, 0, 0, 0, data.draw(st.integers(0, 2))] = broken
    maps = render_heatmaps(poses, backend="reference", **settings)
    gradient = torch.randn(maps.shape, generator=generator).to(maps.dtype)
    gradient = gradient.to(
        memory_format=data.draw(st.sampled_from([torch.contiguous_format, torch.channels_last_3d]))
    )
    native = gradient_of(poses, gradient, "native", **settings)
    truth = gradient_of(poses.double(), gradient, "reference", **settings | {"dtype": torch.float64})
    assert native.isfinite().all()
    scale = truth.abs().amax().item()
    assert_close(native.double(), truth, rtol=1e-4, atol=2e-5 * scale + 1e-6)


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_the_first_of_equal_persons_has_the_gradient(backend):
    poses = POSES.repeat(1, 3, 1, 1, 1)
    gradient = gradient_of(poses, torch.ones(1, 3, 1, 9, 9), backend, size=(9, 9))
    assert (gradient[0, 0, ..., 2] > 1).all()
    assert gradient[0, 1:].count_nonzero() == 0


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_the_first_of_equal_joints_has_the_gradient_of_the_maximum(backend):
    poses = POSES[..., :1, :].repeat(1, 1, 1, 3, 1)
    settings = {"size": (9, 9), "mode": "grayscale", "joint_merge": "max"}
    gradient = gradient_of(poses, torch.ones(1, 1, 1, 9, 9), backend, **settings)
    assert gradient[..., 0, 2] > 1
    assert gradient[..., 1:, :].count_nonzero() == 0


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_ends_of_equal_scores_share_the_gradient(backend):
    poses = POSES.clone()
    poses[..., 2] = 0.7
    settings = {"size": (9, 9), "mode": "limb", "limbs": [(0, 1)]}
    scores = gradient_of(poses, torch.ones(1, 1, 1, 9, 9), backend, **settings)[0, 0, 0, :, 2]
    assert scores[0] > 1
    assert scores[0] == scores[1]
    assert scores[2] == 0


def test_gradients_of_any_strides_and_threads():
    generator = torch.Generator().manual_seed(0)
    poses = torch.rand(5, 2, 9, 6, 3, generator=generator) * torch.tensor([20.0, 16.0, 1.0])
    maps = render_heatmaps(poses, (16, 20))
    gradient = torch.randn(maps.shape, generator=generator)
    expected = gradient_of(poses, gradient, "native", size=(16, 20))
    permuted = gradient.permute(4, 2, 0, 3, 1).contiguous().permute(2, 4, 1, 3, 0)
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            assert torch.equal(gradient_of(poses, permuted, "native", size=(16, 20)), expected)
    finally:
        torch.set_num_threads(before)
    expanded = gradient_of(poses, torch.ones(()).expand(maps.shape), "native", size=(16, 20))
    assert torch.equal(expanded, gradient_of(poses, torch.ones(maps.shape), "native", size=(16, 20)))
    assert torch.equal(
        gradient_of(poses.flip(0), gradient.flip(0), "native", size=(16, 20)).flip(0), expected
    )


@pytest.mark.parametrize("shape", [(0, 2, 4, 3), (2, 0, 4, 3), (2, 1, 0, 3)], ids=str)
def test_empty_inputs(shape):
    poses = torch.zeros(*shape, 3, requires_grad=True)
    render_heatmaps(poses, (5, 6)).sum().backward()
    assert poses.grad.shape == poses.shape


def test_a_gradient_of_half_keypoints():
    poses = POSES.half().requires_grad_()
    render_heatmaps(poses, (9, 9)).square().sum().backward()
    assert poses.grad.dtype == torch.half
    assert poses.grad.count_nonzero() > 0
