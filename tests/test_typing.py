"""What a user's type checker sees of the package: exact types of the names that packages export."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

RIGHT = """
import numpy as np
from torch import Tensor

import fastpose
from fastpose.data import ClipSampler, PackedClips, PoseBatch
from fastpose.models import ModelOutput, create_model
from fastpose.ops import render_heatmaps
from fastpose.prediction import Prediction, Predictor

packed: PackedClips = PackedClips.load("penn.safetensors")
sampler = ClipSampler(packed, clip_len=24, train=True)
batch: PoseBatch = sampler.batch(np.arange(32), epoch=0, alpha=0.025)
output: ModelOutput = create_model("posec3d", input="skeleton", num_classes=15)(batch)
maps: Tensor = render_heatmaps(batch.keypoints, (56, 56))
predictor: Predictor = Predictor.load("runs/penn")
predictions: list[Prediction] = predictor.predict(packed)
fastpose.predict(
    batch.keypoints, batch.keypoints[..., 2], model=predictor, layout="coco17", image_size=(480, 640)
)
logits: Tensor = output.logits
"""
WRONG = """
from fastpose.data import ClipSampler, PackedClips, PoseBatch
from fastpose.models import create_model
from fastpose.ops import render_heatmaps

packed = PackedClips.load(3)
batch: str = ClipSampler(packed).batch([0])
logits: int = create_model("posec3d")(batch).logits
render_heatmaps("keypoints", (56, 56))
PoseBatch().nothing
"""


@pytest.fixture(scope="module")
def errors(tmp_path_factory):
    """The lines of which mypy complains, by program; it takes the project's settings, and with them its cache."""
    pytest.importorskip("mypy", reason="needs mypy: pip install -e '.[test]'")
    folder = tmp_path_factory.mktemp("programs")
    programs = {"right": RIGHT, "wrong": WRONG}
    for name, text in programs.items():
        (folder / f"{name}.py").write_text(text)
    files = [str(folder / f"{name}.py") for name in programs]
    result = subprocess.run(
        [sys.executable, "-m", "mypy", "--hide-error-context", *files],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1, result.stdout + result.stderr
    found = [line for line in result.stdout.splitlines() if ": error:" in line]
    return {name: [line for line in found if f"{name}.py:" in line] for name in programs}


def test_a_program_that_is_right_passes(errors):
    assert errors["right"] == []


def test_each_wrong_line_is_found(errors):
    lines = WRONG.splitlines()
    wrong = {number for number, line in enumerate(lines, 1) if line and not line.startswith("from")}
    assert {int(line.partition("wrong.py:")[2].partition(":")[0]) for line in errors["wrong"]} == wrong
