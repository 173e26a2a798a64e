"""Small clips to be drawn."""

import numpy as np

from fastpose.data import LAYOUTS, Layout, PackedClips, PoseClip


def one_clip(
    num_frames: int = 12,
    num_persons: int = 2,
    layout: Layout = LAYOUTS["coco17"],
    *,
    name: str = "a clip",
    image_size: tuple[int, int] = (240, 320),
) -> PackedClips:
    """One clip of persons beside each other who walk to the right; joint 1 of the last is always missing."""
    rng = np.random.default_rng(0)
    person = np.arange(num_persons)[:, None, None]
    frame = np.arange(num_frames)[None, :, None]
    x = rng.uniform(20, 140, (num_persons, 1, layout.num_joints)) + 60 * person + 4 * frame
    y = rng.uniform(60, 180, (num_persons, 1, layout.num_joints)) + 0.5 * frame
    scores = np.ones(x.shape, np.float32)
    scores[-1, :, 1] = 0
    keypoints = np.stack([x, y + 0 * x], axis=-1).astype(np.float32)
    clip = PoseClip(name=name, keypoints=keypoints, scores=scores, label=1, image_size=image_size)
    return PackedClips.from_clips([clip], layout=layout, class_names=["sit", "walk"])
