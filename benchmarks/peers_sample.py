"""What users run today to sample a clip: NumPy transforms, clip by clip, in the manner of PYSKL.

Uniform frames, decode, compact to the joints' box, resize to 64×64, random resized crop, resize to 56×56 and
flip; with the Gaussian noise of the report on the decoded keypoints. Re-stated from the transforms' behaviour.
"""

import numpy as np
from numpy.typing import NDArray

Clip = dict[str, object]


def uniform_frames(clip: Clip, clip_len: int, rng: np.random.Generator) -> None:
    length = clip["total_frames"]
    if length < clip_len:
        frames = np.arange(rng.integers(length), clip_len + length)[:clip_len]
    elif length < 2 * clip_len:
        skipped = rng.choice(clip_len + 1, length - clip_len, replace=False)
        offset = np.zeros(clip_len + 1, dtype=np.int64)
        offset[skipped] = 1
        frames = np.arange(clip_len) + np.cumsum(offset)[:-1]
    else:
        edges = np.array([i * length // clip_len for i in range(clip_len + 1)])
        frames = edges[:-1] + rng.integers(np.diff(edges))
    clip["frames"] = frames % length


def decode(clip: Clip) -> None:
    clip["keypoint"] = clip["keypoint"][:, clip["frames"]].astype(np.float32)
    clip["keypoint_score"] = clip["keypoint_score"][:, clip["frames"]].astype(np.float32)


def add_noise(clip: Clip, alpha: float, rng: np.random.Generator) -> None:
    height, width = clip["img_shape"]
    keypoint = clip["keypoint"]
    deviation = alpha * clip["coefficient"] * np.array([width, height])
    noise = rng.normal(size=keypoint.shape) * deviation
    present = (clip["keypoint_score"] > 0)[..., None]
    clip["keypoint"] = np.where(present, keypoint + noise, keypoint).astype(np.float32)


def compact(clip: Clip, padding: float = 0.25, threshold: float = 10.0) -> None:
    keypoint = clip["keypoint"]
    keypoint[np.isnan(keypoint)] = 0.0
    x, y = keypoint[..., 0], keypoint[..., 1]
    present = (x != 0) | (y != 0)
    if not present.any():
        return
    min_x, max_x = x[present].min(), x[present].max()
    min_y, max_y = y[present].min(), y[present].max()
    if max_x - min_x < threshold or max_y - min_y < threshold:
        return
    half = max(max_x - min_x, max_y - min_y) / 2 * (1 + padding)
    centre_x, centre_y = (min_x + max_x) / 2, (min_y + max_y) / 2
    left, right = int(centre_x - half), int(centre_x + half)
    top, bottom = int(centre_y - half), int(centre_y + half)
    x[present] -= left
    y[present] -= top
    clip["img_shape"] = (bottom - top, right - left)


def resize(clip: Clip, height: int, width: int) -> None:
    old_height, old_width = clip["img_shape"]
    clip["keypoint"] = clip["keypoint"] * np.array([width / old_width, height / old_height], dtype=np.float32)
    clip["img_shape"] = (height, width)


def random_resized_crop(
    clip: Clip, area: tuple[float, float], rng: np.random.Generator, tries: int = 10
) -> None:
    height, width = clip["img_shape"]
    tries = 10
    aspects = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3), size=tries))
    areas = rng.uniform(*area, size=tries) * height * width
    crop_widths = np.round(np.sqrt(areas * aspects)).astype(np.int32)
    crop_heights = np.round(np.sqrt(areas / aspects)).astype(np.int32)
    left, top, crop_width, crop_height = 0, 0, width, height
    for candidate_width, candidate_height in zip(crop_widths, crop_heights, strict=True):
        if candidate_height <= height and candidate_width <= width:
            crop_width, crop_height = candidate_width, candidate_height
            left = rng.integers(0, width - crop_width + 1)
            top = rng.integers(0, height - crop_height + 1)
            break
    clip["keypoint"] = clip["keypoint"] - np.array([left, top], dtype=np.float32)
    clip["img_shape"] = (int(crop_height), int(crop_width))


def flip(clip: Clip, flip_index: NDArray[np.int64], rng: np.random.Generator) -> None:
    if rng.random() >= 0.5:
        return
    keypoint = clip["keypoint"]
    x = keypoint[..., 0]
    x[x != 0] = clip["img_shape"][1] - x[x != 0]
    clip["keypoint"] = keypoint[:, :, flip_index]
    clip["keypoint_score"] = clip["keypoint_score"][:, :, flip_index]


def pipeline(
    annotation: Clip, clip_len: int, flip_index: NDArray[np.int64], alpha: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """One annotation (keypoint [M, L, V, 2], keypoint_score [M, L, V], ...) → float32 [M, T, V, 3]."""
    clip = dict(annotation)
    uniform_frames(clip, clip_len, rng)
    decode(clip)
    add_noise(clip, alpha, rng)
    compact(clip)
    resize(clip, 64, 64)
    random_resized_crop(clip, (0.56, 1.0), rng)
    resize(clip, 56, 56)
    flip(clip, flip_index, rng)
    return np.concatenate([clip["keypoint"], clip["keypoint_score"][..., None]], axis=-1)
