"""How robust is a graph convolution network? Train one, and measure it under every family of noise.

    python examples/gcn.py [PACKED]
    python -m fastpose train --model examples.gcn:GCN --data PACKED    # the same network in fastpose's own trainer

PACKED is a file of `fastpose pack` with splits for training and test; by default the built-in synthetic set.
"""

import sys
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastpose.data import AlphaRange, ClipSampler, Layout, PackedClips, PoseBatch
from fastpose.data.pack.splits import select_clips
from fastpose.data.synthetic.builtin import open_clips
from fastpose.evaluation.curves import Curve, Families, format_table, measure_curve, measure_families
from fastpose.evaluation.families import format_families
from fastpose.models import ModelOutput
from fastpose.settings import DataConfig, EvalConfig, SamplingConfig


class GCN(nn.Module):
    """Graph convolutions over the limbs and ordinary ones over time; persons are averaged."""

    graph: Tensor  # [V, V]; each row averages a joint and those that a limb joins to it

    def __init__(
        self, *, num_classes: int, layout: Layout, size: tuple[int, int] = (56, 56), width: int = 16
    ) -> None:
        super().__init__()
        self.size = size
        graph = torch.eye(layout.num_joints)
        for one, two in layout.limbs:
            graph[one, two] = graph[two, one] = 1
        self.register_buffer("graph", graph / graph.sum(dim=1, keepdim=True), persistent=False)
        widths = [3, width, 2 * width, 4 * width]
        self.joints = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in pairwise(widths))
        self.frames = nn.ModuleList(
            nn.Conv2d(c, c, (3, 1), stride=(2, 1), padding=(1, 0)) for c in widths[1:]
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(c) for c in widths[1:])
        self.classifier = nn.Linear(widths[-1], num_classes)

    def prepare_input(self, batch: PoseBatch) -> Tensor:
        """Make [B, M, 3, T, V] of keypoints [B, M, T, V, 3]: x and y in [-1, 1], and whether the joint is there."""
        present = batch.keypoints[..., 2:] > 0
        ends = batch.keypoints.new_tensor([self.size[1] - 1, self.size[0] - 1])
        places = torch.where(present, 2 * batch.keypoints[..., :2] / ends - 1, 0)
        return torch.cat([places, present], dim=-1).movedim(-1, 2)

    def forward(self, x: Tensor) -> ModelOutput:
        clips, persons = x.shape[:2]
        x = x.flatten(0, 1)  # [B · M, C, T, V]
        for joints, frames, norm in zip(self.joints, self.frames, self.norms, strict=True):
            x = norm(frames(F.relu(joints(x @ self.graph.T)))).relu()
        features = x.mean(dim=(2, 3)).unflatten(0, (clips, persons)).mean(dim=1)
        return ModelOutput(logits=self.classifier(features), features=features)


SAMPLING = SamplingConfig(clip_len=24, size=(56, 56))  # frames; height and width in pixels
SETTINGS = EvalConfig(alphas=(0.0, 0.02, 0.05, 0.1))


def train(packed: PackedClips, clips: np.ndarray, families: tuple[str, ...], epochs: int) -> GCN:
    """Train by cross-entropy on clips, each with noise of one of the families, of a strength of its own."""
    torch.manual_seed(0)
    model = GCN(num_classes=packed.num_classes, layout=packed.layout, size=SAMPLING.size)
    optimizer = torch.optim.AdamW(model.parameters())
    steps = max(1, len(clips) // 16)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=steps * epochs)
    sampler = ClipSampler(packed, SAMPLING, train=True, seed=0)
    for epoch in range(epochs):
        for drawn in np.array_split(np.random.default_rng(epoch).permutation(clips), steps):
            batch = sampler.batch(drawn, epoch=epoch, stream=1, alpha=AlphaRange(0.0, 0.1), families=families)
            loss = F.cross_entropy(model(model.prepare_input(batch)).logits, batch.labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model


def main(path: str = "synthetic", epochs: int = 20) -> tuple[Curve, Families]:
    packed = open_clips(path)
    train_clips, test_clips = select_clips(packed, DataConfig(data=path))
    model = train(packed, train_clips, ("gaussian",), epochs)
    curve = measure_curve(model, packed, test_clips, SAMPLING, SETTINGS)
    print(format_table({"GCN": curve}))
    families = measure_families(model, packed, test_clips, SAMPLING, SETTINGS, families="all")
    print("\n" + format_families("GCN", [families]))
    return curve, families


if __name__ == "__main__":
    main(*sys.argv[1:2])
