"""The preset dct_mlp from clips to a curve, and its runs measured and used again."""

import csv

from support.clips import waving_clips

from fastpose import evaluate, train
from fastpose.prediction import Predictor
from fastpose.weights import load_model


def top1(path):
    with open(path, newline="") as file:
        return {(row["run"], float(row["alpha"])): float(row["top1_percent"]) for row in csv.DictReader(file)}


def test_three_arms_and_evaluation_again(tmp_path, monkeypatch, capsys):
    """Of 17 clips in batches of 8, the last batch is one clip."""
    monkeypatch.chdir(tmp_path)
    packed = waving_clips(40)
    packed.save("clips.safetensors")
    shared = ["--alphas", "0", "0.1", "--device", "cpu", "--precision", "fp32"]
    command = ["--data", "clips.safetensors", "--preset", "dct_mlp", "--limit", "17", "--epochs", "8"]
    command += ["--batch-size", "8", "--no-joint-pass", "--ema", "0", "--jobs", "1", "--out", "runs", *shared]
    assert train.main([*command, "--arms", "supervised", "augmented", "contrastive"]) == 0
    measured = top1("runs/robustness.csv")
    runs = ("supervised-s0", "augmented-0-0.3-s0", "contrastive-0-0.3-s0")
    assert {run for run, _ in measured} == set(runs)
    assert min(measured[run, 0.0] for run in runs) > 80
    assert evaluate.main(["runs", "--limit", "17", *shared]) == 0
    assert top1("evaluation/robustness.csv") == measured
    model, card = load_model("runs/contrastive-0-0.3-s0")
    assert (type(model).__name__, card.config.model.model) == ("DctMLP", "dct_mlp")
    predictions = Predictor.load("runs/supervised-s0", device="cpu").predict(packed.subset(range(3)))
    assert [prediction.features.shape for prediction in predictions] == [(256,)] * 3
    assert "error" not in capsys.readouterr().err


def test_the_preset_is_the_augmented_arm():
    arguments = train.parse(["--preset", "dct_mlp", "--data", "clips.safetensors"])
    assert arguments.arms == ("augmented",)
    assert (arguments.model.model, arguments.loss.ce_views, arguments.optim.alpha) == (
        "dct_mlp",
        "both",
        "0:0.3",
    )
    assert arguments.optim.joint_pass
