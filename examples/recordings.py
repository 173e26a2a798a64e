"""Stands for recordings of your own: people who wave or kick, as a pose estimator would write them."""

import numpy as np

CLASSES = ["wave", "kick"]
IMAGE_SIZE = (480, 640)  # height, width in pixels

# x, y of the 17 COCO joints of someone standing, in units of the body's height, feet at y = 0.
STANDING = np.array([
    (0.00, 0.93), (0.02, 0.95), (-0.02, 0.95), (0.04, 0.94), (-0.04, 0.94),  # nose, eyes, ears
    (0.12, 0.80), (-0.12, 0.80), (0.16, 0.62), (-0.16, 0.62), (0.17, 0.46), (-0.17, 0.46),  # arms
    (0.08, 0.50), (-0.08, 0.50), (0.09, 0.26), (-0.09, 0.26), (0.09, 0.00), (-0.09, 0.00),  # legs
])  # fmt: skip
LEFT_ARM, LEFT_LEG = [7, 9], [13, 15]


def record(label: int, rng: np.random.Generator, frames: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Film one person.

    Returns:
        keypoints float32 [1, frames, 17, 2] in pixels, and scores float32 [1, frames, 17]; one joint in twenty
        was not found, and has score 0.
    """
    swing = np.sin(np.linspace(0, rng.uniform(2, 4) * 2 * np.pi, frames) + rng.uniform(0, 2 * np.pi))
    body = np.repeat(STANDING[None], frames, axis=0)  # [T, 17, 2]
    moved = LEFT_ARM if label == 0 else LEFT_LEG
    for reach, joint in zip((0.08, 0.16), moved, strict=True):
        body[:, joint, 0] += reach * (1 + swing)
        body[:, joint, 1] += reach * (1 + swing)
    height, place = rng.uniform(200, 300), rng.uniform(-80, 80)
    pixels = np.stack([320 + place + height * body[..., 0], 400 - height * body[..., 1]], axis=-1)
    pixels += rng.normal(0, 1.5, pixels.shape)  # an estimator's jitter
    scores = np.where(rng.random((frames, 17)) < 0.05, 0, rng.uniform(0.6, 1, (frames, 17)))
    return pixels[None].astype(np.float32), scores[None].astype(np.float32)
