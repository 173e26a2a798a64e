import csv
from dataclasses import replace

import numpy as np
import pytest
import torch
from support.clips import waving_clips
from support.training import TINY, top1_of

from fastpose import evaluate
from fastpose.data import ClipSampler
from fastpose.data.pack.clip_builder import name_hash
from fastpose.evaluation.curves import (
    format_spread,
    format_table,
    mean_corruption_accuracy,
    measure_curve,
    measure_families,
    read_curves,
)
from fastpose.evaluation.families import read_families
from fastpose.evaluation.metrics import AccuracyMeter
from fastpose.evaluation.scores import score_clips, score_families
from fastpose.models.quantized import quantized
from fastpose.settings import EvalConfig
from fastpose.settings.families import FAMILIES
from fastpose.system.placement import Placement
from fastpose.training.experiment import plan_runs, run_experiment
from fastpose.training.setup import Setup
from fastpose.training.trainer import Trainer
from fastpose.weights.card import build_model
from fastpose.weights.runs import WEIGHTS, find_runs, load_model, write_weights


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A pack on disk and an experiment of two finished runs on it."""
    folder = tmp_path_factory.mktemp("finished")
    packed = waving_clips()
    packed.save(folder / "clips.safetensors")
    base = replace(
        TINY,
        data=replace(TINY.data, data=str(folder / "clips.safetensors")),
        optim=replace(TINY.optim, epochs=1),
    )
    curves = run_experiment(packed, plan_runs(base, ["supervised", "contrastive"], [0]), folder / "runs")
    return folder, curves


def test_the_command_repeats_the_curves_of_training(finished, tmp_path, capsys):
    folder, curves = finished
    out = tmp_path / "evaluation"
    code = evaluate.main(
        [str(folder / "runs"), "--alphas", "0", "0.1", "--out", str(out), "--precision", "fp32"]
    )
    assert code == 0
    measured = top1_of(out / "robustness.csv")
    assert measured == {
        (name, alpha): pytest.approx(accuracy.top1_percent, abs=1e-3)
        for name, curve in curves.items()
        for alpha, accuracy in curve.items()
    }
    assert (out / "robustness.png").read_bytes()[:4] == b"\x89PNG"
    printed = capsys.readouterr().out
    assert "contrastive-0-0.05-s0" in printed
    assert "supervised-s0, α = 0, most confused: " in printed
    assert printed.count("% with 95 % confidence (Wilson)") == 2
    assert "always answering the largest class: 37.5 %" in printed  # 3 of 8 clips
    for part in ("classes", "pairs"):
        assert (out / f"confusion-supervised-s0-0-{part}.csv").exists()
    rows = list(csv.reader((out / "confusion-supervised-s0-0.csv").read_text().splitlines()))
    assert rows[0] == ["true", "speed 0", "speed 1", "speed 2"]
    counts = np.array([row[1:] for row in rows[1:]], int)
    assert counts.sum() == 8
    assert 100 * counts.trace() / 8 == pytest.approx(measured["supervised-s0", 0.0], abs=1e-3)


def test_products_of_whole_numbers(finished, tmp_path):
    folder, _ = finished
    run = folder / "runs" / "supervised-s0"
    scored = {}
    for precision in ("fp32", "int8"):
        model, card = load_model(run)
        placement = Placement.choose("cpu", precision, evaluates=True)
        model = placement.place(model)
        model = quantized(model) if precision == "int8" else model
        settings = EvalConfig(alphas=(0.0, 0.1))
        scores = score_clips(
            model, waving_clips(), None, card.config.data.sampling, settings, placement=placement
        )
        scored[precision] = scores
    flags = [
        "--alphas",
        "0",
        "0.1",
        "--limit",
        "all",
        "--precision",
        "int8",
        "--out",
        str(tmp_path / "whole"),
    ]
    assert evaluate.main([str(run), *flags]) == 0
    difference = (scored["int8"].by_alpha[0.1] - scored["fp32"].by_alpha[0.1]).abs().amax()
    assert 0 < difference < 0.02
    measured = top1_of(tmp_path / "whole" / "robustness.csv")
    test = waving_clips().split("test")
    for alpha, scores in scored["int8"].by_alpha.items():
        correct = (scores.argmax(1) == scored["int8"].labels)[test].float().mean()
        assert measured["supervised-s0", alpha] == pytest.approx(100 * correct.item(), abs=1e-3)


def test_families_are_measured_beside_the_curve(finished, tmp_path, capsys):
    folder, _ = finished
    flags = ["--alphas", "0", "0.1", "--precision", "fp32", "--out"]
    assert evaluate.main([str(folder / "runs"), *flags, str(tmp_path / "curve")]) == 0
    assert not (tmp_path / "curve" / "families.csv").exists()
    capsys.readouterr()
    assert evaluate.main([str(folder / "runs"), *flags, str(tmp_path / "all"), "--families", "all"]) == 0
    printed = capsys.readouterr().out
    for file in ("robustness.csv", "confusion-supervised-s0-0.csv"):
        assert (tmp_path / "all" / file).read_bytes() == (tmp_path / "curve" / file).read_bytes()
    measured = read_families(tmp_path / "all" / "families.csv")
    assert list(measured) == ["contrastive-0-0.05-s0", "supervised-s0"]
    packed = waving_clips()
    for name, families in measured.items():
        model, _ = load_model(folder / "runs" / name)
        expected = measure_families(
            model,
            packed,
            packed.split("test"),
            TINY.data.sampling,
            EvalConfig(alphas=(0, 0.1)),
            families="all",
        )
        assert list(families) == list(FAMILIES)
        for family, curve in families.items():
            assert list(curve) == [0, 0.1]
            for alpha, accuracy in curve.items():
                wanted = expected[family][alpha]
                assert accuracy.top1_percent == pytest.approx(wanted.top1_percent, abs=1e-3)
                assert accuracy.mean_class_percent == pytest.approx(wanted.mean_class_percent, abs=1e-3)
        mca = mean_corruption_accuracy(families)
        assert f"mCA of {name}: {mca:.1f} %, the mean over {len(FAMILIES)} families" in printed
    assert f"8 clips × {1 + len(FAMILIES)} noise levels" in printed
    assert (tmp_path / "all" / "families.png").read_bytes()[:4] == b"\x89PNG"


def test_many_clips_and_flips_average_the_scores(finished):
    folder, _ = finished
    packed = waving_clips()
    trainer = Trainer(Setup(TINY, packed), folder, quiet=True)
    settings = EvalConfig(alphas=(0.05,), num_clips=2, flip_test=True, eval_batch_size=3)
    seen = []
    real = trainer.setup.model.forward
    trainer.setup.model.forward = lambda x: seen.append(real(x)) or seen[-1]
    curve = measure_curve(trainer.setup.model, packed, packed.split("test"), TINY.data.sampling, settings)
    assert len(seen) == 3 * 2 * 2  # batches of 3, 3 and 2 clips, two draws, each also mirrored
    meter = AccuracyMeter(3)
    for i, begin in enumerate(range(0, 8, 3)):
        scores = sum(output.logits.softmax(1) for output in seen[4 * i : 4 * i + 4]) / 4
        meter.update(scores, torch.as_tensor(packed.labels[packed.split("test")][begin : begin + 3]))
    assert curve[0.05].top1_percent == meter.compute().top1_percent


def test_batch_size_does_not_change_the_curve():
    packed = waving_clips()
    model = Setup(TINY, packed).model
    curves = [
        measure_curve(
            model,
            packed,
            packed.split("test"),
            TINY.data.sampling,
            EvalConfig(alphas=(0, 0.2), eval_batch_size=size),
        )
        for size in (1, 5, 64)
    ]
    for curve in curves[1:]:
        for alpha in (0, 0.2):
            assert torch.equal(curve[alpha].confusion, curves[0][alpha].confusion)


def test_a_limited_run_is_measured_on_its_own_clips(finished, tmp_path, capsys):
    folder, _ = finished
    data = replace(TINY.data, data=str(folder / "clips.safetensors"), limit=5)
    config = replace(TINY, arm="supervised", data=data, optim=replace(TINY.optim, epochs=1))
    run_experiment(waving_clips(), {"limited": config}, tmp_path / "runs")
    for flags, count in [([], 5), (["--limit", "all"], 8), (["--limit", "3"], 3), (["--limit", "99"], 8)]:
        capsys.readouterr()
        assert evaluate.main([str(tmp_path / "runs"), "--alphas", "0", "--out", str(tmp_path), *flags]) == 0
        with open(tmp_path / "robustness.csv", newline="") as file:
            assert [row["num_clips"] for row in csv.DictReader(file)] == [str(count)]
        assert ("--limit all for the whole split" in capsys.readouterr().out) == (not flags)


@pytest.mark.parametrize("input", ["skeleton", "heatmap"])
def test_other_frames_and_sizes_than_in_training(input, tmp_path, monkeypatch):
    """The input is that of a model which was built for these settings."""
    monkeypatch.chdir(tmp_path)
    packed = waving_clips(9)
    packed.save("clips.safetensors")
    data = replace(TINY.data, data="clips.safetensors")
    config = replace(
        TINY, arm="supervised", data=data, model=replace(TINY.model, input=input, normalize=True)
    )
    trainer = Trainer(Setup(config, packed), tmp_path, quiet=True)
    write_weights(tmp_path / WEIGHTS, trainer.setup.model.state_dict(), trainer.setup.card)
    seen = []
    wider = replace(config, data=replace(data, sampling=replace(data.sampling, clip_len=12, size=(20, 24))))
    expected = build_model(replace(trainer.setup.card, config=wider))
    monkeypatch.setattr(
        "fastpose.evaluation.scoring_processes.score_families",
        lambda model, *args, **named: seen.append((model, args)) or score_families(model, *args, **named),
    )
    flags = [".", "--alphas", "0.1", "--precision", "fp32"]
    assert evaluate.main([*flags, "--clip-len", "12", "--size", "20", "24"]) == 0
    model, (_, _, sampling, _) = seen.pop()
    assert (sampling.clip_len, sampling.size) == (12, (20, 24))
    batch = ClipSampler(packed, clip_len=12, size=(20, 24), train=False).batch([0, 1])
    assert torch.equal(model.dense_input(batch), expected.dense_input(batch))

    assert evaluate.main([*flags, "--preset", "pyskl-test", "--num-clips", "2", "--size", "16", "16"]) == 0
    _, (_, _, sampling, settings) = seen.pop()
    assert (sampling.clip_len, sampling.size) == (48, (16, 16))
    assert (settings.num_clips, settings.flip_test) == (2, True)


def renamed(packed, names):
    """The clips under other names, and so with other noise."""
    hashes = np.array([name_hash(name) for name in names], np.uint64)
    return replace(packed, names=list(names), name_hashes=hashes)


class TestOtherData:
    """Keypoints of another detector, of the clips that a run was to be measured on."""

    def evaluate(self, finished, tmp_path, capsys, packed, *flags):
        """The clips that were scored, by name, the accuracies, and what the command said."""
        packed.save(tmp_path / "other.safetensors")
        folder = finished[0] / "runs" / "supervised-s0"
        flags = ["--data", str(tmp_path / "other.safetensors"), "--out", str(tmp_path), *flags]
        capsys.readouterr()
        code = evaluate.main([str(folder), "--alphas", "0", "0.1", "--precision", "fp32", *flags])
        captured = capsys.readouterr()
        if code:
            return captured.err.splitlines()[-1]
        curve = read_curves(tmp_path / "robustness.csv")["supervised-s0"]
        return curve, captured.out.replace(str(tmp_path) + "/", "").replace(str(finished[0]) + "/", "")

    def test_equal_clips_in_another_order_have_equal_noise(self, finished, tmp_path, capsys):
        packed = waving_clips()
        mixed = packed.subset(np.random.default_rng(0).permutation(24))
        no_splits = replace(mixed, splits={})
        curve, told = self.evaluate(finished, tmp_path, capsys, no_splits)
        own = finished[1]["supervised-s0"]
        for alpha in (0.0, 0.1):
            assert curve[alpha].top1_percent == pytest.approx(own[alpha].top1_percent, abs=1e-3)
            assert curve[alpha].num_clips == 8
        assert "other.safetensors" not in told

    def test_clips_that_are_missing_or_strange_are_named(self, finished, tmp_path, capsys):
        packed = waving_clips()
        kept = packed.subset([0, *range(18, 24)])
        other = renamed(kept, ["new", *kept.names[1:]])
        curve, told = self.evaluate(finished, tmp_path, capsys, other)
        assert curve[0].num_clips == 6
        assert "2 of its 8 test clips are not in other.safetensors (first 'clip016')" in told
        assert "1 clips of other.safetensors are not in clips.safetensors (first 'new'); left out" in told
        model, _ = load_model(finished[0] / "runs" / "supervised-s0")
        clips = packed.split("test")[2:]
        expected = measure_curve(model, packed, clips, TINY.data.sampling, EvalConfig(alphas=(0, 0.1)))
        for alpha, accuracy in expected.items():
            assert curve[alpha].top1_percent == pytest.approx(accuracy.top1_percent, abs=1e-3)

    def test_a_split_of_its_own_is_taken_as_it_is(self, finished, tmp_path, capsys):
        curve, told = self.evaluate(finished, tmp_path, capsys, waving_clips(18), "--test-split", "train")
        assert curve[0].num_clips == 12
        assert "are not in" not in told

    def test_none_of_its_clips(self, finished, tmp_path, capsys):
        packed = waving_clips(9)
        other = renamed(packed, [f"other{i}" for i in range(9)])
        curve, told = self.evaluate(finished, tmp_path, capsys, other)
        assert curve[0].num_clips == 3
        assert "none of its 8 test clips is in other.safetensors" in told
        assert "measured on the test split of other.safetensors" in told

    def test_data_of_the_run_that_are_gone(self, finished, tmp_path, capsys, monkeypatch):
        gone = finished[0] / "clips.safetensors"
        gone.rename(tmp_path / "moved")
        try:
            curve, told = self.evaluate(finished, tmp_path, capsys, waving_clips(12))
        finally:
            (tmp_path / "moved").rename(gone)
        assert curve[0].num_clips == 4
        assert "clips.safetensors, whose test clips it was to be measured on, is not there" in told
        assert "measured on the test split of other.safetensors" in told

    def test_other_classes_are_refused(self, finished, tmp_path, capsys):
        packed = waving_clips()
        error = self.evaluate(finished, tmp_path, capsys, replace(packed, labels=(packed.labels + 1) % 3))
        assert "clip 'clip016' is of class 2 there, and of another in" in error
        assert error.endswith("expected the same classes in the same order")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{runs}", "--clip-len", "0"], "clip_len = 0: expected an integer from 1"),
        (["{runs}", "--preset", "best"], "unknown preset 'best'; expected one of"),
        ([], "no run is named"),
        (["absent"], "holds no finished run"),
        (["{runs}", "--test-split", "xview_val"], "xview_val"),
        (["{runs}", "--data", "absent.safetensors"], "absent.safetensors"),
        (["{runs}", "--alphas", "0.1", "--confusion-alphas", "0"], "confusion_alphas"),
        (["{runs}", "--device", "tpu"], "device = 'tpu': expected auto, cpu or cuda"),
    ],
)
def test_mistakes_end_in_one_line(finished, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    arguments = [argument.format(runs=finished[0] / "runs") for argument in arguments]
    assert evaluate.main(arguments) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error


def test_foreign_and_damaged_weights(finished, tmp_path, capsys):
    for name, content in [
        ("empty", b""),
        ("text", b"hello, this is no weights file"),
        ("huge", b"\xff" * 64),
    ]:
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(content)
        assert evaluate.main([str(tmp_path / name)]) == 2
        assert "model.safetensors" in capsys.readouterr().err


def test_runs_are_found_and_named(finished):
    folder, _ = finished
    assert set(find_runs((folder / "runs",))) == {"supervised-s0", "contrastive-0-0.05-s0"}
    assert set(find_runs((folder / "runs" / "supervised-s0",))) == {"supervised-s0"}


def test_tables_by_hand():
    meters = {}
    for hits in (8, 6):
        meter = AccuracyMeter(2)
        labels = torch.zeros(10, dtype=torch.int64)
        scores = torch.eye(2)[[0] * hits + [1] * (10 - hits)]
        meter.update(scores, labels)
        meters[hits] = {0.0: meter.compute()}
    assert format_table({"a": meters[8], "b": meters[6]}).splitlines()[1:] == [
        "a              80.0",
        "b              60.0",
    ]
    assert "70.0±14.1" in format_spread({"a": [meters[8], meters[6]]})


@pytest.mark.parametrize(
    ("families", "message"),
    [
        (["drfit"], "families: no noise family 'drfit'; there are: gaussian, "),
        (["drift", "drift"], "families: noise family 'drift' is named twice"),
        (["all", "drift"], "families: no noise family 'all'"),
    ],
)
def test_families_that_there_are_not(finished, capsys, families, message):
    with pytest.raises(SystemExit) as stop:
        evaluate.main([str(finished[0] / "runs"), "--families", *families])
    assert stop.value.code == 2
    assert message in " ".join(capsys.readouterr().err.replace("│", " ").split())
