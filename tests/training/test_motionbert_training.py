"""MotionBERT through the commands: trained in all arms, evaluated, with its own rates and the published data."""

import csv
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from support.clips import waving_clips

from fastpose import evaluate, train
from fastpose.data.pack.layouts import COCO17, PENN13, Layout
from fastpose.data.pack.packed import PackedClips
from fastpose.models import registry
from fastpose.models.motionbert import MotionBERT
from fastpose.settings import DataConfig, ModelConfig, RunConfig, SamplingConfig
from fastpose.settings.files import from_preset
from fastpose.training.optimizer import parameter_groups
from fastpose.training.setup import Setup
from fastpose.training.trainer import Trainer
from fastpose.weights.card import ModelCard, build_model
from fastpose.weights.runs import load_model

OWN = Layout("mine", ("a", "b", "c"), (), ())


@pytest.fixture(autouse=True)
def tiny_models(monkeypatch):
    """Both MotionBERTs, small enough to train in a second."""
    tiny = partial(MotionBERT, dim_feat=16, dim_rep=16, depth=1, num_heads=2, hidden_dim=16)
    monkeypatch.setitem(registry.MODELS, "motionbert", tiny)
    monkeypatch.setitem(registry.MODELS, "motionbert_lite", tiny)


def top1(path):
    with open(path, newline="") as file:
        return {(row["run"], row["alpha"]): float(row["top1_percent"]) for row in csv.DictReader(file)}


def test_three_arms_on_synthetic_data_and_evaluation_again(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FASTPOSE_CACHE", str(tmp_path / "cache"))
    command = ["--preset", "motionbert", "--model", "motionbert_lite", "--input", "skeleton"]
    command += [
        "--arms",
        "supervised",
        "augmented",
        "contrastive",
        "--limit",
        "16",
        "--epochs",
        "1",
        "--jobs",
        "1",
    ]
    command += [
        "--batch-size",
        "8",
        "--alphas",
        "0",
        "0.1",
        "--precision",
        "fp32",
        "--device",
        "cpu",
        "--out",
        "runs",
    ]
    assert train.main(command) == 0
    measured = top1(tmp_path / "runs/robustness.csv")
    assert {run for run, _ in measured} == {"supervised-s0", "augmented-0.01-s0", "contrastive-0.01-s0"}
    assert (
        evaluate.main(
            ["runs", "--alphas", "0", "0.1", "--precision", "fp32", "--device", "cpu", "--limit", "16"]
        )
        == 0
    )
    assert top1(tmp_path / "evaluation/robustness.csv") == measured
    model, card = load_model(tmp_path / "runs/contrastive-0.01-s0")
    assert card.layout.name == "kinect25"
    assert model.num_keypoints == 17
    assert "error" not in capsys.readouterr().err


def test_it_learns_and_both_its_rates_decay(tmp_path):
    config = from_preset("motionbert")
    config = replace(
        config,
        arm="contrastive",
        data=replace(config.data, sampling=replace(config.data.sampling, clip_len=8)),
        optim=replace(
            config.optim, epochs=12, batch_size=8, lr=3e-3, head_lr=1e-2, lr_decay=0.9, precision="fp32"
        ),
    )
    trainer = Trainer(Setup(config, waving_clips()), tmp_path, quiet=True)
    trainer.fit()
    groups = trainer.setup.optimizer.param_groups
    assert [group["lr"] for group in groups] == pytest.approx([3e-3 * 0.9**11, 1e-2 * 0.9**11])
    with open(tmp_path / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert float(rows[-1]["loss"]) < 0.8 * float(rows[0]["loss"])
    assert float(rows[1]["lr"]) == pytest.approx(3e-3 * 0.9)


def test_the_published_preset_trains_and_evaluates(tmp_path):
    preset = from_preset("motionbert-published")
    config = replace(
        preset,
        arm="supervised",
        data=replace(preset.data, sampling=replace(preset.data.sampling, clip_len=30)),
        optim=replace(preset.optim, epochs=2, batch_size=8, precision="fp32", device="cpu"),
        eval=replace(preset.eval, alphas=(0.0, 0.05), num_clips=2),
    )
    trainer = Trainer(Setup(config, waving_clips()), tmp_path, quiet=True)
    batch = next(trainer.batches(0))["clean"]
    assert batch.draws is not None
    joints = trainer.setup.model.prepare_input(batch)
    assert joints.shape == (8, 2, 30, 17, 3)
    assert joints[:, 1, ..., 2].abs().max() == 0
    order = torch.randperm(8)
    again = trainer.setup._sampler.batch(batch.indices[order])
    assert torch.equal(trainer.setup.model.prepare_input(again), joints[order])  # whatever the batch
    still = replace(batch, draws=None)
    assert not torch.allclose(trainer.setup.model.prepare_input(still), joints)
    trainer.fit()
    curve = trainer.measure()
    assert set(curve) == {0.0, 0.05}


def test_published_training_matches_persons():
    packed = waving_clips(12)
    config = from_preset("motionbert-published")
    alone = Setup(config, packed)
    assert alone.packed is packed  # nobody changes places
    clips = []
    for clip in map(packed.clip, range(12)):
        keypoints = np.concatenate([clip.keypoints, clip.keypoints + 400])
        keypoints[:, 5:9] = keypoints[::-1, 5:9].copy()
        clips.append(replace(clip, keypoints=keypoints, scores=np.repeat(clip.scores, 2, axis=0)))
    splits = {name: [packed.names[i] for i in packed.split(name)] for name in ("train", "test")}
    mixed = PackedClips.from_clips(clips, layout=COCO17, class_names=packed.class_names, splits=splits)
    matched = Setup(config, mixed)
    for i in range(12):
        np.testing.assert_array_equal(matched.packed.clip(i).keypoints[:1], packed.clip(i).keypoints)
    other = Setup(from_preset("motionbert"), mixed)
    assert other.packed is mixed


@pytest.mark.parametrize(
    ("layout", "joints", "num_keypoints"), [(PENN13, "h36m17", 17), (PENN13, "own", 13), (OWN, "own", 3)]
)
def test_joints_of_the_model(layout, joints, num_keypoints):
    config = RunConfig(model=ModelConfig(model="motionbert", joints=joints))
    model = build_model(ModelCard(config, layout, ("a", "b"), 1))
    assert model.num_keypoints == num_keypoints
    keypoints = torch.rand(2, 1, 24, layout.num_joints, 3) + 0.1
    assert model.eval()(model.prepare_input(keypoints)).logits.shape == (2, 2)


@pytest.mark.parametrize(
    ("layout", "settings", "message"),
    [
        (OWN, {}, "'mine' to 'h36m17'.*--joints own"),
        (COCO17, {"input": "heatmap"}, "skeleton input only"),
        (PENN13, {"published": True}, "'coco17' or 'h36m17'.*'penn13'"),
    ],
)
def test_what_the_model_cannot_use(layout, settings, message):
    config = RunConfig(
        model=ModelConfig(model="motionbert", **settings),
        data=DataConfig(sampling=SamplingConfig(crop="frame")),
    )
    with pytest.raises(ValueError, match=message):
        build_model(ModelCard(config, layout, ("a", "b"), 1))


@pytest.mark.parametrize(
    ("model", "settings", "name"),
    [
        ("motionbert", {"sigma": 0.8}, "sigma"),
        ("motionbert_lite", {"normalize": False}, "normalize"),
        ("posec3d", {"joints": "own"}, "joints"),
        ("X3D-shallow", {"published": True}, "published"),
    ],
)
def test_a_setting_without_effect_on_the_model_warns(model, settings, name):
    config = RunConfig(
        model=ModelConfig(model=model, **settings), data=DataConfig(sampling=SamplingConfig(crop="frame"))
    )
    with pytest.warns(UserWarning, match=f"^{name} has no effect on the model {model}"):
        build_model(ModelCard(config, COCO17, ("a", "b"), 1))


def test_groups_hold_every_parameter_once():
    model = registry.create_model("motionbert", num_classes=3)
    groups = parameter_groups(model, from_preset("motionbert").optim)
    assert [group.get("lr_scale") for group in groups] == [None, 10]
    counts = [sum(parameter.numel() for parameter in group["params"]) for group in groups]
    assert counts[1] == sum(parameter.numel() for parameter in model.head.parameters())
    assert sum(counts) == sum(parameter.numel() for parameter in model.parameters())
    (whole,) = parameter_groups(model, RunConfig().optim)
    assert len(whole["params"]) == len(list(model.parameters()))


def test_idle_crop_settings_warn(tmp_path):
    config = RunConfig(data=DataConfig(sampling=SamplingConfig(crop="frame", min_box=20.0)))
    with pytest.warns(UserWarning, match="min_box has no effect with crop = 'frame'"):
        Trainer(Setup(config, waving_clips()), tmp_path, quiet=True)
