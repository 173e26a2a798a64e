"""Rendering, T = 24, 17 joints, 56 x 56, against NumPy, dense torch, and filling the same buffer.

Buffers have the memory format that models take. The peer draws a joint at a time; the strong one is the dense formula
in torch; both use one thread. The floor of a row is the faster of torch's fill_ and zero_ on a buffer like its own, on
as many threads.
"""

import time

import numpy as np
import peers_render
import pytest
import torch
from measuring import DTYPES, measure, volume_format

from fastpose.ops import render_heatmaps

SECTION = "draw, T = 24, 56×56"
THREADS = (1, 2)
SIZE = (56, 56)
NUM_FRAMES, NUM_JOINTS = 24, 17
LIMBS = [(0, 1), (0, 2), (1, 3), (2, 4), (0, 5), (0, 6), (5, 7), (7, 9), (6, 8), (8, 10), (5, 11), (6, 12),
         (11, 13), (13, 15), (12, 14), (14, 16), (11, 12)]  # fmt: skip
CLIPS = {"": 16, " in cache": 2}  # of a buffer: 2 stay in the caches, 16 do not
PERSONS = {"one person": 1, "two persons": 2}
MODES = {"grayscale": 1, "limb": len(LIMBS)}  # channels


def make_poses(num_clips: int, persons: int) -> torch.Tensor:
    """[B, M, T, V, 3]: walking figures about 30 px high, every joint seen."""
    rng = np.random.default_rng(0)
    figure = rng.uniform(-15, 15, (num_clips, persons, 1, NUM_JOINTS, 2))
    path = rng.normal(0, 0.7, (num_clips, persons, NUM_FRAMES, 1, 2)).cumsum(2) + rng.uniform(18, 38, 2)
    jitter = rng.normal(0, 0.5, (num_clips, persons, NUM_FRAMES, NUM_JOINTS, 2))
    score = rng.uniform(0.4, 1, (num_clips, persons, NUM_FRAMES, NUM_JOINTS, 1))
    return torch.from_numpy(np.concatenate([figure + path + jitter, score], -1).astype(np.float32))


def make_buffer(dtype: str, num_clips: int, channels: int = NUM_JOINTS) -> torch.Tensor:
    shape = (num_clips, channels, NUM_FRAMES, *SIZE)
    return torch.zeros(shape, dtype=DTYPES[dtype]).to(memory_format=volume_format(dtype)).fill_(1)


def run(benchmark, function, case: str, like: torch.Tensor, **info) -> None:
    measure(benchmark, function, SECTION, case=case, clips=len(like), bytes=like.nbytes, seconds=0.2, **info)


@pytest.mark.parametrize("where", CLIPS)
@pytest.mark.parametrize("persons", PERSONS)
def test_heatmap(benchmark, persons, where, threads, dtype):
    out = make_buffer(dtype, CLIPS[where])
    poses = make_poses(len(out), PERSONS[persons])
    render_heatmaps(poses, SIZE, dtype=out.dtype, out=out)
    expected = peers_render.heatmaps(poses[0].numpy(), SIZE)  # [T, V, H, W]
    tolerance = 1e-2 if out.dtype == torch.bfloat16 else 1e-5
    np.testing.assert_allclose(out[0].transpose(0, 1).float().numpy(), expected, tolerance, 1e-6)
    row = f"{persons}{where} {dtype} T{threads}"
    draw = lambda: render_heatmaps(poses, SIZE, dtype=out.dtype, out=out)  # noqa: E731
    run(benchmark, draw, persons + where, out, row=row, dtype=dtype)


@pytest.mark.parametrize("mode", MODES)
def test_other_modes(benchmark, threads, mode):
    out = make_buffer("fp32", 16, MODES[mode])
    poses = make_poses(len(out), 1)
    limbs = LIMBS if mode == "limb" else None
    render_heatmaps(poses, SIZE, mode=mode, limbs=limbs, out=out)
    if mode == "limb":
        expected = peers_render.limb_maps(poses[0].numpy(), SIZE, LIMBS)
    else:
        expected = peers_render.heatmaps(poses[0].numpy(), SIZE).sum(1, keepdims=True)
    np.testing.assert_allclose(out[0].transpose(0, 1).numpy(), expected, 1e-4, 1e-5)
    draw = lambda: render_heatmaps(poses, SIZE, mode=mode, limbs=limbs, out=out)  # noqa: E731
    run(benchmark, draw, mode, out, row=f"{mode} fp32 T{threads}", dtype="fp32")


@pytest.mark.parametrize("group", [*PERSONS, *MODES])
def test_numpy_generator(benchmark, group):
    torch.set_num_threads(1)
    clips = make_poses(4, PERSONS.get(group, 1)).numpy()
    render = {
        "grayscale": lambda clip: peers_render.heatmaps(clip, SIZE).sum(1),
        "limb": lambda clip: peers_render.limb_maps(clip, SIZE, LIMBS),
    }.get(group, lambda clip: peers_render.heatmaps(clip, SIZE))
    drawn = torch.from_numpy(np.stack([render(clip) for clip in clips]))
    case = [group + where for where in CLIPS]
    run(benchmark, lambda: [render(clip) for clip in clips], case, drawn, who="peer", row=f"{group} fp32 T1")


@pytest.mark.parametrize("persons", PERSONS)
def test_dense_torch(benchmark, persons):
    torch.set_num_threads(1)
    poses = make_poses(2, PERSONS[persons])
    maps = peers_render.dense_heatmaps(poses, SIZE)
    case = [persons + where for where in CLIPS]
    draw = lambda: peers_render.dense_heatmaps(poses, SIZE)  # noqa: E731
    run(benchmark, draw, case, maps, who="strong", row=f"{persons} fp32 T1")


@pytest.mark.parametrize("where", CLIPS)
def test_fill(benchmark, where, threads, dtype):
    case = [persons + where for persons in PERSONS]
    measure_fill(benchmark, make_buffer(dtype, CLIPS[where]), case, f"fill{where}", dtype, threads)


@pytest.mark.parametrize("mode", MODES)
def test_fill_of_other_modes(benchmark, threads, mode):
    out = make_buffer("fp32", 16, MODES[mode])
    measure_fill(benchmark, out, mode, f"fill {mode}", "fp32", threads)


def measure_fill(benchmark, out: torch.Tensor, case, name: str, dtype: str, threads: int) -> None:
    fill = faster(lambda: out.fill_(0.5), out.zero_)
    run(benchmark, fill, case, out, role="floor", row=f"{name} {dtype} T{threads}", dtype=dtype)


def faster(first, second):
    def median_time(function) -> float:
        times = []
        for _ in range(9):
            start = time.perf_counter()
            function()
            times.append(time.perf_counter() - start)
        return sorted(times)[4]

    return min(first, second, key=median_time)
