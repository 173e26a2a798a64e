"""The whole package without its compiled extension: one warning, and the results that it has with it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.tour import MODELS, tour

from fastpose._native import extension_obstacle, native

EXACT = ("keypoints", "scores", "total_difference", "joints", "frames of bodies", "body")
TOLERANCES = {"sampled keypoints": 1e-3, "loss of": 1e-3}  # pixels; after some steps of training


@pytest.fixture(scope="module")
def with_extension(tmp_path_factory):
    assert native is not None
    assert extension_obstacle() is None
    folder = tmp_path_factory.mktemp("with")
    return folder, tour(folder)


@pytest.fixture(scope="module")
def without_extension(with_extension, tmp_path_factory):
    folder = tmp_path_factory.mktemp("without")
    tests = Path(__file__).parent
    run = subprocess.run(
        [sys.executable, "-m", "support.tour", folder, with_extension[0] / "runs"],
        cwd=tests,
        env=os.environ
        | {
            "FASTPOSE_NO_EXTENSION": "1",
            "PYTHONPATH": os.pathsep.join([str(tests.parent), str(tests)]),
            "OMP_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-8000:]
    with np.load(folder / "found.npz") as found:
        return dict(found), json.loads((folder / "told.json").read_text())


def test_it_is_said_once(without_extension):
    _, told = without_extension
    assert told["warnings"] == [
        "fastpose's compiled extension fastpose._C could not be loaded (FASTPOSE_NO_EXTENSION=1 hides it); "
        "slower references are used in its place. To build it, run `pip install -e .` in the project's folder, "
        "with a C++20 compiler."
    ]


def test_native_code_is_refused_with_the_reason(without_extension):
    _, told = without_extension
    reason = (
        "backend='native' needs the compiled extension fastpose._C, which could not be loaded "
        "(FASTPOSE_NO_EXTENSION=1 hides it); choose 'auto' or 'reference'"
    )
    assert told["refusals"] == [f"render_heatmaps: {reason}", f"depthwise_conv3d: {reason}"]


def test_results_are_those_of_native_code(with_extension, without_extension):
    _, expected = with_extension
    found, _ = without_extension
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].dtype == value.dtype, name
        if name in EXACT or value.dtype.kind == "i" or name.startswith("sampled draws"):
            np.testing.assert_array_equal(found[name], value, name)
            continue
        tolerance = next((t for start, t in TOLERANCES.items() if name.startswith(start)), 1e-4)
        scale = max(1.0, float(np.abs(value).max())) if "sampled" not in name else 1.0
        np.testing.assert_allclose(found[name], value, rtol=0, atol=tolerance * scale, err_msg=name)
    assert {f"scores of {kind}" for kind in MODELS} <= found.keys()
