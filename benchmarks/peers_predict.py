"""What users run today to classify `.skeleton` files, in one process: parse, sample, draw, run, write.

A re-statement from the other peers, with the test transforms of PYSKL: one clip of middle frames, the box of
the joints padded by a quarter and resized, no flip.
"""

import csv
from pathlib import Path

import numpy as np
import peers_decode
import peers_render
import peers_sample
import torch
from peers_train import SlowOnly, crop_to_centre_taps
from torch import Tensor, nn

CLIP_LEN = 24
SIDE = 56
JOINTS = 25
PERSONS = 2


def network(kind: str, num_classes: int, *, strong: bool) -> nn.Module:
    channels = PERSONS * JOINTS * 2 if kind == "skeleton" else JOINTS
    model = SlowOnly(channels, num_classes).eval()
    if strong and kind == "skeleton":
        crop_to_centre_taps(model)
    elif strong:
        model = model.to(memory_format=torch.channels_last_3d)
    return model


def load(path: Path, *, strong: bool) -> dict[str, object]:
    """The annotation of the longest body: colour pixels [1, L, 25, 2] and scores by tracking state."""
    decode = peers_decode.decode_with_numpy if strong else peers_decode.decode_with_python
    tracks = decode(str(path)).values()
    _, joints = max(tracks, key=lambda track: len(track[0]))  # [L, 25, 12]
    return {
        "keypoint": joints[None, ..., 5:7],
        "keypoint_score": joints[None, ..., 11] / 2,
        "total_frames": len(joints),
        "img_shape": (1080, 1920),
    }


def transform(clip: dict[str, object]) -> np.ndarray:
    """Float32 [1, T, 25, 3] in pixels of 56×56."""
    length = clip["total_frames"]
    middle = (np.arange(CLIP_LEN) + 0.5) * length / CLIP_LEN
    clip["frames"] = np.arange(CLIP_LEN) % length if length < CLIP_LEN else middle.astype(np.int64)
    peers_sample.decode(clip)
    peers_sample.compact(clip)
    peers_sample.resize(clip, SIDE, SIDE)
    return np.concatenate([clip["keypoint"], clip["keypoint_score"][..., None]], axis=-1, dtype=np.float32)


def model_input(kind: str, poses: np.ndarray) -> Tensor:
    """[1, M·V·2, T, 1, 1] or [1, V, T, 56, 56]."""
    if kind == "heatmap":
        return torch.from_numpy(peers_render.heatmaps(poses, (SIDE, SIDE)).swapaxes(0, 1)[None])
    x = np.zeros((PERSONS, JOINTS, 2, CLIP_LEN), np.float32)
    x[:1] = poses[..., :2].transpose(0, 2, 3, 1) * 2 / (SIDE - 1) - 1
    return torch.from_numpy(x.reshape(1, -1, CLIP_LEN, 1, 1))


@torch.no_grad()
def predict(
    model: nn.Module, kind: str, paths: list[Path], out: Path, top_k: int = 5, *, strong: bool = False
) -> None:
    """One clip at a time, as test scripts with one sample per GPU do, or 32; a row for each."""
    count = 32 if strong else 1
    order = torch.channels_last_3d if strong and kind == "heatmap" else torch.contiguous_format
    with open(out, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", *(f"{what}_{i}" for i in range(top_k) for what in ("label", "score"))])
        for begin in range(0, len(paths), count):
            some = paths[begin : begin + count]
            inputs = [model_input(kind, transform(load(path, strong=strong))) for path in some]
            scores = model(torch.cat(inputs).to(memory_format=order)).float().softmax(1)
            best = scores.topk(top_k)
            for path, *row in zip(some, best.indices.tolist(), best.values.tolist(), strict=True):
                writer.writerow([path, *(cell for pair in zip(*row, strict=True) for cell in pair)])
