"""`fastpose show`: draws any file that can be read, and says in a sentence why it cannot."""

import json

import numpy as np
import pytest
from PIL import Image
from support.scenes import one_clip

from fastpose import show


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    one_clip(10, name="first").save("clips.safetensors")
    return tmp_path


@pytest.mark.parametrize("kind", ["png", "gif", "html"])
def test_pictures_of_each_kind(folder, kind, capsys):
    line = f"clips.safetensors --noise 0.05 --family drift --clip-len 4 --out picture.{kind}"
    assert show.main(line.split()) == 0
    told = capsys.readouterr()
    assert told.out.splitlines()[0].startswith("first: 2 persons, 10 frames of 320 × 240 pixels")
    assert told.out.splitlines()[1] == f"wrote picture.{kind}"
    content = (folder / f"picture.{kind}").read_bytes()
    assert content.startswith({"png": b"\x89PNG", "gif": b"GIF89a", "html": b"<!doctype html>"}[kind])
    assert sorted(path.name for path in folder.iterdir()) == ["clips.safetensors", f"picture.{kind}"]


def test_what_a_model_is_given(folder, capsys):
    line = "clips.safetensors --heatmap --size 32 48 --clip-len 4 --out picture.GIF"
    assert show.main(line.split()) == 0
    assert "cropped as a model is given it" in capsys.readouterr().out
    with Image.open("picture.GIF") as gif:
        assert gif.n_frames == 4


def test_keypoints_are_taken_as_by_predict(folder, capsys):
    shares = np.random.default_rng(0).uniform(0.3, 0.7, (12, 17, 2))
    content = {"keypoints": shares.tolist(), "image_size": [240, 320], "layout": "coco17"}
    (folder / "a.json").write_text(json.dumps(content))
    assert show.main(["a.json", "--out", "a.png"]) == 2
    assert "--normalised" in capsys.readouterr().err
    assert show.main(["a.json", "--normalised", "--out", "a.png"]) == 0
    assert "320 × 240 pixels" in capsys.readouterr().out


def test_keypoints_of_a_file_that_names_no_joints(folder, capsys):
    clips = [
        {"keypoints": [[[10 * v, 20 + t] for v in range(13)] for t in range(5)], "name": n} for n in "ab"
    ]
    (folder / "a.json").write_text(json.dumps(clips))
    line = "a.json --layout penn13 --image-size 100 200 --clip b --out b.png"
    assert show.main(line.split()) == 0
    told = capsys.readouterr()
    assert told.out.startswith("b: 1 person, 5 frames of 200 × 100 pixels")
    assert told.err == "note: there is another clip; --clip NAME chooses one\n"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("clips.safetensors --out a.jpg", "--out a.jpg: expected a file that ends in one of .png, .gif, "),
        ("clips.safetensors --out none/a.png", "none: the output's folder does not exist"),
        ("none.npz --out a.png", "none.npz: no such file"),
        ("clips.safetensors --clip frist --out a.png", "no clip 'frist'; did you mean 'first'?"),
        ("clips.safetensors --family swap --out a.png", "--family has no effect without --noise"),
        ("clips.safetensors --size 9 9 --out a.png", "--size has no effect without --crop or --heatmap"),
        (
            "clips.safetensors --noise 1 --family blur --out a.png",
            "no noise family 'blur'; there are: gaussian",
        ),
        ("clips.safetensors --fps -2 --out a.gif", "--fps must be from 0.1 to 1000, got -2"),
        ("clips.safetensors --layout none --out a.png", "no layout 'none', and no file of that name"),
    ],
)
def test_what_cannot_be_drawn_is_told_in_a_sentence(folder, line, reason, capsys):
    assert show.main(line.split()) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert reason in error
    assert error.count("\n") == 1
    assert [path.name for path in folder.iterdir()] == ["clips.safetensors"]
