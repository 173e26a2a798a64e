"""Small data sets in the formats that fastpose packs."""

from pathlib import Path

import numpy as np


def skeleton_text(color, *, state=2, body_id=7) -> str:
    """A `.skeleton` file of one body; ``color`` [T, 25, 2], tracking ``state`` one for all or [T, 25]."""
    color = np.asarray(color)
    states = np.broadcast_to(state, color.shape[:2])
    lines = [str(len(color))]
    for points, flags in zip(color, states, strict=True):
        lines += ["1", f"{body_id} 0 0 0 0 0 0 0.1 0.2 2", "25"]
        for (x, y), flag in zip(points, flags, strict=True):
            lines.append(f"0.1 0.2 3 250 200 {x} {y} 0 0 0 1 {flag}")
    return "\n".join(lines) + "\n"


def write_skeletons(folder: Path, *names: str, frames: int = 3) -> Path:
    """One file per name, each of other coordinates."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(names):
        color = np.random.default_rng(seed).uniform(100, 900, (frames, 25, 2)).round(3)
        (folder / f"{name}.skeleton").write_text(skeleton_text(color))
    return folder


def annotation(name="a", *, seed=0, persons=1, frames=4, joints=17, label=0, **fields) -> dict:
    """An annotation of a PYSKL pickle."""
    rng = np.random.default_rng(seed)
    return {
        "frame_dir": name,
        "total_frames": frames,
        "img_shape": (480, 640),
        "original_shape": (480, 640),
        "label": label,
        "keypoint": rng.uniform(5, 400, (persons, frames, joints, 2)).astype(np.float16),
        "keypoint_score": rng.uniform(0.1, 1, (persons, frames, joints)).astype(np.float16),
    } | fields


def write_npz(folder: Path, name: str, *, seed=0, joints=3, label=0, **fields) -> None:
    """One clip of 1 person and 4 frames; a field given as None is left out."""
    keypoints = np.random.default_rng(seed).uniform(5, 400, (1, 4, joints, 2))
    arrays = {"keypoints": keypoints, "label": label, "image_size": (480, 640)} | fields
    path = folder / f"{name}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
