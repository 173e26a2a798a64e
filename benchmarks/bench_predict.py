"""Predicting: `.skeleton` files in, a csv of the likeliest classes out.

The peer is one process of today's parts: a Python parser, a NumPy pipeline, and the fp32 network with its full
kernels. "command" is the whole program, started anew, imports included.
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

from fastpose.data.pack.layouts import LAYOUTS
from fastpose.data.sources.found_files import ReadOptions
from fastpose.data.sources.ntu_names import class_names
from fastpose.prediction.files import predict_files, write_results
from fastpose.prediction.predictor import Predictor
from fastpose.settings import ModelConfig, RunConfig
from fastpose.weights.card import ModelCard, build_model
from fastpose.weights.runs import WEIGHTS, write_weights

NUM_FILES = 256
PEER_FILES = 16
NUM_CLASSES = 60

pytestmark = pytest.mark.benchmark(group="predict, .skeleton of one person and 80 frames to csv")


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


@pytest.mark.parametrize(("kind", "count"), [("skeleton", NUM_FILES), ("heatmap", 8)])
def test_predict(benchmark, paths, tmp_path, kind, count):
    predictor = Predictor.load(write_run(tmp_path, kind))
    out = tmp_path / "out.csv"

    def predict():
        write_results(out, predict_files(predictor, paths[:count], ReadOptions(), keep_features=False))

    note = str(predictor.placement.dtype).removeprefix("torch.")
    benchmark.extra_info.update(clips=count, case=kind, note=note)
    benchmark.pedantic(predict, rounds=7 if kind == "skeleton" else 2, warmup_rounds=1)
    assert rows_of(out) == count


def test_command(benchmark, paths, tmp_path):
    run, out = write_run(tmp_path, "skeleton"), tmp_path / "out.csv"
    command = [sys.executable, "-m", "fastpose.predict", str(run), str(paths[0].parent), "--out", str(out)]
    benchmark.extra_info.update(clips=NUM_FILES, case="skeleton", note="with the start of Python and torch")
    benchmark.pedantic(lambda: subprocess.run(command, check=True, capture_output=True), rounds=2)
    assert rows_of(out) == NUM_FILES


@pytest.mark.parametrize("kind", ["skeleton", "heatmap"])
def test_peer(benchmark, paths, tmp_path, kind):
    count = PEER_FILES if kind == "skeleton" else 4
    model = peers_predict.network(kind, NUM_CLASSES)
    out = tmp_path / "out.csv"
    benchmark.extra_info.update(clips=count, case=kind, role="peer", note="Python parser, NumPy, fp32")
    benchmark.pedantic(
        lambda: peers_predict.predict(model, kind, paths[:count], out), rounds=2, warmup_rounds=1
    )
    assert rows_of(out) == count
