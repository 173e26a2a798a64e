"""How robust is a network of your own? Train it with and without noise, and draw accuracy over noise.

    python examples/own_model.py [PACKED]

PACKED is a file of `fastpose pack` with the splits "train" and "test"; by default a few generated clips.
The network needs two methods: `prepare_input`, which makes its input of a batch, and `forward`, which returns a
`ModelOutput`.
"""

import sys

import numpy as np
import torch
import torch.nn.functional as F
from recordings import CLASSES, IMAGE_SIZE, record
from torch import Tensor, nn

from fastpose.data import AlphaRange, ClipSampler, PackedClips, PoseBatch
from fastpose.evaluation.curves import Curve, format_table, measure_curve
from fastpose.models import ModelOutput
from fastpose.settings import EvalConfig, SamplingConfig

SAMPLING = SamplingConfig(clip_len=24, size=(56, 56))  # frames; height and width in pixels


class JointGRU(nn.Module):
    """A recurrent network on the coordinates of the first person."""

    def __init__(self, num_joints: int, num_classes: int) -> None:
        super().__init__()
        self.gru = nn.GRU(2 * num_joints, 64, batch_first=True)
        self.classifier = nn.Linear(64, num_classes)

    def prepare_input(self, batch: PoseBatch) -> Tensor:
        """Make coordinates [B, T, 2V] in [-1, 1] of keypoints [B, M, T, V, 3]; those of missing joints are 0."""
        x, y, score = batch.keypoints[:, 0].unbind(-1)  # [B, T, V] each
        height, width = SAMPLING.size
        coordinates = torch.stack([2 * x / (width - 1) - 1, 2 * y / (height - 1) - 1], dim=-1)
        return torch.where(score[..., None] > 0, coordinates, 0).flatten(2)

    def forward(self, x: Tensor) -> ModelOutput:
        states, _ = self.gru(x)
        features = states.mean(dim=1)  # [B, 64]
        return ModelOutput(logits=self.classifier(features), features=features)


def train(packed: PackedClips, alpha: float | AlphaRange, epochs: int = 60) -> JointGRU:
    """Train by cross-entropy on clips with noise of strength ``alpha``."""
    torch.manual_seed(0)
    model = JointGRU(packed.layout.num_joints, packed.num_classes)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    sampler = ClipSampler(packed, SAMPLING, train=True, seed=0)
    for epoch in range(epochs):
        for clips in np.array_split(packed.split("train"), max(1, len(packed.split("train")) // 32)):
            batch = sampler.batch(clips, epoch=epoch, stream=1, alpha=alpha)
            loss = F.cross_entropy(model(model.prepare_input(batch)).logits, batch.labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model


def curve(packed: PackedClips, model: JointGRU) -> Curve:
    """Measure top-1 on the test split; the noise is the same for every model."""
    settings = EvalConfig(alphas=(0.0, 0.02, 0.05, 0.1, 0.2))
    return measure_curve(model, packed, packed.split("test"), SAMPLING, settings)


def generated_clips() -> PackedClips:
    rng, clips = np.random.default_rng(0), []
    for i in range(100):
        keypoints, scores = record(i % 2, rng)
        clip = {"keypoints": keypoints, "scores": scores, "label": i % 2, "image_size": IMAGE_SIZE}
        clips.append({**clip, "split": "train" if i < 60 else "test"})
    return PackedClips.from_clips(clips, layout="coco17", class_names=CLASSES)


def main(path: str | None = None) -> dict[str, Curve]:
    packed = generated_clips() if path is None else PackedClips.load(path)
    curves = {
        "trained on clean clips": curve(packed, train(packed, alpha=0.0)),
        "trained with noise": curve(packed, train(packed, alpha=AlphaRange(0.0, 0.2))),
    }
    print(format_table(curves))
    return curves


if __name__ == "__main__":
    main(*sys.argv[1:2])
