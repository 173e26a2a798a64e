"""The training step, data included: skeleton, heatmap and grayscale, supervised and contrastive.

The peer trains the same network on the same clips as today's toolboxes do: fp32, heatmaps drawn in NumPy.
"""

import numpy as np
import peers_train
import pytest
import torch

from fastpose.data import LAYOUTS, PackedClips, PoseClip
from fastpose.settings import DataConfig, ModelConfig, OptimConfig, RunConfig
from fastpose.training.setup import Setup
from fastpose.training.trainer import Trainer

NUM_CLASSES = 60
BATCH = {"skeleton": 32, "heatmap": 8, "grayscale": 8}


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


@pytest.mark.parametrize("arm", ["supervised", "contrastive"])
@pytest.mark.parametrize("kind", BATCH)
def test_step(benchmark, tmp_path, kind, arm):
    clips = make_clips(BATCH[kind])
    splits = {name: [clip.name for clip in clips] for name in ("train", "test")}
    packed = PackedClips.from_clips(clips, layout=LAYOUTS["coco17"], class_names=NUM_CLASSES, splits=splits)
    config = RunConfig(
        arm=arm,
        data=DataConfig(),
        model=ModelConfig(input=kind),
        optim=OptimConfig(batch_size=BATCH[kind], device="cpu"),
    )
    trainer = Trainer(Setup(config, packed), tmp_path, quiet=True)
    trainer.setup.model.train()
    losses = []

    def step():
        for batches in trainer.batches(epoch=0, steps=1):
            losses.append(float(trainer.setup.step(batches, epoch=0, rate=1e-3)["loss"]))

    benchmark.group = f"training step, {arm}"
    benchmark.extra_info.update(
        clips=len(clips), note=str(trainer.setup.placement.dtype).removeprefix("torch.")
    )
    benchmark.pedantic(step, rounds=20 if kind == "skeleton" else 3, warmup_rounds=1)
    assert np.isfinite(losses).all()


@pytest.mark.as_today
def test_peer_step(benchmark):
    clips = make_clips(BATCH["heatmap"])
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
    model = peers_train.SlowOnly(17, NUM_CLASSES)
    assert sum(weight.numel() for weight in model.parameters()) == 2_024_860
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

    def step():
        volumes, labels = peers_train.load_batch(annotations, flip_index, rng)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(volumes), labels).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 20)
        optimizer.step()

    benchmark.group = "training step, supervised"
    benchmark.extra_info.update(clips=len(clips), role="peer", note="float32, heatmaps in NumPy")
    benchmark.pedantic(step, rounds=2, warmup_rounds=1)
