"""Predicting: `.skeleton` files in, a csv of the likeliest classes out.

The peer is one process of today's parts: a Python parser, a NumPy pipeline, and the fp32 network with its full
kernels, clip by clip. The strong one parses by np.fromstring, takes 32 clips at once, with centre taps or
channels_last_3d. "command" is the whole program, started anew, imports included.
"""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import peers_predict
import pytest
import torch
from bench_decode import skeleton_text
from measuring import measure

from fastpose.data.pack.layouts import LAYOUTS
from fastpose.data.sources.found_files import ReadOptions
from fastpose.data.sources.ntu_names import class_names
from fastpose.prediction.files import predict_files, write_results
from fastpose.prediction.predictor import Predictor
from fastpose.settings import ModelConfig, RunConfig
from fastpose.weights.card import ModelCard, build_model
from fastpose.weights.runs import WEIGHTS, write_weights

SECTION = "predict, .skeleton of one person and 80 frames to csv"
NUM_FILES = 256
FILES = {  # of one call
    ("skeleton", "fastpose"): NUM_FILES,
    ("skeleton", "peer"): 16,
    ("skeleton", "strong"): 32,
    ("heatmap", "fastpose"): 8,
    ("heatmap", "peer"): 4,
    ("heatmap", "strong"): 8,
}
NUM_CLASSES = 60


@pytest.fixture(scope="module")
def paths(tmp_path_factory) -> list[Path]:
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("clips")
    paths = [folder / f"clip{i:03d}.skeleton" for i in range(NUM_FILES)]
    for path in paths:
        path.write_text(skeleton_text(rng, 1), newline="")
    return paths


def write_run(folder: Path, kind: str) -> Path:
    config = RunConfig(model=ModelConfig(input=kind))
    card = ModelCard(config, LAYOUTS["kinect25"], class_names(NUM_CLASSES), max_persons=2)
    torch.manual_seed(0)
    write_weights(folder / WEIGHTS, build_model(card).state_dict(), card)
    return folder


def rows_of(path: Path) -> int:
    with open(path, newline="") as file:
        return len(list(csv.DictReader(file)))


@pytest.mark.parametrize("kind", ["skeleton", "heatmap"])
def test_predict(benchmark, paths, tmp_path, kind, who, dtype):
    out, some = tmp_path / "out.csv", paths[: FILES[kind, who]]
    if who == "fastpose":
        predictor = Predictor.load(write_run(tmp_path, kind), precision=dtype)

        def predict() -> None:
            write_results(out, predict_files(predictor, some, ReadOptions(), keep_features=False))
    else:
        strong = who == "strong"
        model = peers_predict.network(kind, NUM_CLASSES, strong=strong)

        def predict() -> None:
            with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bf16"):
                peers_predict.predict(model, kind, some, out, strong=strong)

    measure(benchmark, predict, SECTION, who=who, case=kind, dtype=dtype, clips=len(some), least=2)
    assert rows_of(out) == len(some)


def test_command(benchmark, paths, tmp_path):
    run, out = write_run(tmp_path, "skeleton"), tmp_path / "out.csv"
    command = [sys.executable, "-m", "fastpose.predict", str(run), str(paths[0].parent), "--out", str(out)]
    measure(
        benchmark,
        lambda: subprocess.run(command, check=True, capture_output=True),
        SECTION,
        least=1,
        case="skeleton",
        row="skeleton, whole command",
        clips=NUM_FILES,
        note=f"{NUM_FILES} files, with the start",
    )
    assert rows_of(out) == NUM_FILES
