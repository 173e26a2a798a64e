"""Rendering, T = 24, 17 joints, 56 x 56, against NumPy, dense torch, and filling the same buffer.

The floor of a row is the faster of torch's fill_ and zero_ on the row's own buffer, on one thread.
"""

import time

import numpy as np
import peers_render
import pytest
import torch

from fastpose.ops import render_heatmaps

SIZE = (56, 56)
NUM_FRAMES, NUM_JOINTS = 24, 17
LIMBS = [(0, 1), (0, 2), (1, 3), (2, 4), (0, 5), (0, 6), (5, 7), (7, 9), (6, 8), (8, 10), (5, 11), (6, 12),
         (11, 13), (13, 15), (12, 14), (14, 16), (11, 12)]  # fmt: skip
BUFFERS = {  # (clips, dtype, memory format); 2 clips stay in the caches, 16 do not
    "fp32": (16, torch.float32, torch.contiguous_format),
    "bf16": (16, torch.bfloat16, torch.contiguous_format),
    "fp32 channels last": (16, torch.float32, torch.channels_last_3d),
    "bf16 channels last": (16, torch.bfloat16, torch.channels_last_3d),
    "fp32 in cache": (2, torch.float32, torch.contiguous_format),
    "bf16 in cache": (2, torch.bfloat16, torch.contiguous_format),
    "bf16 channels last in cache": (2, torch.bfloat16, torch.channels_last_3d),
}
MODES = {"heatmap": None, "grayscale": None, "limb": LIMBS}
PERSONS = {1: "one person", 2: "two persons"}


@pytest.fixture
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


one_thread = pytest.mark.parametrize("threads", [1], indirect=True)
both_threads = pytest.mark.parametrize("threads", [1, 2], indirect=True)


def make_poses(num_clips: int, persons: int) -> torch.Tensor:
    """[B, M, T, V, 3]: walking figures about 30 px high, every joint seen."""
    rng = np.random.default_rng(0)
    figure = rng.uniform(-15, 15, (num_clips, persons, 1, NUM_JOINTS, 2))
    path = rng.normal(0, 0.7, (num_clips, persons, NUM_FRAMES, 1, 2)).cumsum(2) + rng.uniform(18, 38, 2)
    jitter = rng.normal(0, 0.5, (num_clips, persons, NUM_FRAMES, NUM_JOINTS, 2))
    score = rng.uniform(0.4, 1, (num_clips, persons, NUM_FRAMES, NUM_JOINTS, 1))
    return torch.from_numpy(np.concatenate([figure + path + jitter, score], -1).astype(np.float32))


def make_buffer(name: str, channels: int = NUM_JOINTS) -> torch.Tensor:
    num_clips, dtype, memory_format = BUFFERS[name]
    shape = (num_clips, channels, NUM_FRAMES, *SIZE)
    return torch.zeros(shape, dtype=dtype).to(memory_format=memory_format).fill_(1)


def run(benchmark, function, group: str, clips: int, written: int, **extra_info) -> None:
    benchmark.group = f"render {group}"
    benchmark.extra_info.update(clips=clips, bytes=written, **extra_info)
    benchmark.pedantic(function, rounds=15, warmup_rounds=2)


@pytest.mark.parametrize("buffer", BUFFERS)
@both_threads
@pytest.mark.parametrize("persons", PERSONS)
def test_heatmap(benchmark, persons, threads, buffer):
    out = make_buffer(buffer)
    poses = make_poses(len(out), persons)
    render_heatmaps(poses, SIZE, dtype=out.dtype, out=out)
    expected = peers_render.heatmaps(poses[0].numpy(), SIZE)  # [T, V, H, W]
    tolerance = 1e-2 if out.dtype == torch.bfloat16 else 1e-5
    np.testing.assert_allclose(out[0].transpose(0, 1).float().numpy(), expected, tolerance, 1e-6)
    run(
        benchmark,
        lambda: render_heatmaps(poses, SIZE, dtype=out.dtype, out=out),
        PERSONS[persons],
        len(out),
        out.nbytes,
        case=buffer,
    )


@pytest.mark.parametrize("mode", ["grayscale", "limb"])
@both_threads
def test_other_modes(benchmark, threads, mode):
    out = make_buffer("fp32", 1 if mode == "grayscale" else len(LIMBS))
    poses = make_poses(len(out), 1)
    render_heatmaps(poses, SIZE, mode=mode, limbs=MODES[mode], out=out)
    if mode == "limb":
        expected = peers_render.limb_maps(poses[0].numpy(), SIZE, LIMBS)
    else:
        expected = peers_render.heatmaps(poses[0].numpy(), SIZE).sum(1, keepdims=True)
    np.testing.assert_allclose(out[0].transpose(0, 1).numpy(), expected, 1e-4, 1e-5)
    run(
        benchmark,
        lambda: render_heatmaps(poses, SIZE, mode=mode, limbs=MODES[mode], out=out),
        mode,
        len(out),
        out.nbytes,
    )


@pytest.mark.parametrize("buffer", BUFFERS)
@one_thread
@pytest.mark.parametrize("persons", PERSONS)
def test_fill(benchmark, persons, threads, buffer):
    out = make_buffer(buffer)

    def fill():
        out.fill_(0.5)

    run(benchmark, faster(fill, out.zero_), PERSONS[persons], len(out), out.nbytes, role="floor", case=buffer)


@pytest.mark.parametrize("mode", ["grayscale", "limb"])
@one_thread
def test_fill_of_other_modes(benchmark, threads, mode):
    out = make_buffer("fp32", 1 if mode == "grayscale" else len(LIMBS))
    run(benchmark, faster(lambda: out.fill_(0.5), out.zero_), mode, len(out), out.nbytes, role="floor")


def faster(first, second):
    def median_time(function) -> float:
        times = []
        for _ in range(9):
            start = time.perf_counter()
            function()
            times.append(time.perf_counter() - start)
        return sorted(times)[4]

    return min(first, second, key=median_time)


@pytest.mark.parametrize("group", ["one person", "two persons", "grayscale", "limb"])
@one_thread
def test_numpy_generator(benchmark, threads, group):
    num_clips = 4
    clips = make_poses(num_clips, 2 if group == "two persons" else 1).numpy()
    render = {
        "grayscale": lambda clip: peers_render.heatmaps(clip, SIZE).sum(1),
        "limb": lambda clip: peers_render.limb_maps(clip, SIZE, LIMBS),
    }.get(group, lambda clip: peers_render.heatmaps(clip, SIZE))
    written = sum(render(clip).nbytes for clip in clips)
    benchmark.group = f"render {group}"
    benchmark.extra_info.update(clips=num_clips, bytes=written, role="peer")
    benchmark.pedantic(lambda: [render(clip) for clip in clips], rounds=7, warmup_rounds=1)


@pytest.mark.parametrize("persons", PERSONS)
@one_thread
def test_dense_torch(benchmark, threads, persons):
    poses = make_poses(2, persons)
    maps = peers_render.dense_heatmaps(poses, SIZE)
    run(
        benchmark,
        lambda: peers_render.dense_heatmaps(poses, SIZE),
        PERSONS[persons],
        len(poses),
        maps.nbytes,
        case="fp32 in cache",
    )
