"""How many functions of fastpose stand between a command and the work."""

import traceback
from pathlib import Path

import pytest
from support.clips import waving_clips

from fastpose import train
from fastpose._native import native
from fastpose.models.posec3d import PoseConv3D

PACKAGE = Path(train.__file__).parent
TO_THE_MODEL, TO_THE_STEM = 8, 16


class Reached(Exception):
    """Carries the functions of fastpose that were running."""


def reached(*_, **__):
    frames = [frame for frame in traceback.extract_stack()[:-1] if PACKAGE in Path(frame.filename).parents]
    raise Reached([f"{Path(frame.filename).stem}.{frame.name}" for frame in frames])


def frames_until(monkeypatch, tmp_path, owner, name):
    """The functions from ``main`` of a training on heatmaps to the call of ``name``."""
    monkeypatch.chdir(tmp_path)
    waving_clips().save("pack.safetensors")
    monkeypatch.setattr(owner, name, reached)
    flags = "--data pack.safetensors --input heatmap --epochs 1 --batch-size 4 --size 16 16 --clip-len 4"
    with pytest.raises(Reached) as found:
        train.main([*flags.split(), "--device", "cpu", "--precision", "fp32", "--arms", "supervised"])
    return found.value.args[0]


def test_from_the_command_to_the_call_of_the_model(monkeypatch, tmp_path):
    frames = frames_until(monkeypatch, tmp_path, PoseConv3D, "forward")
    assert frames[0] == "train.main"
    assert len(frames) <= TO_THE_MODEL, frames


def test_from_the_command_to_the_native_stem(monkeypatch, tmp_path):
    frames = frames_until(monkeypatch, tmp_path, native, "pose_stem")
    assert frames[0] == "train.main"
    assert len(frames) <= TO_THE_STEM, frames
