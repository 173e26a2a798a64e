"""A network of a user's own, by the class's name, through every command."""

import csv
import re
import sys

import pytest
from support.clips import waving_clips

from fastpose._command import load_command
from fastpose.models import create_model, register_model
from fastpose.models.registry import MODELS
from fastpose.weights import load_card, load_model

NETWORK = '''
import torch
from torch import nn

from fastpose.models import ModelOutput


class Net(nn.Module):
    """Means over persons and frames, and a linear layer."""

    def __init__(self, *, num_classes, num_keypoints, width=16):
        super().__init__()
        self.hidden = nn.Linear(2 * num_keypoints, width)
        self.out = nn.Linear(width, num_classes)

    def prepare_input(self, batch):
        return batch.keypoints[..., :2].mean((1, 2)).flatten(1) / 16

    def forward(self, x):
        features = self.hidden(x).relu()
        return ModelOutput(self.out(features), features)
'''
NAME = "own_network_of_a_test:Net"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "own_network_of_a_test.py").write_text(NETWORK)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    waving_clips().save("pack.safetensors")
    yield tmp_path
    forget()


def forget():
    MODELS.pop(NAME, None)
    sys.modules.pop("own_network_of_a_test", None)


def run(command, *arguments):
    return load_command(command).main([str(argument) for argument in arguments])


def test_train_evaluate_predict_export(folder, capsys):
    flags = "--data pack.safetensors --epochs 3 --batch-size 8 --clip-len 4 --alphas 0 0.1 --out runs"
    assert run("train", *flags.split(), "--arms", "contrastive", "--model", NAME) == 0
    assert load_card("runs").config.model.model == NAME
    forget()

    (settings,) = folder.glob("runs/*/config.json")
    assert run("train", "--config", settings, "--out", "again") == 2
    assert "is code outside fastpose; name it by --model" in capsys.readouterr().err
    assert NAME not in MODELS
    assert not (folder / "again").exists()
    assert run("train", "--config", settings, "--model", NAME, "--out", "again") == 0
    forget()

    assert run("evaluate", "runs", "--alphas", "0") == 2  # a file alone never makes fastpose import code
    assert f"model '{NAME}' is code outside fastpose; name it by --model" in capsys.readouterr().err
    assert NAME not in MODELS
    assert run("evaluate", "runs", "--alphas", "0", "--model", NAME) == 0
    forget()
    assert run("predict", "runs", "pack.safetensors", "--model", NAME, "--out", "classes.csv") == 0
    with open("classes.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == 24
    assert run("export", "runs", "--model", NAME, "--out", "copy.safetensors") == 0
    assert run("export", "runs", "--model", NAME, "--out", "net.onnx") == 2
    assert "Net is a network of your own without pose_input" in capsys.readouterr().err
    assert run("export", "runs", "--model", NAME, "--from", "keypoints", "--out", "net.pt2") == 0
    assert (
        "keypoints [persons, frames, 17, 3], image_size [2] → logits [3], features" in capsys.readouterr().out
    )
    model, card = load_model("copy.safetensors", NAME)
    assert (type(model).__name__, card.max_persons) == ("Net", 1)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_module:Net", "expected package.module:Class \\(No module named 'no_such_module'"),
        ("own_network_of_a_test:Nest", "expected package.module:Class .* has no attribute 'Nest'"),
    ],
)
def test_what_cannot_be_imported(folder, capsys, name, message):
    assert run("train", "--data", "pack.safetensors", "--model", name) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not (folder / "runs").exists()


def test_a_registered_name_is_taken_once():
    def factory(**options):
        raise TypeError("unexpected")

    try:
        register_model("own", factory)
        register_model("own", factory)
        with pytest.raises(ValueError, match="model 'own' is there already"):
            register_model("own", lambda: None)
        with pytest.raises(ValueError, match="model 'own': unexpected"):
            create_model("own", num_classes=2)
    finally:
        MODELS.pop("own")
