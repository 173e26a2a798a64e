"""The command: files of every kind to table, csv, json and npz."""

import csv
import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from support.packing import annotation, write_npz, write_skeletons
from support.prediction import CLASSES, moving_clip, with_input, write_run

import fastpose
from fastpose._command import load_command
from fastpose.data import Layout, PackedClips
from fastpose.data.pack.layouts import COCO17, KINECT25, tell_conversion
from fastpose.data.sources.found_files import Problem
from fastpose.prediction.files import Results, format_results, problem_lines
from fastpose.prediction.predictor import Prediction, Predictor
from fastpose.settings import RunConfig
from fastpose.weights.card import build_model
from fastpose.weights.runs import WEIGHTS, load_model, write_weights

SIZE = (480, 640)


def pack_of(*keypoints, layout="coco17"):
    clips = [
        {"name": f"sf{i}", "keypoints": points, "label": 0, "image_size": SIZE}
        for i, points in enumerate(keypoints)
    ]
    return PackedClips.from_clips(clips, layout=layout)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("runs") / "supervised-s0")


@pytest.fixture
def clips(tmp_path):
    """One folder with two clips of each kind that a coco17 model takes."""
    folder = tmp_path / "clips"
    write_skeletons(folder, "sk0", "sk1", frames=9)
    for i in range(2):
        write_npz(folder, f"np{i}", joints=17, label=None, keypoints=moving_clip(i))
        fields = {"keypoints": moving_clip(i + 2, persons=2).tolist(), "image_size": SIZE}
        (folder / f"js{i}.json").write_text(json.dumps(fields))
    annotations = [annotation(f"pk{i}", seed=i, frames=10 + i) for i in range(2)]
    (folder / "all.pkl").write_bytes(pickle.dumps({"annotations": annotations, "split": {}}))
    packed = [
        {"name": f"sf{i}", "keypoints": moving_clip(i), "label": 0, "image_size": SIZE} for i in range(2)
    ]
    PackedClips.from_clips(packed, layout="coco17").save(folder / "pack.safetensors")
    return folder


def command(*arguments):
    return load_command("predict").main([str(argument) for argument in arguments])


def rows_of(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_files_of_every_kind(run, clips, tmp_path, capsys):
    out, embed = tmp_path / "out.csv", tmp_path / "features.npz"
    code = command(run, clips, "--layout", "coco17", "--precision", "fp32", "--out", out, "--embed", embed)
    shown = capsys.readouterr()
    assert code == 0
    notes = tell_conversion(KINECT25, COCO17)  # of the .skeleton file
    assert shown.err == "".join(f"note: {note}\n" for note in notes)
    rows = rows_of(out)
    names = ["pk0", "pk1", "js0", "js1", "np0", "np1", "sf0", "sf1", "sk0", "sk1"]
    assert [row["clip"] for row in rows] == names
    assert rows[0]["file"] == str(clips / "all.pkl")
    assert [row["part"] for row in rows] == ["clip"] * 10
    assert [int(row["last_frame"]) for row in rows] == [9, 10, *[19] * 6, 8, 8]
    assert list(rows[0])[-3:] == ["label_4", "name_4", "score_4"]  # of four classes, though top-k is 5

    whole = fastpose.predict(
        moving_clip(2, persons=2), model=run, layout="coco17", image_size=SIZE, precision="fp32"
    )
    assert isinstance(whole, Prediction)
    row = rows[2]
    assert [int(row[f"label_{i}"]) for i in range(1, 5)] == whole.labels.tolist()
    assert [row[f"name_{i}"] for i in range(1, 5)] == list(whole.names)
    assert [float(row[f"score_{i}"]) for i in range(1, 5)] == pytest.approx(whole.scores.tolist(), abs=1e-5)
    assert rows[4]["score_1"] == rows[6]["score_1"]  # the same clip in two files

    with np.load(embed, allow_pickle=False) as arrays:
        assert arrays["features"].shape == (10, 512)
        np.testing.assert_allclose(arrays["features"][2], whole.features, atol=1e-4)
        assert arrays["names"].tolist() == names
        assert arrays["files"].tolist() == [row["file"] for row in rows]
        assert arrays["labels"].tolist() == [int(row["label_1"]) for row in rows]

    lines = shown.out.splitlines()
    assert lines[0].split() == ["clip", "frames", "1.", "2.", "3.", "4."]
    assert lines[1].startswith("pk0   0-9 ")
    assert f"{100 * whole.scores[0]:.1f} % {whole.names[0]}" in lines[3]
    assert lines[-3].startswith("10 clips in ")
    assert lines[-2:] == [f"results: {out}", f"features: {embed}"]


def test_windows_as_csv_and_json(run, tmp_path, capsys):
    write_npz(tmp_path, "a", label=None, keypoints=moving_clip(frames=50))
    given = (run, tmp_path / "a.npz", "--layout", "coco17", "--window", 20, "--top-k", 2)
    assert command(*given, "--out", tmp_path / "o.csv") == 0
    assert command(*given, "--out", tmp_path / "o.json") == 0
    rows = rows_of(tmp_path / "o.csv")
    assert [row["part"] for row in rows] == ["clip", *["window"] * 4]
    spans = [(0, 49), (0, 19), (10, 29), (20, 39), (30, 49)]
    assert [(int(row["first_frame"]), int(row["last_frame"])) for row in rows] == spans
    content = json.loads((tmp_path / "o.json").read_text())
    (clip,) = content["clips"]
    assert content["problems"] == []
    assert (clip["file"], clip["clip"]) == (str(tmp_path / "a.npz"), "a")
    parts = [clip, *clip["windows"]]
    assert [(part["first_frame"], part["last_frame"]) for part in parts] == spans
    for row, part in zip(rows, parts, strict=True):
        assert [(int(row[f"label_{i}"]), row[f"name_{i}"], float(row[f"score_{i}"])) for i in (1, 2)] == [
            (top["label"], top["name"], pytest.approx(top["score"], abs=2e-6)) for top in part["top"]
        ]
    out = capsys.readouterr().out
    assert "a         0-49 (mean of 4 windows)" in out
    assert "  window  10-29 " in out


def test_one_bad_file_does_not_stop_the_others(run, clips, tmp_path, capsys):
    (clips / "bad.skeleton").write_text("2\n0\n0\n")
    (clips / "torn.json").write_text("{")
    write_npz(clips, "normal", label=None, keypoints=moving_clip() / 640)
    out = tmp_path / "out.json"
    assert command(run, clips, tmp_path / "absent.npz", "--layout", "coco17", "--out", out) == 1
    error = capsys.readouterr().err
    content = json.loads(out.read_text())
    assert len(content["clips"]) == 10
    assert len(content["problems"]) == 4
    for name, message in [
        ("clips/bad.skeleton", "no body in any of its 2 frames"),
        ("clips/torn.json", "not a JSON file"),
        ("clips/normal.npz", "clip 'normal': the keypoints look normalised"),
        ("absent.npz", "no such file"),
    ]:
        assert f"error: {tmp_path / name}: {message}" in error
        (reason,) = [p["reason"] for p in content["problems"] if p["file"] == str(tmp_path / name)]
        assert message in reason


def test_nothing_but_bad_files(run, tmp_path, capsys):
    (tmp_path / "a.json").write_text("[]")
    assert command(run, tmp_path / "a.json", "--layout", "coco17", "--out", tmp_path / "o.csv") == 1
    assert rows_of(tmp_path / "o.csv") == []
    assert "0 clips" in capsys.readouterr().out
    assert command(run, tmp_path / "a.json", "--layout", "coco17", "--embed", tmp_path / "e.npz") == 2
    assert not (tmp_path / "e.npz").exists()


def test_scores_that_are_no_numbers_are_no_result(run, clips, tmp_path, capsys):
    model, card = load_model(run)
    torch.nn.init.constant_(model.cls_head.fc_cls.bias[1:2], torch.nan)
    write_weights(tmp_path / WEIGHTS, model.state_dict(), card)
    assert command(tmp_path / "model.safetensors", clips / "np0.npz", "--layout", "coco17") == 1
    streams = capsys.readouterr()
    assert "np0.npz: clip 'np0': the model's scores of it are not finite" in streams.err
    assert "0 clips" in streams.out
    assert "nan" not in streams.out


def test_persons_that_the_model_does_not_see(run, tmp_path, capsys):
    three = moving_clip(persons=3)
    three[1] = three[1, :1]  # stands still
    for name, persons in (("three", [0, 1, 2]), ("two", [0, 2])):
        write_npz(tmp_path, name, label=None, keypoints=three[persons])
    files = (tmp_path / "three.npz", tmp_path / "two.npz")
    assert command(run, *files, "--layout", "coco17", "--out", tmp_path / "o.csv") == 0
    note = "note: 1 clips have more persons than the model's 2; it sees the 2 who are there for long and move most\n"
    assert capsys.readouterr().err == note
    of_three, of_two = rows_of(tmp_path / "o.csv")
    assert of_three["score_1"] == of_two["score_1"]


def test_each_person_has_a_row(run, tmp_path, capsys):
    keypoints = moving_clip(persons=3, frames=50)
    keypoints[1, :30] = np.nan
    write_npz(tmp_path, "a", label=None, keypoints=keypoints)
    write_npz(tmp_path, "b", label=None, keypoints=moving_clip(7))
    given = (
        run,
        tmp_path / "a.npz",
        tmp_path / "b.npz",
        "--layout",
        "coco17",
        "--per-person",
        "--window",
        30,
    )
    assert command(*given, "--out", tmp_path / "o.csv", "--embed", tmp_path / "e.npz") == 0
    streams = capsys.readouterr()
    assert streams.err == ""  # nobody is left out
    lines = streams.out.splitlines()
    assert lines[0].split() == ["clip", "person", "frames", "1.", "2.", "3.", "4."]
    assert lines[5].split()[:3] == ["a", "1", "30-49"]
    assert "\n4 persons in " in streams.out
    rows = rows_of(tmp_path / "o.csv")
    assert list(rows[0])[:5] == ["file", "clip", "person", "part", "first_frame"]
    of_clips = [row for row in rows if row["part"] == "clip"]
    assert [(row["clip"], row["person"]) for row in of_clips] == [
        ("a", "0"),
        ("a", "1"),
        ("a", "2"),
        ("b", "0"),
    ]
    assert [row["file"] for row in of_clips] == [str(tmp_path / name) for name in ("a.npz",) * 3 + ("b.npz",)]
    assert [(row["first_frame"], row["last_frame"]) for row in rows if row["person"] == "1"] == [("30", "49")]
    assert [row["person"] for row in rows if row["part"] == "window"] == ["0"] * 3 + ["2"] * 3
    with np.load(tmp_path / "e.npz", allow_pickle=False) as arrays:
        assert arrays["persons"].tolist() == [int(row["person"]) for row in rows]

    assert command(*given, "--out", tmp_path / "o.json") == 0
    clips = json.loads((tmp_path / "o.json").read_text())["clips"]
    assert [(clip["clip"], clip["person"]) for clip in clips] == [("a", 0), ("a", 1), ("a", 2), ("b", 0)]
    assert [part["person"] for part in clips[2]["windows"]] == [2, 2, 2]


def test_joints_too_far_away_to_count(run, tmp_path, capsys):
    keypoints = moving_clip(persons=1)
    write_npz(tmp_path, "whole", label=None, keypoints=keypoints)
    keypoints[0, 2, 3:5] = 2e6, 5
    keypoints[0, 1, 0, 1] = -1.1e6
    write_npz(tmp_path, "far", label=None, keypoints=keypoints)
    keypoints[0, 2, 3:5] = keypoints[0, 1, 0] = np.nan
    write_npz(tmp_path, "missing", label=None, keypoints=keypoints)
    files = (tmp_path / f"{name}.npz" for name in ("whole", "far", "missing"))
    assert command(run, *files, "--layout", "coco17", "--out", tmp_path / "o.csv") == 0
    note = "note: 3 joints lie more than 1,000,000 pixels from the image and count as missing\n"
    assert capsys.readouterr().err == note
    whole, far, missing = rows_of(tmp_path / "o.csv")
    assert far["score_1"] == missing["score_1"] != whole["score_1"]


def test_clips_of_another_layout_are_named(run, tmp_path, capsys):
    triangle = Layout("triangle", ("a", "b", "c"))
    pack_of(moving_clip(joints=3), layout=triangle).save(tmp_path / "three.safetensors")
    assert command(run, tmp_path / "three.safetensors") == 1
    error = capsys.readouterr().err
    assert (
        f"{tmp_path / 'three.safetensors'}: the model takes layout 'coco17', but the joints are those of"
        in error
    )
    assert "'triangle'" in error


def test_what_becomes_of_other_joints_is_told_once(run, tmp_path, capsys):
    for name in ("a", "b"):
        write_npz(tmp_path, name, label=None, keypoints=moving_clip(joints=25))
    files = [tmp_path / "a.npz", tmp_path / "b.npz", "--layout", "kinect25"]
    assert command(run, *files, "--out", tmp_path / "exchanged.csv") == 0
    joints, sides = capsys.readouterr().err.splitlines()
    assert joints.startswith("note: joints of kinect25 made into those of coco17; missing: left_eye")
    assert sides.startswith("note: left and right exchanged")
    assert command(run, *files, "--no-mirror", "--out", tmp_path / "kept.csv") == 0
    assert capsys.readouterr().err.splitlines()[1] == (
        "note: left and right kept as they are named (--no-mirror)"
    )
    exchanged, kept = (rows_of(tmp_path / f"{name}.csv")[0] for name in ("exchanged", "kept"))
    assert exchanged["score_1"] != kept["score_1"]


def test_the_run_may_be_given_in_three_ways(run, clips, capsys):
    outputs = []
    for model in (run, run / "model.safetensors", run.parent):
        assert command(model, clips / "pack.safetensors") == 0
        outputs.append(capsys.readouterr().out.partition("2 clips")[0])
    assert outputs[0] == outputs[1] == outputs[2] != ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent", "x.npz"], "absent: not found"),
        (["{run}"], "no file to classify"),
        (["{tmp}", "x.npz"], "holds no finished run"),
        (["{run}", "x.npz", "--out", "o.txt"], "o.txt: expected a file ending in .csv or .json"),
        (["{run}", "x.npz", "--out", "no/o.csv"], "no"),
        (["{run}", "x.npz", "--embed", "o.csv"], "o.csv: expected a file ending in .npz"),
        (["{run}", "x.npz", "--layout", "mpii"], "no layout 'mpii'"),
        (["{run}", "x.npz", "--device", "tpu"], "device = 'tpu'"),
        (["{run}", "x.npz", "--top-k", "0"], "top_k must be an integer from 1"),
        (["{run}", "x.npz", "--input", "limb"], "--model is missing"),
        (["{tmp}/weights.pth", "x.npz"], "for a checkpoint of others give --model"),
        (["{tmp}/weights.pth", "x.npz", "--model", "posec3d"], "no checkpoint"),
        (
            ["{run}", "x.npz", "--model", "posec3d"],
            "a run of fastpose says itself what it is, without --model",
        ),
    ],
)
def test_mistakes_end_in_one_line(run, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights.pth").write_text("no weights")
    assert command(*(argument.format(run=run, tmp=tmp_path) for argument in arguments)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert message in line


def test_a_folder_of_several_runs(tmp_path, capsys):
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").touch()
    assert command(tmp_path, "x.npz") == 2
    assert "holds 2 runs; name one of a, b" in capsys.readouterr().err


@pytest.mark.parametrize("named", [True, False])
def test_a_checkpoint_of_others(tmp_path, clips, named):
    run = write_run(tmp_path / "run", config=with_input("heatmap"))
    model, card = load_model(run)
    state = {f"module.{key}": value for key, value in model.state_dict().items()}
    torch.save({"meta": {}, "state_dict": state}, tmp_path / "best.pth")
    (tmp_path / "classes.txt").write_text("\n".join(CLASSES) + "\n")
    names = ("--class-names", tmp_path / "classes.txt") if named else ()
    kind = ("--model", "posec3d", "--input", "heatmap", "--layout", "coco17", *names)
    assert command(tmp_path / "best.pth", clips / "np0.npz", *kind, "--out", tmp_path / "a.csv") == 0
    (row,) = rows_of(tmp_path / "a.csv")
    if named:
        assert row["name_1"] == CLASSES[int(row["label_1"])]
    else:
        assert row["name_1"] == f"class_{row['label_1']}"
    as_the_report = replace(card, config=RunConfig(model=card.config.model))  # 24 frames of 56×56
    rebuilt = build_model(as_the_report)
    rebuilt.load_state_dict(model.state_dict())
    (expected,) = Predictor(rebuilt, as_the_report).predict(pack_of(moving_clip(0)))
    assert float(row["score_1"]) == pytest.approx(expected.scores[0], abs=2e-6)
    assert int(row["label_1"]) == expected.labels[0]


def test_long_tables_and_many_problems_are_cut_short():
    def prediction(i):
        name = ("a name that is much too long for a table", "clip\n\x1b[31m")[i] if i < 2 else f"clip{i}"
        return Prediction(name, 0, 9, np.array([1]), ("run",), np.array([0.5]), np.zeros(2))

    results = Results([f"f{i}" for i in range(9)], [prediction(i) for i in range(9)], [])
    lines = format_results(results, 3).splitlines()
    assert lines == [
        "clip                      frames    1.",
        "a name that is much too…  0-9      50.0 % run",
        r"clip\n\x1b[31m            0-9      50.0 % run",
        "clip2                     0-9      50.0 % run",
        "… and 6 more clips",
    ]
    problems = [Problem(f"f{i}", "torn") for i in range(5)] + [Problem("g", "cut")]
    assert problem_lines(problems) == [
        *(f"error: f{i}: torn" for i in range(3)), "error: … the same of 2 more files", "error: g: cut",
    ]  # fmt: skip
