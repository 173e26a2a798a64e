"""The training step, data included: skeleton, heatmap and grayscale, supervised and contrastive.

The peer trains the same network on the same clips as today's toolboxes do: fp32, heatmaps drawn in NumPy. The strong
one has channels_last_3d or, on skeletons, the kernels' centre taps, and keeps freed memory. The floor is the matrix
rate, for the convolutions without the stem.
"""

import numpy as np
import peers_train
import pytest
import torch
import torch.nn.functional as F
from measuring import measure, measure_products, size_name

from fastpose.data import LAYOUTS, PackedClips, PoseClip
from fastpose.settings import DataConfig, ModelConfig, OptimConfig, RunConfig
from fastpose.training.setup import Setup
from fastpose.training.trainer import Trainer

SECTION = "training step, data included"
NUM_CLASSES = 60
SIZES = {"skeleton": [(64, None)], "heatmap": [(8, None)], "grayscale": [(4, None)]}
CHANNELS = {"skeleton": 34, "heatmap": 17, "grayscale": 1}
PARAMETERS = {"heatmap": 2_024_860}
STEP_FLOP = {"skeleton": 137e6, "heatmap": 35e9, "grayscale": 35e9}  # per clip, forward and backward


def make_clips(count: int) -> list[PoseClip]:
    """One person of COCO-17 walking through 1920×1080 for 60 to 120 frames."""
    rng = np.random.default_rng(0)
    clips = []
    for i in range(count):
        frames = int(rng.integers(60, 120))
        figure = rng.uniform(-200, 200, (1, 1, 17, 2)) + np.array([960, 540])
        path = rng.normal(0, 3, (1, frames, 1, 2)).cumsum(1)
        jitter = rng.normal(0, 2, (1, frames, 17, 2))
        clips.append(
            PoseClip(
                name=f"walk{i}",
                keypoints=(figure + path + jitter).astype(np.float32),
                scores=np.ones((1, frames, 17), np.float32),
                label=i % NUM_CLASSES,
                image_size=(1080, 1920),
            )
        )
    return clips


def fastpose_step(clips: list[PoseClip], kind: str, arm: str, dtype: str, folder):
    """Return what trains on all clips once, and gives the loss."""
    splits = {name: [clip.name for clip in clips] for name in ("train", "test")}
    packed = PackedClips.from_clips(clips, layout=LAYOUTS["coco17"], class_names=NUM_CLASSES, splits=splits)
    config = RunConfig(
        arm=arm,
        data=DataConfig(),
        model=ModelConfig(input=kind),
        optim=OptimConfig(batch_size=len(clips), device="cpu", precision=dtype),
    )
    trainer = Trainer(Setup(config, packed), folder, quiet=True)
    trainer.setup.model.train()

    def step() -> float:
        batches = next(trainer.batches(epoch=0))
        return float(trainer.setup.step(batches, epoch=0, rate=1e-3)["loss"])

    return step


def peer_step(clips: list[PoseClip], kind: str, dtype: str, *, strong: bool):
    """Return what trains on all clips once, and gives the loss."""
    annotations = [
        {
            "keypoint": clip.keypoints,
            "keypoint_score": clip.scores,
            "total_frames": clip.keypoints.shape[1],
            "img_shape": clip.image_size,
            "coefficient": 1.0,
            "label": clip.label,
        }
        for clip in clips
    ]
    flip_index = LAYOUTS["coco17"].flip_index()
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    model = peers_train.SlowOnly(CHANNELS[kind], NUM_CLASSES)
    count = sum(weight.numel() for weight in model.parameters())
    assert count == PARAMETERS.get(kind, count)
    order = torch.channels_last_3d if strong and kind != "skeleton" else torch.contiguous_format
    if strong and kind == "skeleton":
        peers_train.crop_to_centre_taps(model)
    model = model.to(memory_format=order)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

    def step() -> float:
        x, labels = peers_train.load_batch(annotations, kind, flip_index, rng)
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bf16"):
            logits = model(x.to(memory_format=order))
        loss = F.cross_entropy(logits.float(), labels)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 20)
        optimizer.step()
        return float(loss.detach())

    return step


def run(benchmark, step, case: str, work: str, batch: int, views: int = 1, **info) -> None:
    losses = []
    flop = views * STEP_FLOP[work] * batch
    measure(
        benchmark, lambda: losses.append(step()), SECTION, case=case, clips=batch, flop=flop, least=2, **info
    )
    assert np.isfinite(losses).all()


def test_supervised(benchmark, tmp_path, work, size, who, dtype):
    clips = make_clips(size[0])
    if who == "fastpose":
        step = fastpose_step(clips, work, "supervised", dtype, tmp_path)
    else:
        step = peer_step(clips, work, dtype, strong=who == "strong")
    run(benchmark, step, f"{work} {size_name(size)}", work, size[0], who=who, dtype=dtype)


def test_contrastive(benchmark, tmp_path, work, size, dtype):
    if work == "grayscale":
        pytest.skip("contrastive steps on grayscale, which cost what those on heatmaps do")
    step = fastpose_step(make_clips(size[0]), work, "contrastive", dtype, tmp_path)
    run(benchmark, step, f"{work}, contrastive {size_name(size)}", work, size[0], views=2, dtype=dtype)


def test_products(benchmark, threads, dtype):
    measure_products(benchmark, SECTION, dtype)
