"""The model that fastpose comes with, opened by its name."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from support.shared import shared_folder

from fastpose._command import load_command
from fastpose.data import PackedClips
from fastpose.data.pack.layouts import COCO17, PENN13
from fastpose.prediction import Predictor
from fastpose.weights import load_card, load_checkpoint, load_model
from fastpose.weights.card import build_model
from fastpose.weights.named import STARTERS, locate, starter_names
from fastpose.weights.runs import find_runs, weights_file

NAME = "penn-robust"
FILE = STARTERS / f"{NAME}.safetensors"


@pytest.fixture(scope="module")
def penn(tmp_path_factory):
    """Penn Action as `fastpose pack` makes it."""
    out = tmp_path_factory.mktemp("penn") / "penn.safetensors"
    assert (
        load_command("pack").main(["penn-action", str(shared_folder() / "penn_action"), "--out", str(out)])
        == 0
    )
    return out


def test_the_file():
    assert starter_names() == [NAME]
    assert FILE.stat().st_size <= 6 * 2**20
    assert {value.dtype for value in load_file(FILE).values() if value.is_floating_point()} == {torch.float16}
    card = load_card(NAME)
    assert card.layout == PENN13
    assert (len(card.class_names), card.max_persons) == (15, 1)
    assert card.prior is not None
    assert card.prior.num_joints == 13
    assert "/" not in card.config.data.data
    assert card.config.model.init is None


def test_metadata_and_card_say_the_same():
    with safe_open(FILE, framework="pt") as file:
        facts = file.metadata()
    text = FILE.with_suffix(".md").read_text(encoding="utf-8")
    flat = " ".join(text.split()).lower()
    for name in ("trained_on", "data_licence", "not_for"):
        assert facts[name].lower() in flat
    assert facts["licence"].startswith("Apache-2.0")
    assert facts["commands"] in text
    curve = [pair.split(": ") for pair in facts["top1_percent_by_alpha"].split(", ")]
    assert [alpha for alpha, _ in curve] == ["0", "0.015", "0.02", "0.05", "0.1", "0.2", "0.3"]
    assert "| top-1 % | " + " | ".join(f"{float(share):.1f}" for _, share in curve) + " |" in text


def test_half_precision_is_loaded_as_float32():
    model, card = load_model(NAME)
    stored = load_file(FILE)
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            assert value.dtype == torch.float32
            assert torch.equal(value, stored[name].float())
    fresh = build_model(card)
    load_checkpoint(fresh, weights_file(NAME), strict=True)  # as `fastpose train --init` does
    assert {value.dtype for value in fresh.parameters()} == {torch.float32}


def test_a_path_comes_before_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert locate(NAME) == FILE
    assert find_runs((Path(NAME),)) == {NAME: FILE}
    (tmp_path / NAME).mkdir()
    assert locate(NAME) == Path(NAME)
    with pytest.raises(ValueError, match="penn-robust: holds no finished run"):
        load_model(NAME)


def test_other_names_are_errors_with_a_hint():
    with pytest.raises(ValueError) as found:
        load_model("penn-robost")
    assert str(found.value) == (
        "penn-robost: not found; expected the folder of a finished run; did you mean the starter model 'penn-robust'?"
    )
    with pytest.raises(
        ValueError, match="nothing-like-it: not found; expected the folder of a finished run$"
    ):
        load_card("nothing-like-it")
    with pytest.raises(ValueError, match="pen-robust: holds no finished run .* did you mean"):
        find_runs((Path("pen-robust"),))


def test_it_names_the_actions_of_penns_test_clips(penn, tmp_path, capsys):
    packed = PackedClips.load(penn)
    test = packed.split("test")[::16]
    out = tmp_path / "classes.csv"
    arguments = [NAME, str(penn), "--split", "test", "--out", str(out), "--precision", "fp32"]
    assert load_command("predict").main(arguments) == 0
    with open(out, newline="", encoding="utf-8") as file:
        said = {row["clip"]: row["name_1"] for row in csv.DictReader(file)}
    right = [said[packed.names[index]] == packed.class_names[packed.labels[index]] for index in test]
    assert len(right) == 67
    assert np.mean(right) >= 0.9


def test_coco17_joints_are_converted_by_name(penn):
    """The head lies at the nose; eyes and ears, which Penn Action lacks, are missing."""
    packed = PackedClips.load(penn)
    test = packed.split("test")[::16]
    clips = []
    for index in test:
        clip = packed.clip(int(index))
        keypoints = np.zeros((*clip.keypoints.shape[:2], 17, 2), np.float32)
        scores = np.zeros(keypoints.shape[:3], np.float32)
        for joint, name in enumerate(PENN13.joints):
            place = COCO17.joints.index("nose" if name == "head" else name)
            keypoints[:, :, place], scores[:, :, place] = (
                clip.keypoints[:, :, joint],
                clip.scores[:, :, joint],
            )
        clips.append(
            {
                "name": clip.name,
                "keypoints": keypoints,
                "scores": scores,
                "label": 0,
                "image_size": clip.image_size,
            }
        )
    predictions = Predictor.load(NAME, precision="fp32").predict(
        PackedClips.from_clips(clips, layout="coco17"), 1
    )
    names = [packed.class_names[packed.labels[index]] for index in test]
    assert np.mean([said.names[0] == name for said, name in zip(predictions, names, strict=True)]) >= 0.9
