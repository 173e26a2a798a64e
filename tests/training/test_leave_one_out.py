"""Training on families of noise, and on all but one of them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.clips import waving_clips
from support.training import TINY, rows_of, weights_of

from fastpose import train
from fastpose.data import AlphaRange, ClipSampler
from fastpose.evaluation.curves import measure_families, read_curves
from fastpose.evaluation.families import read_families
from fastpose.evaluation.metrics import Accuracy
from fastpose.settings.families import FAMILIES
from fastpose.settings.files import from_file
from fastpose.training.experiment import plan_runs
from fastpose.training.leave_one_out import join_left_out, leave_one_out
from fastpose.training.setup import Setup
from fastpose.weights.runs import load_model

THREE = ("gaussian", "drift", "swap")


def with_families(*families, arm="augmented"):
    return replace(TINY, arm=arm, optim=replace(TINY.optim, train_families=families))


@pytest.mark.parametrize("arm", ["augmented", "contrastive"])
def test_the_noisy_view_draws_from_the_families(arm):
    packed, clips = waving_clips(), np.arange(16)
    sampler = ClipSampler(packed, TINY.data.sampling, train=True, seed=TINY.seed)
    for families in (("gaussian",), ("drift", "swap"), FAMILIES):
        views = Setup(with_families(*families, arm=arm), packed).draw(clips, epoch=2)
        expected = sampler.batch(clips, epoch=2, stream=1, alpha=AlphaRange(0, 0.05), families=families)
        assert torch.equal(views["noisy"].keypoints, expected.keypoints)
        if arm == "contrastive":
            clean = sampler.batch(clips, epoch=2, stream=0)
            assert torch.equal(views["clean"].keypoints, clean.keypoints)
    gaussian = Setup(with_families("gaussian", arm=arm), packed).draw(clips, epoch=2)
    assert not torch.equal(gaussian["noisy"].keypoints, views["noisy"].keypoints)


def test_names_of_runs_tell_their_families():
    names = {families: list(plan_runs(with_families(*families), ["supervised", "augmented"], [1])) for families in
             (("gaussian",), ("drift",), THREE, FAMILIES)}  # fmt: skip
    assert {name for pair in names.values() for name in pair if "supervised" in name} == {"supervised-s1"}
    assert [pair[1] for pair in names.values()] == [
        "augmented-0-0.05-s1",
        "augmented-0-0.05-drift-s1",
        "augmented-0-0.05-gaussian-drift-swap-s1",
        "augmented-0-0.05-all-s1",
    ]


def test_each_run_is_trained_on_the_others_and_measured_on_one():
    plan = leave_one_out(plan_runs(with_families(*FAMILIES), ["contrastive", "supervised"], [0, 4]))
    assert len(plan) == 2 * len(FAMILIES) + 2
    for seed in (0, 4):
        for family in FAMILIES:
            run = plan[f"contrastive-0-0.05-all-without-{family}-s{seed}"]
            assert (run.seed, run.arm, run.eval.families) == (seed, "contrastive", (family,))
            assert run.optim.train_families == tuple(other for other in FAMILIES if other != family)
            assert replace(run, optim=TINY.optim, eval=TINY.eval, seed=0) == TINY
        control = plan[f"supervised-s{seed}"]
        assert control.eval.families == FAMILIES
        assert control.idle_settings() == []
    measured = replace(with_families(*THREE), eval=replace(TINY.eval, families=("scores",)))
    with pytest.warns(
        UserWarning, match="families has no effect on runs that are measured on what they leave out"
    ):
        leave_one_out(plan_runs(measured, ["augmented"], [0]))
    with pytest.raises(ValueError, match="train_families = drift: expected two noise families or more"):
        leave_one_out(plan_runs(with_families("drift"), ["augmented"], [0]))


def test_runs_are_joined_by_what_they_left_out():
    def curve(top1):
        return {0.1: Accuracy(top1, 0, 0, num_clips=4)}

    runs = {
        "supervised-s0": {"swap": curve(1), "gaussian": curve(2)},
        "augmented-0.1-all-without-swap-s0": {"swap": curve(3)},
        "augmented-0.1-all-without-scores-s10": {"scores": curve(4)},
        "augmented-0.1-all-without-drop_random-s0": {"swap": curve(5)},  # was measured on something else
    }
    gaussian = dict.fromkeys(runs, curve(6)) | {"augmented-0.1-all-without-gaussian-s0": curve(7)}
    whole, joined = join_left_out(runs, gaussian)
    assert whole == {"supervised-s0": runs["supervised-s0"]}
    assert joined == {
        "augmented-0.1-all-s0": {"gaussian": curve(7), "swap": curve(3)},
        "augmented-0.1-all-s10": {"scores": curve(4)},
    }
    assert list(joined["augmented-0.1-all-s0"]) == ["gaussian", "swap"]


def test_leaving_one_out_by_one_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    packed = waving_clips()
    packed.save("clips.safetensors")
    flags = "--data clips.safetensors --preset report --arms augmented supervised --seeds 0 1 --epochs 1 --alphas 0 0.1"
    flags += (
        " --size 16 16 --clip-len 8 --precision fp32 --jobs 1 --out runs --leave-one-out --train-families"
    )
    command = [*flags.split(), *THREE]
    assert train.main(command) == 0
    printed = capsys.readouterr().out
    joined = read_families(tmp_path / "runs" / "leave_one_out.csv")
    name = "augmented-0.01-gaussian-drift-swap"
    assert list(joined) == [f"{name}-s0", f"{name}-s1"]
    for seed in (0, 1):
        assert tuple(joined[f"{name}-s{seed}"]) == THREE
        for family, curve in joined[f"{name}-s{seed}"].items():
            folder = tmp_path / "runs" / f"{name}-without-{family}-s{seed}"
            config = from_file(folder / "config.json")
            assert config.optim.train_families == tuple(other for other in THREE if other != family)
            model, _ = load_model(folder)
            (expected,) = measure_families(
                model, packed, packed.split("test"), config.data.sampling, config.eval, seed=seed
            ).values()
            assert [a.top1_percent for a in curve.values()] == pytest.approx(
                [a.top1_percent for a in expected.values()], abs=1e-3
            )
    control = read_families(tmp_path / "runs" / "families.csv")
    assert list(control) == ["supervised-s0", "supervised-s1"]
    assert {tuple(families) for families in control.values()} == {THREE}
    means = [
        np.mean([accuracy.top1_percent for curve in families.values() for accuracy in curve.values()])
        for families in joined.values()
    ]
    assert (
        f"mCA of {name}: {np.mean(means):.1f}±{np.std(means, ddof=1):.1f} %, the mean over 3 families"
        in printed
    )
    assert "mCA of supervised: " in printed

    assert train.main(command) == 2
    assert "exists; use --resume to go on" in capsys.readouterr().err
    run = tmp_path / "runs" / f"{name}-without-drift-s1"
    before = (
        rows_of(run / "metrics.csv"),
        weights_of(run),
        (tmp_path / "runs" / "leave_one_out.csv").read_bytes(),
    )
    monkeypatch.setattr("fastpose.training.trainer.Trainer._train_epoch", None)  # nothing is trained again
    assert train.main([*command, "--resume"]) == 0
    assert rows_of(run / "metrics.csv") == before[0]
    assert all(torch.equal(value, before[1][key]) for key, value in weights_of(run).items())
    assert (tmp_path / "runs" / "leave_one_out.csv").read_bytes() == before[2]


def test_all_families_are_left_out_by_default(tmp_path, monkeypatch):
    planned = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "fastpose.training.experiment.run_experiment", lambda packed, plan, *_, **__: planned.append(plan)
    )
    waving_clips(12).save("clips.safetensors")
    assert (
        train.main(
            ["--data", "clips.safetensors", "--arms", "contrastive", "--leave-one-out", "--out", "runs"]
        )
        == 0
    )
    assert list(planned[0]) == [f"contrastive-0-0.3-all-without-{family}-s0" for family in FAMILIES]


def test_one_family_cannot_be_left_out(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    waving_clips(12).save("clips.safetensors")
    flags = "--data clips.safetensors --leave-one-out --train-families drift --out runs"
    assert train.main(flags.split()) == 2
    assert "train_families = drift: expected two noise families or more" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_training_measures_the_families_it_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    waving_clips(12).save("clips.safetensors")
    flags = "--data clips.safetensors --arms augmented --alpha 0.01 --epochs 1 --alphas 0 0.1 --size 16 16 --clip-len 8"
    flags += " --out runs"
    assert train.main([*flags.split(), "--families", "swap", "gaussian", "--train-families", "drift"]) == 0
    run = tmp_path / "runs" / "augmented-0.01-drift-s0"
    families = read_families(run / "families.csv")[run.name]
    assert list(families) == ["swap", "gaussian"]
    assert families["gaussian"] == read_curves(run / "robustness.csv")[run.name]
    assert read_families(tmp_path / "runs" / "families.csv") == {run.name: families}
    assert f"mCA of {run.name}: " in capsys.readouterr().out
    assert not (tmp_path / "runs" / "leave_one_out.csv").exists()
