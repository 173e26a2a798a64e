"""Files of weights that ask for much, or say what is not so: each is refused in a sentence, and no byte is made up."""

import json
import struct
import tracemalloc
import zipfile
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.prediction import CLASSES, CONFIG, write_run

from fastpose.data import get_layout
from fastpose.models import create_model
from fastpose.settings import CheckpointConfig
from fastpose.settings.loss import LossConfig
from fastpose.weights import load_card, load_checkpoint, load_model
from fastpose.weights.card import ModelCard
from fastpose.weights.foreign import open_model
from fastpose.weights.runs import WEIGHTS
from fastpose.weights.weight_files import read_weights


def rewritten(path, change, method=zipfile.ZIP_STORED):
    """Write a file of torch.save again, with ``change`` made to the bytes of its pickle."""
    with zipfile.ZipFile(path) as file:
        members = [(member.filename, file.read(member)) for member in file.infolist()]
    with zipfile.ZipFile(path, "w", method) as file:
        for name, content in members:
            file.writestr(name, change(content) if name.endswith("data.pkl") else content)
    return path


@pytest.fixture
def saved(tmp_path):
    torch.save({"head.weight": torch.ones(4)}, tmp_path / "w.pth")
    return tmp_path / "w.pth"


def test_a_storage_ends_where_its_file_does(saved):
    """torch itself would read 4 MB behind the 16 bytes that there are."""
    many = b"J" + struct.pack("<i", 2**20)
    rewritten(saved, lambda pickle: pickle.replace(b"K\x04", many))
    with pytest.raises(ValueError, match=r"w\.pth is damaged"):
        read_weights(saved)


def test_compressed_members_are_refused(saved):
    rewritten(saved, bytes, zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match=r"w\.pth is damaged or no checkpoint: .* compressed members"):
        read_weights(saved)


@pytest.mark.parametrize("zipped", [True, False])
def test_pickles_of_many_empty_lists_are_refused(tmp_path, zipped):
    many = b"(" + b"]" * 3_000_000 + b"l0"
    path = tmp_path / "w.pth"
    torch.save({"a": torch.ones(1)}, path, _use_new_zipfile_serialization=zipped)
    if zipped:
        rewritten(path, lambda pickle: pickle[:2] + many + pickle[2:])
    else:
        content = path.read_bytes()
        path.write_bytes(content[:2] + many + content[2:])
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"w\.pth is damaged or no checkpoint: its .* far more memory"):
            read_weights(path)
        assert tracemalloc.get_traced_memory()[1] < 2**27
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("tensor", "reason"),
    [
        (torch.ones(1).expand(10**9, 512), "has more numbers than the file"),
        (torch.empty(3, device="meta"), "another tensor than one of plain real numbers"),
        (torch.ones(3).to_sparse(), "another tensor than one of plain real numbers"),
        (torch.ones(3, dtype=torch.complex64), "another tensor than one of plain real numbers"),
        (
            torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
            "another tensor than one of plain real",
        ),
    ],
    ids=["expanded", "meta", "sparse", "complex", "quantized"],
)
@pytest.mark.filterwarnings("ignore")
def test_only_plain_tensors_are_weights(tmp_path, tensor, reason):
    torch.save({"head.fc.weight": tensor}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=rf"w\.pth .*{reason}"):
        read_weights(tmp_path / "w.pth")


@pytest.mark.parametrize("zipped", [True, False])
def test_whole_files_are_read_as_before(tmp_path, zipped):
    model = create_model("dct_mlp", input="skeleton", num_classes=3)
    path = tmp_path / "w.pth"
    torch.save({"state_dict": model.state_dict()}, path, _use_new_zipfile_serialization=zipped)
    other = create_model("dct_mlp", input="skeleton", num_classes=3)
    load_checkpoint(other, path, strict=True)
    path.unlink()  # what was read does not depend on the file any more
    for name, value in model.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], value, rtol=0, atol=0)


def test_a_classifier_of_too_many_classes(tmp_path):
    weights = write_run(tmp_path / "run") / WEIGHTS
    state = load_file(weights)
    name = next(name for name, value in state.items() if value.dim() == 2 and len(value) == len(CLASSES))
    state[name] = torch.zeros(30_000, state[name].shape[1])
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(ValueError, match="30,000 classes, expected at most 20,000"):
        open_model(tmp_path / "w.pth", CheckpointConfig(model="posec3d", input="skeleton"))


CARDS = {
    "class_names": ("5", "null", '{"a": 1}', '["a", 5]', '["a", "a"]', "[]", json.dumps(["c"] * 30_000), "[" * 99_999),
    "max_persons": ("x", "0", "-1", "1.5", "²", "9" * 5000, "100000", ""),
    "layout": ("[]", "{", '{"name": "a"}', json.dumps({"name": "a", "joints": [f"j{i}" for i in range(5000)]})),
    "config": ("[]", "{", '{"optim": {"epochs": 1e999}}', '{"data": {"clip_len": 30000000}}', "[" * 99_999,
               '{"seed": 1, "seed": 2}'),
    "prior": ("[]", "{}", '{"mean": 5}', '{"mean": "AAAA", "directions": "", "variances": "", "rest": 1, "above": 1,'
              '"clip_len": 1e999}', "nonsense"),
    "denoise": ("nonsense", "prior:", "prior:AAAA", "prior:" + "A" * 1000),
    "format": ("fastpose-model-2",),
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("runs") / "run") / WEIGHTS


@pytest.mark.parametrize(("part", "text"), [(part, text) for part, texts in CARDS.items() for text in texts])
def test_odd_descriptions_are_refused(tmp_path, run, part, text):
    path = tmp_path / "w.safetensors"
    card = ModelCard(CONFIG, get_layout("coco17"), CLASSES, 2)
    save_file(load_file(run), path, card.to_metadata() | {part: text})
    for load in (load_card, load_model):
        with pytest.raises(ValueError, match=r"w\.safetensors: ") as caught:
            load(path)
        assert len(str(caught.value)) < 1000


def test_a_missing_part_is_named(tmp_path, run):
    metadata = ModelCard(CONFIG, get_layout("coco17"), CLASSES, 2).to_metadata()
    for part in ("config", "layout", "class_names", "max_persons"):
        save_file(
            load_file(run), tmp_path / "w.safetensors", {k: v for k, v in metadata.items() if k != part}
        )
        with pytest.raises(ValueError, match=rf"w\.safetensors: is no weights file of fastpose \('{part}'\)"):
            load_card(tmp_path / "w.safetensors")


def test_a_description_of_a_far_larger_model_takes_no_memory(tmp_path, run):
    layout = replace(get_layout("coco17"), joints=tuple(f"j{i}" for i in range(4096)), pairs=(), limbs=())
    model = replace(CONFIG, model=replace(CONFIG.model, model="dct_mlp"), loss=LossConfig())
    save_file(
        load_file(run), tmp_path / "w.safetensors", ModelCard(model, layout, CLASSES, 100).to_metadata()
    )
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"w\.safetensors: its weights do not fit its own description"):
            load_model(tmp_path / "w.safetensors")
        assert tracemalloc.get_traced_memory()[1] < 2**27
    finally:
        tracemalloc.stop()
