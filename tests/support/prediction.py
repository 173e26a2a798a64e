"""Finished runs of random weights, whose predictions differ from clip to clip."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from fastpose.data import ClipSampler, PackedClips, get_layout
from fastpose.settings import DataConfig, ModelConfig, RunConfig, SamplingConfig
from fastpose.weights.card import ModelCard, build_model
from fastpose.weights.runs import WEIGHTS, write_weights

CLASSES = ("walk", "run, fast", "jump", 'say "hello"')
CONFIG = RunConfig(
    data=DataConfig(sampling=SamplingConfig(clip_len=8, size=(16, 16))), model=ModelConfig(input="skeleton")
)


def random_weights(model: nn.Module, card: ModelCard) -> nn.Module:
    """Weights with which clips of `moving_clip` differ: statistics of batch norms are those of such clips."""
    joints = card.layout.num_joints
    clips = [
        {"keypoints": moving_clip(i, card.max_persons, 20, joints), "label": 0, "image_size": (480, 640)}
        for i in range(8)
    ]
    packed = PackedClips.from_clips(clips, layout=card.layout)
    sampler = ClipSampler(
        packed, card.config.data.sampling, train=False, max_persons=card.max_persons, prior=card.prior
    )
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                if module.affine:
                    module.weight.fill_(1)
                module.momentum = 1.0
        classifier = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
        classifier.weight.normal_(0, 0.1)
        model.train()(model.prepare_input(sampler.batch(range(8))))
    return model.eval()


def write_run(folder: Path, layout: str = "coco17", config: RunConfig = CONFIG, max_persons: int = 2) -> Path:
    """A run's folder with weights and nothing else."""
    torch.manual_seed(0)
    card = ModelCard(config, get_layout(layout), CLASSES, max_persons)
    folder.mkdir(parents=True, exist_ok=True)
    write_weights(folder / WEIGHTS, random_weights(build_model(card), card).state_dict(), card)
    return folder


def with_input(kind: str, model: str = "posec3d") -> RunConfig:
    return replace(CONFIG, model=replace(CONFIG.model, model=model, input=kind))


def moving_clip(seed: int = 0, persons: int = 1, frames: int = 20, joints: int = 17) -> np.ndarray:
    """Float32 [M, T, V, 2]: people of random build that drift through 640×480."""
    rng = np.random.default_rng(seed)
    build = rng.uniform(-80, 80, (persons, 1, joints, 2)) + np.array([320, 240])
    drift = rng.normal(0, 6, (persons, frames, joints, 2)).cumsum(1)
    return (build + drift).astype(np.float32)
