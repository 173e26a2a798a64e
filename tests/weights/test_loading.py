"""Checkpoints of others and our own: what fits is loaded, what does not is said."""

import os

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from support.shared import shared_folder

from fastpose.models import create_model, load_checkpoint


def small_model(num_classes=5, num_keypoints=2, max_persons=1):
    return create_model(
        "posec3d",
        input="skeleton",
        num_classes=num_classes,
        num_keypoints=num_keypoints,
        max_persons=max_persons,
    )


def assert_equal_states(model, state):
    for key, value in model.state_dict().items():
        assert torch.equal(value, state[key]), key


@pytest.fixture
def source():
    return small_model()


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("form", ["bare", "container", "safetensors", "legacy"])
def test_every_form_loads(tmp_path, source, form, prefix):
    path = tmp_path / "weights"
    state = {prefix + key: value.clone() for key, value in source.state_dict().items()}
    if form == "safetensors":
        save_file(state, path)
    elif form == "container":
        torch.save({"meta": {"epoch": 24, "config": "x"}, "state_dict": state}, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=form == "bare")
    model = small_model()
    report = load_checkpoint(model, path, strict=True)
    assert_equal_states(model, source.state_dict())
    assert (report.missing, report.unexpected, report.mismatched) == ((), (), ())
    assert not report.head_replaced
    assert report.loaded == len(state)


def test_pyskl_weights(tmp_path):
    with np.load(shared_folder() / "oracles" / "posec3d.npz", allow_pickle=False) as file:
        prefix = "state_dict/"
        names = [name for name in file.files if name.startswith(prefix)]
        state = {name.removeprefix(prefix): torch.from_numpy(file[name]) for name in names}
    path = tmp_path / "pyskl.pth"
    torch.save({"meta": {}, "state_dict": state}, path)
    model = create_model("posec3d", input="heatmap", num_classes=60)
    load_checkpoint(model, path, strict=True)
    assert_equal_states(model, state)


def test_another_number_of_classes_replaces_the_head(tmp_path, source):
    path = tmp_path / "weights.safetensors"
    save_file(source.state_dict(), path)
    model = small_model(num_classes=9)
    torch.nn.init.constant_(model.cls_head.fc_cls.bias, 7.0)
    report = load_checkpoint(model, path)
    assert report.head_replaced
    assert "cls_head.fc_cls.weight: [5, 512] in the file, [9, 512] in the model" in report.mismatched
    assert "classifier initialised anew" in str(report)
    assert torch.count_nonzero(model.cls_head.fc_cls.bias) == 0
    for key, value in model.backbone.state_dict().items():
        assert torch.equal(value, source.backbone.state_dict()[key])
    with pytest.raises(ValueError, match=r"cls_head\.fc_cls\.weight: \[5, 512\] in the file"):
        load_checkpoint(model, path, strict=True)


def test_a_backbone_alone_loads_and_foreign_keys_are_reported(tmp_path, source):
    path = tmp_path / "weights.pth"
    state = {key: value for key, value in source.state_dict().items() if "num_batches" not in key}
    del state["cls_head.fc_cls.weight"], state["cls_head.fc_cls.bias"]
    torch.save({**state, "data_preprocessor.mean": torch.zeros(3)}, path)
    report = load_checkpoint(small_model(), path)
    assert report.head_replaced
    assert report.unexpected == ("data_preprocessor.mean",)
    assert "cls_head.fc_cls.weight" in report.missing


def test_a_backbone_that_does_not_fit_changes_nothing(tmp_path, source):
    path = tmp_path / "weights.safetensors"
    state = source.state_dict()
    save_file(state, path)
    model = small_model(num_keypoints=3)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(
        ValueError, match=r"conv1\.conv\.weight: \[32, 4, 1, 7, 7\] in the file, \[32, 6, 1, 7, 7\]"
    ):
        load_checkpoint(model, path)
    assert_equal_states(model, before)
    del state["backbone.layer1.0.conv1.conv.weight"]
    save_file(state, path)
    with pytest.raises(ValueError, match=r"layer1\.0\.conv1\.conv\.weight: missing in the file"):
        load_checkpoint(small_model(), path)


def test_damaged_files(tmp_path, source):
    whole = tmp_path / "whole"
    damaged = tmp_path / "damaged"
    save_file(source.state_dict(), whole)
    files = [whole.read_bytes()]
    for zipped in (True, False):
        torch.save(source.state_dict(), whole, _use_new_zipfile_serialization=zipped)
        files.append(whole.read_bytes())
    for data in files:
        for length in (0, 1, 8, 30, 1000, len(data) // 2, len(data) - 1):
            damaged.write_bytes(data[:length])
            with pytest.raises(ValueError, match="damaged is damaged or no checkpoint"):
                load_checkpoint(source, damaged)
    damaged.write_text("hello, this is text")
    with pytest.raises(ValueError, match="damaged is damaged or no checkpoint"):
        load_checkpoint(source, damaged)
    with pytest.raises(FileNotFoundError):
        load_checkpoint(source, tmp_path / "absent")


class Payload:
    def __reduce__(self):
        return os.mkdir, ("executed",)


def test_pickled_code_is_not_run(tmp_path, source, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "weights.pth"
    torch.save({"state_dict": source.state_dict(), "hook": Payload()}, path)
    with pytest.raises(ValueError, match=r"pickled code \(posix\.mkdir\)"):
        load_checkpoint(source, path)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b"PK\x03\x04" + bytes(100), "its zip archive is cut off or broken"),
        (b"hello, this is text", "it cannot be read as safetensors or as a file of torch.save"),
        (b"\x80\x04\x95", "its pickles cannot be read: from byte 0, byte 2: it is cut off"),
    ],
)
def test_why_a_file_cannot_be_read(tmp_path, source, content, reason, recwarn):
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(ValueError, match=f"w.pth is damaged or no checkpoint: {reason}") as caught:
        load_checkpoint(source, tmp_path / "w.pth")
    assert len(str(caught.value)) - len(str(tmp_path)) < 150
    assert not recwarn


def test_a_whole_archive_of_something_else_is_not_called_broken(tmp_path, source):
    with open(tmp_path / "w.pth", "wb") as file:
        np.savez(file, weight=np.zeros(3))
    with pytest.raises(ValueError, match="it cannot be read as safetensors or as a file of torch.save"):
        load_checkpoint(source, tmp_path / "w.pth")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "got a list"),
        ({}, "got an empty dict"),
        ({"epoch": 3}, "'epoch' is a int, expected a tensor"),
        ({"blocks_st.0.norm1_s.weight": torch.ones(2)}, "holds no weights of PoseConv3D"),
    ],
)
def test_other_content(tmp_path, source, content, message):
    path = tmp_path / "weights.pth"
    torch.save(content, path)
    with pytest.raises(ValueError, match=message):
        load_checkpoint(source, path)
