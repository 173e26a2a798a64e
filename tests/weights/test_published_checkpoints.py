"""Files as PYSKL, MMAction2 and MotionBERT publish them, with random weights: what else they hold does no harm."""

import json
import sys
import types
from collections import OrderedDict

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from support.shared import shared_folder
from torch.optim.swa_utils import AveragedModel

from fastpose.data import LAYOUTS
from fastpose.models import create_model, load_checkpoint

FAMILY = ("posec3d", "posec3d_k400", "c3d_light", "x3d_shallow")


def heatmap_model(name="c3d_light", num_classes=5, **options):
    return create_model(name, input="heatmap", num_classes=num_classes, num_keypoints=3, **options)


def motionbert(**options):
    """The small MotionBERT of the oracle."""
    sizes = {"dim_feat": 32, "dim_rep": 48, "depth": 2, "num_heads": 4, "maxlen": 16, "hidden_dim": 64}
    return create_model("motionbert", **{"num_classes": 7, **sizes, **options})


@pytest.fixture(scope="module")
def published_motionbert():
    with np.load(shared_folder() / "oracles" / "motionbert_tiny.npz", allow_pickle=False) as file:
        names = [name for name in file.files if name.startswith("state_dict/")]
        state = {name.removeprefix("state_dict/"): torch.from_numpy(file[name]) for name in names}
    return {key: value.float() if value.is_floating_point() else value for key, value in state.items()}


def save_action_file(path, state, **options):
    optimizer = {"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": [{"betas": (0.9, 0.999)}]}
    content = {"epoch": 299, "lr": [np.float32(1e-5)], "optimizer": optimizer, "best_acc": torch.tensor(93.0)}
    model = OrderedDict((f"module.{key}", value) for key, value in state.items())
    torch.save({**content, "model": model}, path, **options)


def save_pretrain_file(path, state, **options):
    pose = {f"module.{key[9:]}": value for key, value in state.items() if key.startswith("backbone.")}
    content = {"epoch": 90, "lr": 2e-4, "optimizer": {}, "model_pos": pose, "min_loss": np.float64(37.2)}
    torch.save(content, path, **options)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_motionbert_action_file(tmp_path, published_motionbert, zipped):
    path = tmp_path / "best_epoch.bin"
    save_action_file(path, published_motionbert, _use_new_zipfile_serialization=zipped)
    model = motionbert()
    report = load_checkpoint(model, path, strict=True)
    assert report.loaded == len(published_motionbert)
    for key, value in model.state_dict().items():
        assert torch.equal(value, published_motionbert[key]), key


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_motionbert_pretraining_fills_the_backbone(tmp_path, published_motionbert, zipped):
    path = tmp_path / "latest_epoch.bin"
    save_pretrain_file(path, published_motionbert, _use_new_zipfile_serialization=zipped)
    model = motionbert(num_classes=60)
    torch.nn.init.constant_(model.head.fc1.weight, 7.0)
    report = load_checkpoint(model, path)
    for key, value in model.backbone.state_dict().items():
        assert torch.equal(value, published_motionbert["backbone." + key]), key
    assert torch.equal(model.backbone.head.weight, published_motionbert["backbone.head.weight"])
    assert report.head_replaced
    assert report.unexpected == ()
    assert set(report.missing) == {key for key in model.state_dict() if key.startswith("head.")}
    assert "classifier initialised anew" in str(report)
    assert model.head.fc1.weight.abs().max() < 1


def test_motionbert_of_other_classes_keeps_the_backbone(tmp_path, published_motionbert):
    path = tmp_path / "best_epoch.bin"
    save_action_file(path, published_motionbert)
    model = motionbert(num_classes=4)
    report = load_checkpoint(model, path)
    assert report.head_replaced
    assert report.mismatched == (
        "head.fc2.weight: [7, 64] in the file, [4, 64] in the model",
        "head.fc2.bias: [7] in the file, [4] in the model",
    )
    assert torch.equal(model.backbone.norm.weight, published_motionbert["backbone.norm.weight"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"maxlen": 27},
            r"temp_embed: \[1, 16, 1, 32\], made for 16 frames at most \(maxlen\) in the file, "
            r"\[1, 27, 1, 32\], made for 27",
        ),
        ({"depth": 3}, r"blocks_st\.2\.norm1_s\.weight: missing in the file"),
        ({"depth": 1}, r"blocks_st\.1\.norm1_s\.weight: unexpected in the file"),
        ({"dim_feat": 64}, r"joints_embed\.weight: \[32, 3\] in the file, \[64, 3\] in the model"),
    ],
)
def test_motionbert_of_other_sizes(tmp_path, published_motionbert, options, message):
    path = tmp_path / "latest_epoch.bin"
    save_pretrain_file(path, published_motionbert)
    model = motionbert(**options)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        load_checkpoint(model, path)
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), key


@pytest.mark.parametrize("name", FAMILY)
def test_pyskl_file(tmp_path, name):
    source = heatmap_model(name)
    optimizer = torch.optim.SGD(source.parameters(), lr=0.1, momentum=0.9)
    sum(parameter.sum() for parameter in source.parameters()).backward()
    optimizer.step()
    meta = {"config": "model = dict(type='Recognizer3D')", "epoch": np.int64(24), "seed": np.arange(3)}
    state = {f"module.{key}": value for key, value in source.state_dict().items()}
    path = tmp_path / "epoch_24.pth"
    torch.save({"meta": meta, "state_dict": state, "optimizer": optimizer.state_dict()}, path)
    model = heatmap_model(name)
    report = load_checkpoint(model, path, strict=True)
    assert report.loaded == len(state)
    for key, value in model.state_dict().items():
        assert torch.equal(value, source.state_dict()[key]), key


def test_mmaction2_training_file(tmp_path, monkeypatch):
    """MMEngine's files hold its log buffers, objects of its own that name their methods."""

    class HistoryBuffer:
        def __init__(self):
            self.history, self.methods = np.ones(3), {"mean": HistoryBuffer.mean}

        def mean(self):
            raise AssertionError("never called")

    package = "mmengine.logging.history_buffer"
    module = types.ModuleType(package)
    module.HistoryBuffer, HistoryBuffer.__module__ = HistoryBuffer, package
    HistoryBuffer.__qualname__, HistoryBuffer.mean.__qualname__ = "HistoryBuffer", "HistoryBuffer.mean"
    HistoryBuffer.mean.__module__ = package
    path = tmp_path / "best_acc.pth"
    source = heatmap_model()
    state = {**source.state_dict(), "data_preprocessor.mean": torch.zeros(3)}
    with monkeypatch.context() as patch:
        for name in ("mmengine", "mmengine.logging"):
            patch.setitem(sys.modules, name, types.ModuleType(name))
        patch.setitem(sys.modules, package, module)
        hub = {"log_scalars": OrderedDict(loss=HistoryBuffer())}
        torch.save({"meta": {"epoch": 3}, "message_hub": hub, "state_dict": state}, path)
    model = heatmap_model()
    report = load_checkpoint(model, path)
    assert report.unexpected == ("data_preprocessor.mean",)
    assert torch.equal(model.cls_head.fc_cls.weight, source.cls_head.fc_cls.weight)


def test_a_wrapped_part_loads(tmp_path):
    """The average of the weights of a model whose backbone was compiled: prefixes in two places."""
    source = heatmap_model()
    state = AveragedModel(source).state_dict()
    state = {key.replace("backbone.", "backbone._orig_mod."): value for key, value in state.items()}
    path = tmp_path / "average.pth"
    torch.save(state, path)
    model = heatmap_model()
    assert load_checkpoint(model, path).unexpected == ("n_averaged",)
    assert torch.equal(model.backbone.conv4b.conv.weight, source.backbone.conv4b.conv.weight)
    torch.save({**state, "backbone.conv4b.bn.weight": torch.ones(256)}, path)
    with pytest.raises(ValueError, match=r"holds backbone\.conv4b\.bn\.weight twice"):
        load_checkpoint(model, path)


@pytest.mark.parametrize("source", FAMILY)
def test_another_model_of_the_family(tmp_path, source):
    path = tmp_path / "epoch_24.pth"
    torch.save({"state_dict": heatmap_model(source).state_dict()}, path)
    for name in FAMILY:
        if name != source:
            with pytest.raises(ValueError, match=r"epoch_24\.pth (holds no weights of|does not fit)"):
                load_checkpoint(heatmap_model(name), path)


def test_weights_that_are_no_tensors(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save({"backbone.conv1a.conv.weight": np.ones(3)}, path)
    with pytest.raises(ValueError, match="is a NumPy or MMEngine object, expected a tensor"):
        load_checkpoint(heatmap_model(), path)


def save_with_layout(path, model, layout, **settings):
    metadata = {"layout": json.dumps(layout.to_json()), "config": json.dumps({"model": settings})}
    save_file(model.state_dict(), path, metadata=metadata)


@pytest.mark.parametrize(("fed", "made"), [("h36m17", "coco17"), ("coco17", "h36m17")])
def test_weights_of_another_layout(tmp_path, fed, made):
    path = tmp_path / "model.safetensors"
    source, model = (
        create_model("c3d_light", input="heatmap", num_classes=5, layout=name) for name in (made, fed)
    )
    save_with_layout(path, source, LAYOUTS[made])
    with pytest.raises(ValueError, match=f"was made for layout '{made}', this model is fed '{fed}'"):
        load_checkpoint(model, path)
    load_checkpoint(source, path, strict=True)


def test_weights_of_other_limbs(tmp_path):
    path = tmp_path / "model.safetensors"
    layout = LAYOUTS["coco17"].to_json()
    turned = type(LAYOUTS["coco17"]).from_json({**layout, "name": "mine", "limbs": layout["limbs"][::-1]})
    model = create_model("c3d_light", input="limb", num_classes=5, layout="coco17")
    save_with_layout(path, model, turned)
    with pytest.raises(ValueError, match="was made for layout 'mine', this model is fed 'coco17'"):
        load_checkpoint(model, path)
    load_checkpoint(create_model("c3d_light", input="limb", num_classes=5, layout=turned), path)


def test_motionbert_weights_are_of_its_own_joints(tmp_path):
    """Clips of two layouts that are both turned to H36M joints feed the same weights."""
    path = tmp_path / "model.safetensors"
    coco, h36m = (motionbert(layout=name) for name in ("coco17", "h36m17"))
    save_with_layout(path, coco, LAYOUTS["coco17"], joints="h36m17")
    load_checkpoint(h36m, path, strict=True)
    own = motionbert(layout="coco17", joints="own")
    with pytest.raises(ValueError, match="was made for layout 'h36m17', this model is fed 'coco17'"):
        load_checkpoint(own, path)
    save_with_layout(path, own, LAYOUTS["coco17"], joints="own")
    load_checkpoint(own, path, strict=True)


@pytest.mark.parametrize("layout", ["{", "[]", '{"name": "x"}'])
def test_damaged_metadata(tmp_path, layout):
    path = tmp_path / "model.safetensors"
    model = create_model("c3d_light", input="heatmap", num_classes=5, layout="coco17")
    save_file(model.state_dict(), path, metadata={"layout": layout})
    with pytest.raises(ValueError, match="is damaged: its metadata names no layout"):
        load_checkpoint(model, path)
