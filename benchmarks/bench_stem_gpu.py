"""First convolutions on a GPU, T = 24, 17 joints, 56 x 56, from the keypoints, beside cuDNN's on heatmaps in memory.

A call is timed inside a CUDA graph that takes several batches in turn, so that launches and caches do not flatter
it. cuDNN chooses its fastest algorithm for each layout and number format; the floor is torch's fill_ of the output,
and for the weight's gradient reading the output's gradient once.
"""

import pytest
import torch
from bench_render import make_poses
from bench_render_gpu import as_graph
from bench_stem import PASSES, STEMS

from fastpose.ops import pose_stem, render_heatmaps

pytestmark = pytest.mark.gpu
if not torch.cuda.is_available():
    pytest.skip("no CUDA device", allow_module_level=True)

BATCHES, SIZE = 4, (56, 56)  # batches are taken in turn
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
FORMATS = {"contiguous": torch.contiguous_format, "channels last": torch.channels_last_3d}


@pytest.fixture(autouse=True)
def _cudnn_searches():
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    yield
    torch.backends.cudnn.benchmark = before


def make_case(stem, clips, persons):
    channels, kernel, stride, padding = STEMS[stem]
    torch.manual_seed(0)
    poses = make_poses(clips, persons).cuda()
    weight = torch.randn(channels, poses.shape[3], *kernel, device="cuda")
    return [poses.roll(i, 0) for i in range(BATCHES)], weight, stride, padding


def run(benchmark, replay, stem, direction, clips, volume, **extra_info):
    benchmark.group = f"stem of {stem} on GPU, {direction}, {clips} clips"
    benchmark.extra_info.update(
        clips=BATCHES * clips, bytes=BATCHES * volume.nbytes, device=torch.cuda.get_device_name(), **extra_info
    )  # fmt: skip
    benchmark.pedantic(replay, rounds=30, warmup_rounds=5)


@pytest.mark.parametrize("clips", [64, 256])
@pytest.mark.parametrize("case", DTYPES)
@pytest.mark.parametrize("persons", [1, 2])
@pytest.mark.parametrize("direction", PASSES)
@pytest.mark.parametrize("stem", STEMS)
def test_stem(benchmark, stem, direction, persons, case, clips):
    poses, weight, stride, padding = make_case(stem, clips, persons)

    def forward(x):
        return pose_stem(x, weight, SIZE, stride=stride, padding=padding, dtype=DTYPES[case])

    volume = forward(poses[0])
    expected = pose_stem(
        poses[0][:2].cpu(), weight.cpu(), SIZE, stride=stride, padding=padding, backend="reference"
    )
    torch.testing.assert_close(volume[:2].cpu().float(), expected, rtol=1e-2, atol=1e-2)
    gradients = [torch.randn_like(volume) for _ in range(BATCHES)]
    settings = (SIZE, 0.6, "heatmap", [], stride, padding)

    def weight_gradient(x, gradient):
        return torch.ops.fastpose.pose_stem_weight_gradient(gradient, x, weight, *settings)

    replay = (
        as_graph(forward, poses) if direction == "forward" else as_graph(weight_gradient, poses, gradients)
    )
    run(benchmark, replay, stem, direction, clips, volume, case=case, note=f"{persons} person(s)")


@pytest.mark.parametrize("clips", [64, 256])
@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("direction", PASSES)
@pytest.mark.parametrize("stem", STEMS)
def test_cudnn(benchmark, stem, direction, dtype, layout, clips):
    poses, weight, stride, padding = make_case(stem, clips, 1)
    maps = [render_heatmaps(x, SIZE, dtype=DTYPES[dtype], memory_format=FORMATS[layout]) for x in poses]
    weight = weight.to(DTYPES[dtype], memory_format=FORMATS[layout])

    def forward(x):
        return torch.nn.functional.conv3d(x, weight, None, stride, padding)

    volume = forward(maps[0])
    gradients = [torch.randn_like(volume) for _ in range(BATCHES)]

    def weight_gradient(x, gradient):
        one, none = (1, 1, 1), (0, 0, 0)
        return torch.ops.aten.convolution_backward(
            gradient, x, weight, None, stride, padding, one, False, none, 1, (False, True, False)
        )

    replay = as_graph(forward, maps) if direction == "forward" else as_graph(weight_gradient, maps, gradients)
    run(benchmark, replay, stem, direction, clips, volume, role="peer", note=f"{dtype} {layout}")


@pytest.mark.parametrize("clips", [64, 256])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("direction", PASSES)
@pytest.mark.parametrize("stem", STEMS)
def test_floor(benchmark, stem, direction, dtype, clips):
    poses, weight, stride, padding = make_case(stem, clips, 1)
    volumes = [pose_stem(x, weight, SIZE, stride=stride, padding=padding, dtype=DTYPES[dtype]) for x in poses]
    replay = as_graph(lambda x: x.fill_(0.5) if direction == "forward" else x.sum(), volumes)
    run(benchmark, replay, stem, direction, clips, volumes[0], role="floor", case=dtype)
