"""Rendering on a GPU, T = 24, 17 joints, 56 x 56, against dense torch and filling the same buffer.

A call is timed inside a CUDA graph that renders several batches in turn, so that launches and caches do not
flatter it; the floor of a row is torch's fill_ of the row's own buffers, timed alike.
"""

import peers_render
import pytest
import torch
from bench_render import LIMBS, MODES, NUM_FRAMES, NUM_JOINTS, SIZE, make_poses

from fastpose.ops import render_heatmaps

pytestmark = pytest.mark.gpu
if not torch.cuda.is_available():
    pytest.skip("no CUDA device", allow_module_level=True)

BATCHES = 4  # rendered in turn
CASES = {
    "fp32": (torch.float32, torch.contiguous_format),
    "bf16": (torch.bfloat16, torch.contiguous_format),
    "fp32 channels last": (torch.float32, torch.channels_last_3d),
    "bf16 channels last": (torch.bfloat16, torch.channels_last_3d),
}
CHANNELS = {"heatmap": NUM_JOINTS, "grayscale": 1, "limb": len(LIMBS)}


def make_batches(mode, case, clips, persons):
    dtype, memory_format = CASES[case]
    shape = (clips, CHANNELS[mode], NUM_FRAMES, *SIZE)
    outs = [
        torch.empty(shape, dtype=dtype, device="cuda", memory_format=memory_format) for _ in range(BATCHES)
    ]
    poses = make_poses(clips, persons).cuda()
    return [poses.roll(i, 0) for i in range(BATCHES)], outs


def as_graph(function, *lists):
    """A call that replays ``function`` over the batches, once each, and waits."""
    for arguments in zip(*lists, strict=True):
        function(*arguments)  # compiles
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for arguments in zip(*lists, strict=True):
            function(*arguments)

    def replay():
        graph.replay()
        torch.cuda.synchronize()

    return replay


def run(benchmark, replay, group, clips, written, **extra_info):
    benchmark.group = f"render on GPU: {group}"
    benchmark.extra_info.update(
        clips=BATCHES * clips, bytes=BATCHES * written, device=torch.cuda.get_device_name(), **extra_info
    )
    benchmark.pedantic(replay, rounds=30, warmup_rounds=5)


@pytest.mark.parametrize("clips", [64, 256])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("persons", [1, 2])
@pytest.mark.parametrize("mode", MODES)
def test_render(benchmark, mode, persons, case, clips):
    if mode == "grayscale" and "channels last" in case:
        pytest.skip("one channel: both orders are one")
    poses, outs = make_batches(mode, case, clips, persons)
    dtype = CASES[case][0]
    replay = as_graph(
        lambda x, out: render_heatmaps(x, SIZE, mode=mode, limbs=MODES[mode], dtype=dtype, out=out),
        poses,
        outs,
    )
    replay()
    expected = render_heatmaps(poses[0][:2].cpu(), SIZE, mode=mode, limbs=MODES[mode], backend="reference")
    torch.testing.assert_close(outs[0][:2].cpu().float(), expected, rtol=1e-2, atol=1e-4)
    note = f"{persons} person(s)"
    run(benchmark, replay, mode, clips, outs[0].nbytes, case=f"{case} {clips}", note=note)


@pytest.mark.parametrize("clips", [64, 256])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("mode", MODES)
def test_fill(benchmark, mode, case, clips):
    if mode == "grayscale" and "channels last" in case:
        pytest.skip("one channel: both orders are one")
    _, outs = make_batches(mode, case, clips, 1)
    replay = as_graph(lambda out: out.fill_(0.5), outs)
    run(benchmark, replay, mode, clips, outs[0].nbytes, role="floor", case=f"{case} {clips}")


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("persons", [1, 2])
def test_dense_torch(benchmark, persons, compiled):
    clips = 64
    poses, outs = make_batches("heatmap", "fp32", clips, persons)
    dense = torch.compile(peers_render.dense_heatmaps) if compiled else peers_render.dense_heatmaps
    replay = as_graph(lambda x, out: out.copy_(dense(x, SIZE)), poses, outs)
    run(benchmark, replay, "heatmap", clips, outs[0].nbytes, role="peer", note=f"{persons} person(s)")


def test_numpy_generator(benchmark):
    poses = make_poses(4, 1).numpy()
    benchmark.group = "render on GPU: heatmap"
    benchmark.extra_info.update(clips=4, bytes=4 * NUM_JOINTS * NUM_FRAMES * SIZE[0] * SIZE[1] * 4, role="peer",
                                case="one core of the host")  # fmt: skip
    benchmark.pedantic(
        lambda: [peers_render.heatmaps(clip, SIZE) for clip in poses], rounds=5, warmup_rounds=1
    )
