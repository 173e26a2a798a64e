"""Train on keypoints of your own, held in arrays, and measure accuracy over noise.

    python examples/own_data.py [FOLDER]

The packed clips and the runs are written to FOLDER, by default a new temporary one.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from recordings import CLASSES, IMAGE_SIZE, record

from fastpose.__main__ import main as fastpose
from fastpose.data import PackedClips


def main(folder: Path) -> int:
    rng, clips = np.random.default_rng(0), []
    for i in range(60):
        label = i % 2
        keypoints, scores = record(label, rng)  # [M, T, V, 2] in pixels, [M, T, V]
        clip = {"keypoints": keypoints, "scores": scores, "label": label, "image_size": IMAGE_SIZE}
        clips.append({**clip, "name": f"clip-{i:02}", "split": "train" if i < 40 else "test"})
    packed = PackedClips.from_clips(clips, layout="coco17", class_names=CLASSES)
    packed.save(folder / "own.safetensors")

    where = ["--data", str(folder / "own.safetensors"), "--out", str(folder / "runs")]
    quick = (
        "--arms contrastive --epochs 8 --batch-size 8 --clip-len 12 --ema 0.9 --warmup-epochs 0 --threads 1"
    )
    return fastpose(["train", *where, *quick.split(), "--alphas", "0", "0.02", "0.1"])


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())))
