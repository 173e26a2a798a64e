"""The examples run as they stand, and what they show is so."""

import importlib.util
import json
from pathlib import Path

import pytest
from support.clips import waving_clips

from fastpose.__main__ import main as fastpose
from fastpose.data import PackedClips
from fastpose.evaluation.curves import mean_corruption_accuracy, read_curves
from fastpose.models.registry import MODELS
from fastpose.settings.families import FAMILIES

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


@pytest.fixture
def example(monkeypatch):
    """Import an example by name, as Python does with a script: its folder comes first."""
    monkeypatch.syspath_prepend(EXAMPLES)

    def load(name):
        spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


def test_own_data_is_learned(example, tmp_path):
    assert example("own_data").main(tmp_path) == 0
    packed = PackedClips.load(tmp_path / "own.safetensors")
    assert packed.class_names == ("wave", "kick")
    assert [len(packed.split(name)) for name in ("train", "test")] == [40, 20]
    assert 0.03 < (packed.scores == 0).mean() < 0.07  # the joints that were not found
    (curve,) = read_curves(tmp_path / "runs" / "robustness.csv").values()
    assert list(curve) == [0, 0.02, 0.1]
    assert curve[0].top1_percent >= 90


def test_a_network_of_ones_own_gains_robustness_from_noise(example, capsys):
    curves = example("own_model").main()
    clean, noisy = curves["trained on clean clips"], curves["trained with noise"]
    assert clean[0].num_clips == 40
    assert min(clean[0].top1_percent, noisy[0].top1_percent) >= 90
    assert noisy[0.2].top1_percent > clean[0.2].top1_percent + 5
    assert "trained with noise" in capsys.readouterr().out


def test_a_graph_network_is_measured_under_every_family(example, tmp_path, capsys):
    waving_clips(72).save(tmp_path / "clips.safetensors")
    curve, families = example("gcn").main(str(tmp_path / "clips.safetensors"), epochs=25)
    assert curve[0].num_clips == 24
    assert curve[0].top1_percent >= 90
    assert tuple(families) == FAMILIES
    assert [a.top1_percent for a in families["gaussian"].values()] == [a.top1_percent for a in curve.values()]
    printed = capsys.readouterr().out
    assert f"mCA of GCN: {mean_corruption_accuracy(families):.1f} %" in printed


def test_a_graph_network_of_an_example_is_trained_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(EXAMPLES.parent)
    waving_clips(12).save("clips.safetensors")
    flags = "--data clips.safetensors --epochs 1 --alphas 0 --clip-len 8 --arms augmented --out runs"
    try:
        assert fastpose(["train", "--model", "examples.gcn:GCN", *flags.split()]) == 0
    finally:
        MODELS.pop("examples.gcn:GCN", None)
    assert (tmp_path / "runs" / "augmented-0-0.3-s0" / "model.safetensors").exists()


def test_a_pickle_becomes_a_curve(example, tmp_path):
    assert example("pyskl_to_curve").main(tmp_path) == 0
    packed = PackedClips.load(tmp_path / "packed.safetensors")
    assert packed.layout.name == "coco17"
    assert len(packed.split("xsub_val")) == 20
    config = json.loads((tmp_path / "runs" / "supervised-s0" / "config.json").read_text())
    assert config["arm"] == "supervised"
    (curve,) = read_curves(tmp_path / "curve" / "robustness.csv").values()
    assert list(curve) == [0, 0.02, 0.1]
    assert curve[0].top1_percent >= 90


def test_a_pickle_that_is_none_ends_at_the_first_command(example, tmp_path, capsys):
    (tmp_path / "no.pkl").write_bytes(b"no pickle")
    assert example("pyskl_to_curve").main(tmp_path, str(tmp_path / "no.pkl")) == 2
    assert "no.pkl" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
