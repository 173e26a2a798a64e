"""The renderer's kernels on a GPU."""

import math

import pytest
import torch
from torch.testing import assert_close

from fastpose.ops import render_heatmaps

pytestmark = pytest.mark.gpu

TOLERANCE = {torch.float32: 5e-4, torch.float16: 1e-3, torch.bfloat16: 1e-2}
MODES = [
    {"mode": "heatmap"},
    {"mode": "grayscale", "joint_merge": "sum"},
    {"mode": "grayscale", "joint_merge": "max"},
    {"mode": "limb", "limbs": [(0, 2), (2, 1), (1, 0), (1, 1)]},
]
FORMATS = [torch.contiguous_format, torch.channels_last_3d]


def random_poses(shape, size, seed=0):
    generator = torch.Generator().manual_seed(seed)
    height, width = size
    xy = torch.rand(*shape, 2, generator=generator) * torch.tensor([width + 8.0, height + 8.0]) - 4
    score = torch.rand(*shape, 1, generator=generator)
    poses = torch.cat([xy, torch.where(score < 0.1, 0, score)], -1)
    damage = torch.rand(*shape, 3, generator=generator)
    for bound, value in ((0.003, math.nan), (0.006, math.inf), (0.009, 3e38)):
        poses = torch.where((damage < bound) & (damage >= bound - 0.003), value, poses)
    return poses


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(
    "arguments", MODES, ids=lambda arguments: "-".join(map(str, arguments.values()))[:13]
)
@pytest.mark.parametrize(
    ("shape", "size"),
    [((4, 2, 24, 17), (56, 56)), ((3, 1, 5, 13), (63, 123)), ((5, 3, 7, 25), (7, 7)), ((2, 6, 3, 3), (1, 1)),
     ((1, 2, 3, 3), (500, 257)), ((33, 2, 3, 5), (64, 64))],
    ids=str,
)  # fmt: skip
def test_maps_and_gradients(shape, size, arguments, dtype, memory_format):
    poses = random_poses(shape, size)
    free = poses.double().requires_grad_()
    truth = render_heatmaps(free, size, **arguments, dtype=torch.float64, backend="reference")
    gradient = torch.randn(truth.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    (expected,) = torch.autograd.grad(truth, free, gradient.double())
    on_device = poses.cuda().requires_grad_()
    maps = render_heatmaps(on_device, size, **arguments, dtype=dtype, memory_format=memory_format)
    assert maps.is_contiguous(memory_format=memory_format)
    assert_close(maps.detach().cpu().double(), truth.detach(), rtol=TOLERANCE[dtype], atol=1e-5)
    gradient = gradient.cuda().to(memory_format=memory_format)
    results = [torch.autograd.grad(maps, on_device, gradient, retain_graph=True)[0] for _ in range(2)]
    assert torch.equal(*results)
    assert_close(
        results[0].cpu().double(), expected, rtol=1e-4, atol=1e-4 * expected.abs().amax().item() + 1e-6
    )
    out = torch.full_like(maps, math.nan)
    render_heatmaps(poses.cuda(), size, **arguments, dtype=dtype, out=out)
    assert torch.equal(out, maps)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_16_bit_results_are_rounded_once(dtype):
    poses = random_poses((2, 2, 8, 17), (56, 56)).cuda()
    assert torch.equal(render_heatmaps(poses, dtype=dtype), render_heatmaps(poses).to(dtype))


@pytest.mark.parametrize("memory_format", FORMATS)
def test_more_elements_than_32_bits_count(memory_format):
    poses = torch.zeros(1, 1, 130, 17, 3, device="cuda")
    poses[0, 0, -1, -1] = torch.tensor([1021.0, 1022.0, 0.5])
    arguments = {"size": (1024, 1024), "dtype": torch.bfloat16, "memory_format": memory_format}
    maps = render_heatmaps(poses.requires_grad_(), **arguments)
    assert maps.numel() > 2**31
    assert maps[0, -1, -1, 1022, 1021].item() == 0.5
    assert maps[0, -1, -1, 1020:, 1019:].sum() == maps.sum(dtype=torch.float32).bfloat16()
    maps[0, -1, -1, 1022, 1021].backward()
    assert poses.grad[0, 0, -1, -1, 2] == 1
    assert poses.grad.count_nonzero() == 1


def test_compiles_whole_and_replays_as_a_graph():
    poses = random_poses((4, 2, 8, 17), (56, 56)).cuda()
    expected = render_heatmaps(poses)
    compiled = torch.compile(lambda x: render_heatmaps(x * 1.0) + 1, fullgraph=True)
    assert torch.equal(compiled(poses), expected + 1)
    out = torch.empty_like(expected)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        render_heatmaps(poses, out=out)
    out.fill_(math.nan)
    graph.replay()
    assert torch.equal(out, expected)


def test_wrong_devices_are_named():
    poses = torch.zeros(1, 1, 1, 2, 3, device="cuda")
    with pytest.raises(ValueError, match="out must be on cuda:0, got cpu"):
        render_heatmaps(poses, (4, 4), out=torch.zeros(1, 2, 1, 4, 4))
    with pytest.raises(ValueError, match="backend='native' runs on the CPU"):
        render_heatmaps(poses, (4, 4), backend="native")
    with pytest.raises(ValueError, match="does not write torch.float64"):
        render_heatmaps(poses, (4, 4), backend="triton", dtype=torch.float64)
