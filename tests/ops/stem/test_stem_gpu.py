"""The stem's kernels on a GPU."""

import pytest
import torch
from support.stem import MODES, error, make_case, results

from fastpose.ops import pose_stem

pytestmark = pytest.mark.gpu

TOLERANCE = {torch.float32: 5e-4, torch.float16: 1e-3, torch.bfloat16: 1e-2}
STEMS = {  # shape, size, kernel, output channels, stride
    "SlowOnly": ((3, 2, 24, 17), (56, 56), (1, 7, 7), 32, 1),
    "X3D": ((3, 2, 24, 17), (56, 56), (1, 3, 3), 24, (1, 2, 2)),
    "C3D": ((2, 1, 8, 17), (56, 56), (3, 3, 3), 32, 1),
    "odd": ((2, 3, 5, 13), (63, 123), (2, 4, 5), 40, (2, 1, 3)),
    "small": ((5, 3, 7, 5), (7, 7), (1, 7, 7), 3, 1),
    "one pixel": ((2, 6, 3, 3), (1, 1), (1, 3, 3), 1, 1),
}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("stem", STEMS)
def test_output_and_gradients(stem, mode, dtype):
    shape, size, kernel, out_channels, stride = STEMS[stem]
    keypoints, weight, arguments = make_case(mode, shape, size, kernel, out_channels)
    truths = results(
        keypoints.double(), weight.double(), dtype, "reference", stride=stride, dtype=torch.float64, **arguments
    )  # fmt: skip
    runs = [
        results(keypoints.cuda(), weight.cuda(), dtype, "triton", stride=stride, dtype=dtype, **arguments)
        for _ in range(2)
    ]
    assert runs[0][0].is_contiguous(memory_format=torch.channels_last_3d)
    for name, first, second, truth in zip(("output", "keypoints", "weight"), *runs, truths, strict=True):
        assert torch.equal(first, second), name
        assert error(first, truth) <= (TOLERANCE[dtype] if name == "output" else 5e-4), name


@pytest.mark.parametrize(
    ("dtype", "limit"), [(torch.float32, 2e-6), (torch.float16, 5e-4), (torch.bfloat16, 2e-3)]
)
def test_operands_of_11_bits_cost_little(dtype, limit):
    keypoints, weight, arguments = make_case("heatmap", (2, 2, 8, 17), (56, 56), (1, 7, 7), 32)
    found = pose_stem(keypoints.cuda(), weight.cuda(), dtype=dtype, backend="triton", **arguments)
    truth = pose_stem(keypoints.double(), weight.double(), backend="reference", **arguments)
    assert error(found, truth) <= limit


@pytest.mark.parametrize(
    "settings", [{"mode": "limb", "limbs": [(0, 1), (1, 2)]}, {"mode": "grayscale", "joint_merge": "max"}], ids=str
)  # fmt: skip
def test_what_is_better_drawn_is(settings):
    channels = 2 if settings["mode"] == "limb" else 1
    keypoints = make_case("heatmap", (2, 2, 4, 3), (56, 56), (1, 3, 3), 8)[0].cuda()
    weight = torch.randn(8, channels, 1, 3, 3, device="cuda")
    found = pose_stem(keypoints, weight, **settings)
    truth = pose_stem(keypoints.double(), weight.double(), **settings)
    assert error(found, truth.cpu()) <= 2e-3  # torch's convolution may take TF32


def test_more_elements_than_32_bits_count():
    keypoints = torch.zeros(1, 1, 130, 2, 3, device="cuda")
    keypoints[0, 0, -1, -1] = torch.tensor([1021.0, 1022.0, 0.5])
    weight = torch.ones(17, 2, 1, 1, 1, device="cuda", requires_grad=True)
    output = pose_stem(keypoints, weight, (1024, 1024), dtype=torch.bfloat16)
    assert output.numel() > 2**31
    assert output[0, -1, -1, 1022, 1021].item() == 0.5
    assert output[0, 0, -1, 1020:, 1019:].sum(dtype=torch.float32) == output[0, 0].sum(dtype=torch.float32)
    output[0, -1, -1, 1022, 1021].backward()
    assert weight.grad[-1, -1].item() == 0.5
    assert weight.grad.count_nonzero() == 1


def test_rows_of_more_elements_than_32_bits_count():
    keypoints = torch.tensor([1e6, 0.0, 0.5], device="cuda").reshape(1, 1, 1, 1, 3)
    weight = torch.ones(130, 1, 1, 1, 1, device="cuda", requires_grad=True)
    output = pose_stem(keypoints, weight, (1, 2**24), dtype=torch.bfloat16)
    assert output.numel() > 2**31
    output[0, -1, 0, 0, 1_000_000].backward()
    assert weight.grad[-1].item() == 0.5
    assert weight.grad.count_nonzero() == 1


def test_compiles_whole_and_replays_as_a_graph():
    keypoints, weight, arguments = make_case("heatmap", (4, 2, 8, 17), (56, 56), (1, 7, 7), 32)
    keypoints, weight = keypoints.cuda(), weight.cuda()
    expected = pose_stem(keypoints, weight, **arguments)
    compiled = torch.compile(lambda x: pose_stem(x * 1.0, weight, **arguments) + 1, fullgraph=True)
    assert torch.equal(compiled(keypoints), expected + 1)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = pose_stem(keypoints, weight, **arguments)
    output.zero_()
    graph.replay()
    assert torch.equal(output, expected)


def test_wrong_devices_are_named():
    keypoints = torch.zeros(1, 1, 1, 2, 3, device="cuda")
    with pytest.raises(ValueError, match="keypoints are on cuda:0, but weight on cpu"):
        pose_stem(keypoints, torch.ones(1, 2, 1, 1, 1))
    with pytest.raises(ValueError, match="backend='native' runs on the CPU"):
        pose_stem(keypoints, torch.ones(1, 2, 1, 1, 1, device="cuda"), backend="native")
