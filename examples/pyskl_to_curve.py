"""From an annotation pickle of PYSKL or MMAction2 to accuracy over noise, by the commands.

    python examples/pyskl_to_curve.py [PICKLE [OPTION …]]

Options are those of `fastpose train`, such as `--preset robust --epochs 40`. Without a pickle a small one
is made. Everything is written to a new temporary folder.
"""

import pickle
import sys
import tempfile
from pathlib import Path

import numpy as np
from recordings import IMAGE_SIZE, record

from fastpose.__main__ import main as fastpose

QUICK = "--preset robust --epochs 20 --batch-size 8 --clip-len 12 --ema 0.9 --warmup-epochs 0 --threads 1"


def make_pickle(path: Path) -> None:
    """Write what PYSKL's `tools/data` make: {split, annotations}, keypoints float16."""
    rng, split, annotations = np.random.default_rng(0), {"xsub_train": [], "xsub_val": []}, []
    for i in range(60):
        keypoints, scores = record(i % 2, rng)
        split["xsub_train" if i < 40 else "xsub_val"].append(f"clip{i:02}")
        annotations.append({
            "frame_dir": f"clip{i:02}",
            "label": i % 2,
            "img_shape": IMAGE_SIZE,
            "original_shape": IMAGE_SIZE,
            "total_frames": keypoints.shape[1],
            "keypoint": keypoints.astype(np.float16),  # [M, T, V, 2]
            "keypoint_score": scores.astype(np.float16),  # [M, T, V]
        })  # fmt: skip
    path.write_bytes(pickle.dumps({"split": split, "annotations": annotations}))


def main(folder: Path, source: str | None = None, *options: str) -> int:
    if source is None:
        source, options = folder / "annotations.pkl", tuple(QUICK.split())
        make_pickle(source)
    packed, runs = folder / "packed.safetensors", folder / "runs"
    commands = (
        ["pack", "pyskl", str(source), "--out", str(packed)],
        ["train", "--data", str(packed), "--arms", "supervised", "--out", str(runs), *options],
        [
            "evaluate",
            str(runs),
            "--alphas",
            "0",
            "0.02",
            "0.1",
            "--flip-test",
            "--out",
            str(folder / "curve"),
        ],
    )
    return next((status for command in commands if (status := fastpose(command))), 0)


if __name__ == "__main__":
    sys.exit(main(Path(tempfile.mkdtemp()), *sys.argv[1:]))
