"""Small data sets in the formats that fastpose packs."""

from pathlib import Path

import numpy as np

from fastpose.data.pack.layouts import Layout
from fastpose.data.pack.packed import PackedClips


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


TRIANGLE = Layout("triangle", ("a", "b", "c"), ((0, 1),), ((0, 2), (1, 2)))


def make_clip(seed=0, *, persons=2, frames=4, label=1, **fields):
    rng = np.random.default_rng(seed)
    return {
        "name": f"clip{seed}",
        "keypoints": rng.uniform(1, 500, (persons, frames, 3, 2)).astype(np.float32),
        "scores": rng.uniform(0.1, 1, (persons, frames, 3)).astype(np.float32),
        "label": label,
        "image_size": (480, 640),
    } | fields


def pack(*clips, **settings):
    return PackedClips.from_clips(clips, layout=TRIANGLE, **settings)


def three_clips():
    """A pack of three clips with all there is to a pack."""
    return pack(
        make_clip(0, frames=5, label=0),
        make_clip(1, persons=1, frames=1, label=2),
        make_clip(2, persons=3, frames=7, label=1, image_size=(1080, 1920)),
        class_names=("wave", "nod", "jump"),
        splits={"train": ["clip2", "clip0"], "test": np.array([1])},
        source="a test",
    )
