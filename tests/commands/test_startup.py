"""What a command imports before it begins to work: nothing that it does not need, since it mostly imports."""

import json
import subprocess
import sys

import numpy as np
import pytest

from fastpose.__main__ import COMMANDS

COMPILER = ["torch._dynamo", "torch._inductor", "sympy", "triton"]  # which take longer than torch itself
UNUSED = [*COMPILER, "scipy", "matplotlib", "PIL", "tensorboard", "submitit", "optuna"]


def loaded_by(code, suspects):
    """Those of ``suspects`` that a fresh interpreter has imported after ``code``."""
    code = (
        f"import json, sys\n{code}\n"
        f"print(json.dumps([name for name in {suspects!r} if name in sys.modules]), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stderr.splitlines()[-1])


def test_help_imports_no_numbers():
    code = f"""
from fastpose.__main__ import main
for command in {[*map(str.split, [*COMMANDS, "pack ntu", "pack keypoints", "report benchmarks", "report runs"])]}:
    try:
        main([*command, "--help"])
    except SystemExit as stop:
        assert stop.code == 0"""
    assert loaded_by(code, ["torch", "numpy", *UNUSED]) == []


@pytest.mark.parametrize("module", ["prediction.files", "evaluation.runs", "data.denoising.denoiser"])
def test_modules_of_commands_import_only_what_they_need(module):
    assert loaded_by(f"import fastpose.{module}", UNUSED) == []


@pytest.mark.parametrize(
    "module", ["prediction.stream", "drawing.writing", "training.experiment", "weights.exporting"]
)
def test_no_module_imports_the_compiler(module):
    assert loaded_by(f"import fastpose.{module}", COMPILER) == []


def coco_results(path):
    """One person of 17 joints in 20 frames, as detectors write COCO's results."""
    frames = [
        {
            "image_id": f"{frame}.jpg",
            "category_id": 1,
            "keypoints": [
                float(x) for joint in range(17) for x in (100 + 5 * joint + frame, 200 + 3 * joint, 1)
            ],
            "score": 0.9,
        }
        for frame in range(20)
    ]
    path.write_text(json.dumps(frames))


def test_predict_of_a_file_imports_only_what_it_needs(tmp_path):
    coco_results(tmp_path / "person.json")
    keypoints = np.random.default_rng(0).uniform(100, 300, (1, 30, 13, 2))
    np.savez(tmp_path / "clip.npz", keypoints=keypoints, scores=np.ones((1, 30, 13)), layout="penn13")
    files = [str(tmp_path / name) for name in ("person.json", "clip.npz")]
    arguments = ["predict", "penn-robust", *files, "--image-size", "480", "640", "--device", "cpu"]
    code = f"from fastpose.__main__ import main\nassert main({arguments!r}) == 0"
    assert loaded_by(code, UNUSED) == []
