"""Clips that several processes score: the same scores, and how they end."""

import multiprocessing
import pickle
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support.clips import waving_clips
from support.training import TINY

from fastpose.data.pack.packed import PackedClips
from fastpose.evaluation import scoring_processes
from fastpose.evaluation.scores import ClipScores
from fastpose.evaluation.scoring_processes import ScoringJob, score_run
from fastpose.settings import EvalConfig, ModelConfig
from fastpose.system.placement import Placement
from fastpose.training.setup import Setup
from fastpose.weights.runs import WEIGHTS, write_weights

INDICES = np.arange(1, 24)


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    path = tmp_path_factory.mktemp("clips") / "clips.safetensors"
    waving_clips(24).save(path)
    return PackedClips.load(path)


@pytest.fixture(scope="module")
def job(packed, tmp_path_factory):
    """Of four clips a part, as a batch has."""
    config = replace(TINY, model=ModelConfig(model="dct_mlp"), data=replace(TINY.data, data=str(packed.path)))
    setup = Setup(config, packed)
    run = tmp_path_factory.mktemp("run")
    write_weights(run / WEIGHTS, setup.model.state_dict(), setup.card)
    return ScoringJob(
        run=run, data=str(packed.path), size=None, sampling=config.data.sampling,
        settings=EvalConfig(alphas=(0.0, 0.1), eval_batch_size=4, num_clips=2), families=("gaussian", "outliers"),
        seed=3, placement=Placement.choose("cpu", "fp32"), model_name="dct_mlp", factory=None,
    )  # fmt: skip


def assert_equal_scores(found, expected):
    assert list(found) == list(expected)
    for family, scores in found.items():
        assert torch.equal(scores.labels, expected[family].labels)
        assert list(scores.by_alpha) == list(expected[family].by_alpha)
        for alpha, level in scores.by_alpha.items():
            assert torch.equal(level, expected[family].by_alpha[alpha])


def test_processes_come_to_the_same_scores(job, packed):
    seen = []
    found = score_run(job, packed, INDICES, processes=2, on_batch=seen.append)
    assert_equal_scores(found, score_run(job, packed, INDICES, processes=1))
    assert sum(seen) == 23 * 3  # clean clips once
    assert len(seen) == 6
    assert not torch.equal(found["outliers"].by_alpha[0.1], found["gaussian"].by_alpha[0.1])


@pytest.mark.parametrize(("threads", "long", "apart"), [(2, 0.0, True), (2, 1e9, False), (1, 0.0, False)])
def test_they_are_started_where_that_is_faster(threads, long, apart, job, packed, monkeypatch):
    monkeypatch.setattr(scoring_processes, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(scoring_processes, "LONG_SECONDS", long)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    asked, score_apart = [], scoring_processes.score_apart

    def spied(job, parts, processes, on_batch):
        asked.append((len(parts), processes))
        return score_apart(job, parts, processes, on_batch)

    monkeypatch.setattr(scoring_processes, "score_apart", spied)
    seen = []
    found = score_run(job, packed, INDICES, processes=None, on_batch=seen.append)
    assert asked == ([(4, 2)] if apart else [])  # of 6 parts, two of which told how long the others take
    assert sum(seen) == 23 * 3
    assert_equal_scores(found, score_run(job, packed, INDICES))


def test_few_clips_are_scored_at_once(job, packed):
    found = score_run(job, packed, INDICES[:3], processes=None)
    assert_equal_scores(found, score_run(job, packed, INDICES[:3]))


def test_what_is_refused_there_is_told_here(job, packed):
    with pytest.raises((ValueError, OSError), match=r"absent\.safetensors"):
        score_run(replace(job, data="absent.safetensors"), packed, INDICES, processes=2)
    assert not multiprocessing.active_children()


def test_a_process_that_is_killed_is_told_of(job, packed):
    def kill(clips):
        for process in multiprocessing.active_children():
            process.kill()

    with pytest.raises(ValueError, match="a process that scored clips has ended, .* --jobs 1"):
        score_run(job, packed, np.tile(INDICES, 40), processes=2, on_batch=kill)
    assert not multiprocessing.active_children()


def test_an_interruption_ends_them(job, packed):
    def interrupt(clips):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score_run(job, packed, np.tile(INDICES, 40), processes=2, on_batch=interrupt)
    assert not multiprocessing.active_children()


def test_a_network_of_no_module_is_scored_here(job, packed):
    unsendable = replace(job, factory=lambda **options: None)
    with pytest.raises(ValueError, match="'dct_mlp': other processes cannot be given it .* or --jobs 1"):
        score_run(unsendable, packed, INDICES, processes=2)
    assert scoring_processes.processes_that_fit(unsendable, 5) == 1


SCRIPT = """
import pickle, sys
import numpy as np
from fastpose.data.pack.packed import PackedClips
from fastpose.evaluation.scores import ClipScores
from fastpose.evaluation.scoring_processes import score_run

if {guard}:
    job = pickle.load(open("job.pkl", "rb"))
    try:
        score_run(job, PackedClips.load(job.data), np.tile(np.arange(24), {times}), processes=2)
    except ValueError as error:
        print(error, flush=True)
"""


def start_script(folder, job, **how):
    (folder / "job.pkl").write_bytes(pickle.dumps(job))
    (folder / "score.py").write_text(SCRIPT.format(**how))
    return subprocess.Popen([sys.executable, "score.py"], cwd=folder, stdout=subprocess.PIPE, text=True)


def test_they_end_with_a_parent_that_is_killed(job, tmp_path):
    script = start_script(tmp_path, job, guard="__name__ == '__main__'", times=100_000)
    children = Path(f"/proc/{script.pid}/task/{script.pid}/children")
    begun = []
    while len(begun) < 3:  # two, and the one that keeps count of what they share
        time.sleep(0.1)
        begun = children.read_text().split()
    time.sleep(2)
    script.kill()
    script.communicate()
    for _ in range(100):
        if not any(Path(f"/proc/{pid}").exists() for pid in begun):
            break
        time.sleep(0.1)
    else:
        pytest.fail("they go on")


def test_a_script_that_each_would_run_again_is_told_so(job, tmp_path):
    script = start_script(tmp_path, job, guard="True", times=1)
    told, _ = script.communicate(timeout=120)
    expected = (
        "a script that scores clips in several processes keeps what it does under if __name__ == '__main__'"
    )
    assert told.count(expected) == 2  # by each of the two, whose work is done all the same
    assert len(told.splitlines()) == 2


def test_scores_come_from_where_they_are(job, monkeypatch):
    class OnDevice:
        def cpu(self):
            return torch.arange(3)

    there = ClipScores(OnDevice(), {0.1: OnDevice()})
    monkeypatch.setattr(scoring_processes._Own, "scorer", lambda indices: {"gaussian": there})
    labels, levels = scoring_processes._score(INDICES)["gaussian"]
    assert labels.tolist() == levels[0.1].tolist() == [0, 1, 2]
