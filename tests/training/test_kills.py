"""Runs whose process is killed at any point lose nothing: resumed, they end in the same bits."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.killed_runs import train
from support.training import assert_equal_runs

TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    train(folder)
    return folder


@pytest.mark.parametrize("seed", range(2))
def test_a_run_killed_many_times_ends_in_the_same_bits(seed, whole, tmp_path):
    """In the middle of a step, of the writing of a checkpoint, and of every other file."""
    killed = subprocess.run(
        [sys.executable, TESTS / "support" / "killed_runs.py", tmp_path / "run", str(seed), "17"],
        env=os.environ | {"PYTHONPATH": str(TESTS), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    assert int(killed.stdout.split()[-1]) >= 15
    assert_equal_runs(whole, tmp_path / "run")
    assert not list((tmp_path / "run").glob(".*.partial"))
    for file in ("robustness.csv", "confused-pairs.csv", "environment.json", "config.json"):
        assert (whole / file).read_bytes() == (tmp_path / "run" / file).read_bytes()
