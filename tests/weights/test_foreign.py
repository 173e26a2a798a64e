"""Checkpoints that do not say what they are."""

from dataclasses import replace

import pytest
import torch

from fastpose.data import get_layout
from fastpose.models import create_model
from fastpose.settings import CheckpointConfig, ModelConfig, RunConfig
from fastpose.weights.foreign import load_foreign, open_model

COCO = get_layout("coco17")
HEATMAP = RunConfig(model=ModelConfig(input="heatmap"))


@pytest.fixture(scope="module")
def network():
    return create_model("posec3d", input="heatmap", num_classes=7)


@pytest.fixture
def checkpoint(tmp_path, network):
    path = tmp_path / "best.pth"
    torch.save({"state_dict": network.state_dict()}, path)
    return path


def test_classes_are_counted_in_the_head(checkpoint, network):
    model, card = load_foreign(checkpoint, HEATMAP, COCO)
    assert card.class_names == tuple(f"class_{k}" for k in range(7))
    assert (model.num_classes, model.training) == (7, False)
    x = torch.rand(1, 17, 2, 16, 16)
    with torch.no_grad():
        assert torch.equal(model(x).logits, network.eval()(x).logits)


def test_names_must_be_as_many_as_classes(checkpoint):
    names = list("abcdefg")
    assert load_foreign(checkpoint, HEATMAP, COCO, names)[1].class_names == tuple(names)
    with pytest.raises(ValueError, match="classifier has 7 classes, but 6 are named"):
        load_foreign(checkpoint, HEATMAP, COCO, names[:6])


def test_presets_say_how_clips_are_sampled(checkpoint):
    settings = CheckpointConfig(model="posec3d", input="heatmap", preset="pyskl-test")
    _, card = open_model(checkpoint, settings)
    assert (card.config.data.sampling.clip_len, card.config.data.sampling.size) == (48, (64, 64))
    assert card.layout == COCO


def test_motionbert_is_fed_as_published(tmp_path):
    network = create_model("motionbert_lite", num_classes=3)
    torch.save({"model": network.state_dict()}, tmp_path / "best.bin")
    for preset, published, frames in ((None, True, 243), ("motionbert", False, 24)):
        settings = CheckpointConfig(model="MotionBERT-lite", preset=preset)
        model, card = open_model(tmp_path / "best.bin", settings)
        assert (card.config.model.published, card.config.data.sampling.clip_len) == (published, frames)
        assert model.pose_input.published == published


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\nb\na\n", "names.txt, line 3: 'a' is the class of line 1, too"),
        ("a\n\nb\n", "names.txt, line 2: expected a class name, got an empty line"),
        ("\x00é", "names.txt: no text of class names"),
        ("a\nb\n\n", "classifier has 7 classes, but 2 are named"),
    ],
)
def test_class_names_are_told_by_line(checkpoint, tmp_path, text, message):
    (tmp_path / "names.txt").write_bytes(text.encode("latin-1"))
    settings = CheckpointConfig(model="posec3d", input="heatmap", class_names=tmp_path / "names.txt")
    with pytest.raises(ValueError, match=message):
        open_model(checkpoint, settings)


@pytest.mark.parametrize(
    ("config", "layout", "message"),
    [
        (
            RunConfig(),
            "coco17",
            r"conv1.*17, 1, 7, 7\] in the file.*taken for model 'posec3d', input 'skeleton'",
        ),
        (HEATMAP, "kinect25", r"17, 1, 7, 7\] in the file.*layout 'kinect25'"),
        (replace(HEATMAP, model=ModelConfig(model="resnet")), "coco17", "unknown model 'resnet'"),
    ],
)
def test_another_network(checkpoint, config, layout, message):
    with pytest.raises(ValueError, match=message):
        load_foreign(checkpoint, config, get_layout(layout))


def test_a_backbone_alone_predicts_nothing(tmp_path, network):
    state = {key: value for key, value in network.state_dict().items() if key.startswith("backbone.")}
    torch.save(state, tmp_path / "backbone.pth")
    with pytest.raises(ValueError, match=r"holds no classifier.*expected cls_head.fc_cls.weight"):
        load_foreign(tmp_path / "backbone.pth", HEATMAP, COCO)
    torch.save(state | {"cls_head.fc_cls.weight": torch.zeros(7, 512)}, tmp_path / "half.pth")
    with pytest.raises(ValueError, match="missing .*nothing can be predicted without its classifier"):
        load_foreign(tmp_path / "half.pth", HEATMAP, COCO)
