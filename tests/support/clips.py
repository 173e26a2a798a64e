"""Small sets of clips that can be learned."""

import numpy as np

from fastpose.data import LAYOUTS, PackedClips, PoseClip


def waving_clips(num_clips: int = 24, num_classes: int = 3, seed: int = 0) -> PackedClips:
    """Clips of one COCO person whose wrists tell the class by height and speed; splits train and test."""
    rng = np.random.default_rng(seed)
    rest = rng.uniform(200, 800, size=(17, 2))
    clips = []
    for i in range(num_clips):
        label, frames = i % num_classes, int(rng.integers(20, 60))
        keypoints = np.tile(rest + rng.normal(0, 5, size=(17, 2)), (1, frames, 1, 1))
        phase = np.linspace(0, 2 * np.pi * (label + 1), frames)
        keypoints[0, :, 9:11, 1] += 250 * label + 50 * np.sin(phase)[:, None]
        clips.append(
            PoseClip(
                name=f"clip{i:03}",
                keypoints=keypoints.astype(np.float32),
                scores=np.ones((1, frames, 17), np.float32),
                label=label,
                image_size=(1080, 1920),
            )
        )
    names = [clip.name for clip in clips]
    cut = num_clips * 2 // 3
    return PackedClips.from_clips(
        clips,
        layout=LAYOUTS["coco17"],
        class_names=[f"speed {k}" for k in range(num_classes)],
        splits={"train": names[:cut], "test": names[cut:]},
    )
