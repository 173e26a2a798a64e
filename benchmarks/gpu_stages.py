"""Stages of gpu_session.py, each a process of its own: python benchmarks/gpu_stages.py training | kernels | steps."""

import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import torch

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

from support.clips import waving_clips

from fastpose.prediction import Predictor
from fastpose.settings import DataConfig, EvalConfig, LossConfig, ModelConfig, OptimConfig, RunConfig
from fastpose.training.setup import Setup
from fastpose.training.trainer import Trainer

MODELS = {
    "skeleton": ModelConfig(),
    "heatmap": ModelConfig(input="heatmap"),
    "limb": ModelConfig(input="limb"),
    "x3d": ModelConfig(model="x3d_shallow", input="heatmap"),
    "dct_mlp": ModelConfig(model="dct_mlp"),
    "motionbert": ModelConfig(model="motionbert"),
}
LOSS = LossConfig(gamma1=1.0, gamma2=0.3, sup_thresh=1)
CLIPS = 96  # 64 of them to train on: not a multiple of the batch


def config_of(name: str, device: str = "cuda", **optim) -> RunConfig:
    optim = {"batch_size": 9, "epochs": 5, "ema": 0.99, "val_every": 2, **optim}
    return RunConfig(
        arm="contrastive", model=MODELS[name], loss=LOSS, data=DataConfig(val_clips=6),
        optim=OptimConfig(device=device, **optim), eval=EvalConfig(alphas=(0.0, 0.1), num_clips=2, flip_test=True),
    )  # fmt: skip


def training(names: Iterable[str] = MODELS, device: str = "cuda") -> None:
    """Train, validate, measure and predict with each model; list what was warned of and which graphs there are."""
    for name in names:
        started = time.monotonic()
        packed = waving_clips(CLIPS)
        with warnings.catch_warnings(record=True) as seen, tempfile.TemporaryDirectory() as folder:
            warnings.simplefilter("always")
            trainer = Trainer(Setup(config_of(name, device), packed), Path(folder), quiet=True)
            trainer.fit()
            curve = trainer.measure()
            predictions = Predictor.load(folder, device=device).predict(packed.subset(np.arange(4)))
        step = trainer.setup.step
        graphs = getattr(step._take, "_graphs", {})
        failed = len(getattr(step._take, "failed", ())) + bool(getattr(step._objective, "failed", False))
        top1 = ", ".join(f"{accuracy.top1_percent:.0f} % at {alpha:g}" for alpha, accuracy in curve.items())
        print(f"{name}: top-1 {top1}; {len(predictions)} clips predicted; {len(graphs)} graphs, {failed} failures; "
              f"{time.monotonic() - started:.0f} s")  # fmt: skip
        for text in sorted({str(warning.message)[:200] for warning in seen}):
            print(f"  warned: {text}")


def kernels() -> None:
    """Time kernels in CUDA graphs beside the rates of copying and of multiplying matrices."""
    copy, product = _rates()
    print(f"copy {copy / 1e12:.2f} TB/s, bf16 products {product / 1e12:.0f} TFLOP/s")
    for persons in (1, 2):
        for name, (call, moved) in _drawing_calls(persons).items():
            seconds = _seconds(call)
            share = 100 * moved / seconds / copy
            print(f"{name}, 64 clips of {persons}: {1e6 * seconds:.0f} us, {share:.0f} % of the copy's rate")
    for count, width in ((32, 512), (4096, 128), (16384, 128), (4096, 2048)):
        for name, call in _loss_calls(count, width).items():
            seconds = _seconds(call, 4)
            share = 100 * 24 * count**2 * width / seconds / product
            compared = f", {share:.0f} % of the products' rate" if name == "contrastive loss" else ""
            print(f"{name} of {count} x {width}, both directions: {1e6 * seconds:.0f} us{compared}")


def _seconds(function: Callable[[], object], times: int = 10) -> float:
    """Return the median time of one call, of ``times`` in one CUDA graph."""
    from triton.testing import do_bench

    function()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(times):
            function()
    return 1e-3 * do_bench(graph.replay, return_mode="median") / times


def _rates() -> tuple[float, float]:
    """Return the bytes that a copy reads and writes, and the operations of a product in bf16, in a second."""
    numbers = torch.empty(2**30, dtype=torch.bfloat16, device="cuda").normal_()
    others = torch.empty_like(numbers)
    matrix = numbers.view(-1, 8192)[:8192]
    copy = 2 * numbers.nbytes / _seconds(lambda: others.copy_(numbers), 1)
    return copy, 2 * 8192**3 / _seconds(lambda: matrix @ matrix, 1)


def _drawing_calls(persons: int) -> dict[str, tuple[Callable[[], object], int]]:
    """Return what draws or convolves 64 clips in bf16, channels last, and the fewest bytes that it can move."""
    from bench_render import make_poses
    from bench_stem import STEMS

    from fastpose.ops import pose_stem, render_heatmaps

    channels, kernel, stride, padding = STEMS["SlowOnly"]
    poses = make_poses(64, persons).cuda()
    weight = torch.randn(channels, poses.shape[3], *kernel, device="cuda")
    inputs = poses.clone().requires_grad_(), weight.clone().requires_grad_()
    like = {"dtype": torch.bfloat16, "memory_format": torch.channels_last_3d}
    maps, narrow = render_heatmaps(poses, **like), weight.to(**like)

    def stem(poses: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return pose_stem(poses, weight, stride=stride, padding=padding, dtype=torch.bfloat16)

    volume = stem(*inputs)
    gradient, filled = torch.randn_like(volume), torch.empty_like(volume)

    def gradients() -> object:
        return torch.autograd.grad(volume, inputs, gradient, retain_graph=True)

    def convolve() -> torch.Tensor:
        return torch.nn.functional.conv3d(maps, narrow, None, stride, padding)

    return {
        "fill": (lambda: filled.fill_(0.5), volume.nbytes),
        "stem": (lambda: stem(poses, weight), volume.nbytes),
        "stem's gradients": (gradients, 2 * volume.nbytes),
        "render": (lambda: render_heatmaps(poses, **like), maps.nbytes),
        "cuDNN's convolution of the maps": (convolve, volume.nbytes + maps.nbytes),
    }


def _loss_calls(count: int, width: int) -> dict[str, Callable[[], object]]:
    from fastpose.ops import contrastive_loss, group_contrastive_loss

    rows = [
        torch.randn(count, width, device="cuda", dtype=torch.bfloat16, requires_grad=True) for _ in range(2)
    ]
    labels = torch.arange(count, device="cuda") % 120
    return {
        "contrastive loss": lambda: torch.autograd.grad(contrastive_loss(*rows, 0.1, True), rows),
        "group loss": lambda: torch.autograd.grad(group_contrastive_loss(*rows, labels, 120), rows),
    }


def steps() -> None:
    """Time steps with and without graph and compiler; count what the device does, and how long it is busy."""
    for name in MODELS:
        for compile, graph in (("on", "auto"), ("on", "off"), ("off", "auto"), ("off", "off")):
            label = f"{name}, compile {compile}, graph {graph}"
            try:
                config = config_of(name, batch_size=32, compile=compile, cuda_graph=graph)
                setup = Setup(config, waving_clips(CLIPS))
                print(f"{label}: {_time_steps(setup)}")
            except Exception as error:
                print(f"{label}: FAILED, {type(error).__name__}: {str(error)[-300:]}")
            torch.cuda.empty_cache()


def _time_steps(setup: Setup) -> str:
    setup.model.train()
    views = list(_views(setup, 6))
    for each in views:
        setup.step(each, 1, 1e-3)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    started = time.perf_counter()
    for each in views * 5:
        setup.step(each, 1, 1e-3)
    torch.cuda.synchronize()
    step_ms = 1e3 * (time.perf_counter() - started) / (5 * len(views))
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        setup.step(views[0], 1, 1e-3)
        torch.cuda.synchronize()
    events = [event for event in profile.events() if event.device_type == torch.autograd.DeviceType.CUDA]
    busy_ms = sum(event.device_time for event in events) / 1e3
    peak = torch.cuda.max_memory_allocated() / 1e9
    share = 100 * busy_ms / step_ms
    return f"{step_ms:.2f} ms, {len(events)} device operations, {share:.0f} % busy, peak {peak:.1f} GB"


def _views(setup: Setup, count: int) -> Iterator[dict]:
    device = setup.placement.device
    for epoch in range(count):
        drawn = setup.draw(np.resize(setup.train_indices, setup.config.optim.batch_size), epoch)
        yield {view: batch.to(device) for view, batch in drawn.items()}


if __name__ == "__main__":
    try:
        {"training": training, "kernels": kernels, "steps": steps}[sys.argv[1]]()
    except Exception:
        traceback.print_exc()
        sys.exit(1)
