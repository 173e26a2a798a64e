"""Late fusion: the mean of the scores of several runs, and runs that cannot be fused."""

import csv
from dataclasses import replace

import numpy as np
import pytest
import torch
from support.clips import waving_clips
from support.training import TINY, top1_of

from fastpose import evaluate
from fastpose.data import ClipSampler
from fastpose.evaluation.curves import (
    read_curves,
)
from fastpose.evaluation.families import read_families
from fastpose.evaluation.scores import EVALUATION_STREAM
from fastpose.training.experiment import plan_runs, run_experiment
from fastpose.weights.runs import WEIGHTS, load_model, write_weights


@pytest.fixture(scope="module")
def two_streams(tmp_path_factory):
    """A pack on disk, and a heatmap and a limb model trained on it."""
    folder = tmp_path_factory.mktemp("streams")
    packed = waving_clips(36)
    packed.save(folder / "clips.safetensors")
    for kind in ("heatmap", "limb"):
        config = replace(
            TINY,
            data=replace(TINY.data, data=str(folder / "clips.safetensors")),
            model=replace(TINY.model, model="x3d_shallow", input=kind),
            optim=replace(TINY.optim, epochs=2, ema=0.0, lr=3e-3),
        )
        run_experiment(packed, plan_runs(config, ["supervised"], [0]), folder / kind)
    return folder


def evaluate_streams(folder, out, *more):
    runs = [str(folder / kind / "supervised-s0") for kind in ("heatmap", "limb")]
    alphas = ["--alphas", "0", "0.05", "--confusion-alphas", "0", "0.05"]
    return evaluate.main([*runs, *alphas, "--out", str(out), "--precision", "fp32", *more])


def test_late_fusion_is_the_mean_of_the_scores(two_streams, tmp_path, capsys):
    assert evaluate_streams(two_streams, tmp_path, "--fuse") == 0
    measured = top1_of(tmp_path / "robustness.csv")
    assert "fused" in capsys.readouterr().out
    packed = waving_clips(36)
    sampler = ClipSampler(packed, clip_len=8, size=(16, 16), train=False, seed=0)
    test = packed.split("test")
    singles = {0.0: [], 0.05: []}
    for alpha, parts in singles.items():
        batch = sampler.batch(test, stream=EVALUATION_STREAM, alpha=alpha)
        for kind in ("heatmap", "limb"):
            model, _ = load_model(two_streams / kind / "supervised-s0")
            with torch.no_grad():
                parts.append(model(model.prepare_input(batch)).logits.softmax(1))
        mean = sum(parts) / 2
        top1 = 100 * (mean.argmax(1) == batch.labels).float().mean().item()
        assert measured["fused", alpha] == pytest.approx(top1, abs=1e-3)
        rows = list(csv.reader((tmp_path / f"confusion-fused-{alpha:g}.csv").read_text().splitlines()))
        counts = np.array([row[1:] for row in rows[1:]], int)
        assert counts.sum() == len(test)
        assert 100 * counts.trace() / len(test) == pytest.approx(top1, abs=1e-3)
    assert not torch.allclose(*singles[0.05], atol=1e-3)


def test_families_are_fused_too(two_streams, tmp_path):
    assert evaluate_streams(two_streams, tmp_path, "--fuse", "--families", "swap", "gaussian") == 0
    families = read_families(tmp_path / "families.csv")["fused"]
    curve = read_curves(tmp_path / "robustness.csv")["fused"]
    assert list(families) == ["swap", "gaussian"]
    assert families["gaussian"] == curve
    packed = waving_clips(36)
    sampler = ClipSampler(packed, clip_len=8, size=(16, 16), train=False, seed=0)
    batch = sampler.batch(packed.split("test"), stream=EVALUATION_STREAM, alpha=0.05, families=("swap",))
    models = [load_model(two_streams / kind / "supervised-s0")[0] for kind in ("heatmap", "limb")]
    with torch.no_grad():
        mean = sum(model(batch).logits.softmax(1) for model in models) / 2
    top1 = 100 * (mean.argmax(1) == batch.labels).float().mean().item()
    assert families["swap"][0.05].top1_percent == pytest.approx(top1, abs=1e-3)


def test_a_weight_of_zero_leaves_a_stream_out(two_streams, tmp_path):
    assert evaluate_streams(two_streams, tmp_path, "--fuse", "--fuse-weights", "0", "2") == 0
    measured = top1_of(tmp_path / "robustness.csv")
    limb = next(name for name, _ in measured if name.endswith("limb/supervised-s0"))
    for alpha in (0.0, 0.05):
        assert measured["fused", alpha] == measured[limb, alpha]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--fuse-weights", "1", "1"], "--fuse-weights has no effect without --fuse"),
        (["--fuse", "--fuse-weights", "1"], "1 fusion weights for 2 models: expected one for each"),
        (["--fuse", "--fuse-weights", "0", "0"], "must be numbers ≥ 0, not all 0"),
        (["--fuse", "--fuse-weights", "nan", "1"], "must be numbers ≥ 0, not all 0"),
    ],
)
def test_fusion_weights_are_checked(two_streams, tmp_path, capsys, more, message):
    assert evaluate_streams(two_streams, tmp_path, *more) == 2
    assert message in capsys.readouterr().err


def relabel(run, folder, card):
    """Copy a run under another card."""
    folder.mkdir()
    write_weights(folder / WEIGHTS, load_model(run)[0].state_dict(), card)


def with_data(card, **changes):
    return replace(card, config=replace(card.config, data=replace(card.config.data, **changes)))


def with_sampling(card, **changes):
    return with_data(card, sampling=replace(card.config.data.sampling, **changes))


def test_runs_that_do_not_match_are_not_fused(two_streams, tmp_path, capsys):
    heatmap = two_streams / "heatmap" / "supervised-s0"
    card = load_model(heatmap)[1]
    waving_clips(36, seed=1).save(tmp_path / "others.safetensors")
    changes = {
        "classes": replace(card, class_names=("a", "b", "c")),
        "split": with_data(card, test_split="train"),
        "held-out": with_data(card, val_clips=10, test_on="val"),
        "data": with_data(card, data=str(tmp_path / "others.safetensors")),
        "length": with_sampling(card, clip_len=9),
    }
    for name, changed in changes.items():
        relabel(heatmap, tmp_path / name, changed)
        assert (
            evaluate.main([str(heatmap), str(tmp_path / name), "--fuse", "--out", str(tmp_path / "x")]) == 2
        )
        error = capsys.readouterr().err.splitlines()[-1]
        expected = {
            "classes": "their classes differ",
            "length": "they see 8 frames (segments) and 9 frames (segments) of a clip",
        }
        assert error.startswith(f"error: supervised-s0 and {name} cannot be fused: ")
        assert expected.get(name, "they are measured on different clips") in error
    assert not (tmp_path / "x").exists()
    assert evaluate.main([str(heatmap), "--fuse", "--out", str(tmp_path / "x")]) == 2
    assert "--fuse needs two or more runs, got supervised-s0" in capsys.readouterr().err
    relabel(heatmap, tmp_path / "fused", card)
    assert evaluate.main([str(heatmap), str(tmp_path / "fused"), "--fuse", "--out", str(tmp_path / "x")]) == 2
    assert "a run is named 'fused'" in capsys.readouterr().err
