import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from support.packing import annotation, write_npz, write_skeletons

from fastpose import pack
from fastpose.data.pack.packed import PackedClips
from fastpose.data.synthetic import builtin

NAMES = ["S001C001P001R001A001", "S001C002P003R001A060"]


def test_ntu(tmp_path, capsys):
    source, out = write_skeletons(tmp_path / "files", *NAMES, "walking"), tmp_path / "ntu.safetensors"
    assert pack.main(["ntu", str(source), "--out", str(out), "--layout", "h36m17", "--threads", "2"]) == 1
    text = capsys.readouterr().out
    for line in ("packed 2 clips, 6 frames, 2 persons, 60 classes, layout h36m17",
                 "skipped 1: no NTU RGB+D name (walking",
                 "split xsub_train: 1 clips", "split xview_val: 1 clips", f"wrote {out}"):  # fmt: skip
        assert line in text
    assert PackedClips.load(out).names == NAMES


def test_sides_of_kinect_are_exchanged_unless_told_not_to(tmp_path, capsys):
    source, out = write_skeletons(tmp_path / "files", *NAMES), tmp_path / "ntu.safetensors"
    pickled = tmp_path / "kinect.pkl"
    pickled.write_bytes(pickle.dumps([annotation("a", joints=25)]))
    for command, path, own in (("ntu", source, []), ("pyskl", pickled, ["--source-layout", "kinect25"])):
        hips = []
        for flags, told in (
            ([], "left and right exchanged: Kinect"),
            (["--no-mirror"], "kept as they are named"),
        ):
            given = [command, str(path), "--out", str(out), "--layout", "coco17", *own, *flags]
            assert pack.main(given) == 0
            text = capsys.readouterr().out
            assert told in text
            assert "joints of kinect25 made into those of coco17; missing: left_eye" in text
            hips.append(PackedClips.load(out).clip(0).keypoints[..., 11:13, :])
        np.testing.assert_array_equal(hips[0], hips[1][..., ::-1, :])
        assert (hips[0] != hips[1]).any()
        assert pack.main([command, str(path), *own, "--out", str(out)]) == 0  # Kinect's own joints
        assert "left and right" not in capsys.readouterr().out


def test_pyskl(tmp_path):
    source, out, classes = tmp_path / "a.pkl", tmp_path / "pyskl.safetensors", tmp_path / "classes.txt"
    item = annotation("a")
    del item["img_shape"], item["original_shape"]
    source.write_bytes(pickle.dumps([item]))
    classes.write_text("wave\nnod\n")
    command = ["pyskl", str(source), "--out", str(out), "--image-size", "480", "640"]
    assert pack.main([*command, "--classes", str(classes), "--layout", "h36m17"]) == 0
    packed = PackedClips.load(out)
    assert packed.class_names == ("wave", "nod")
    assert packed.clip(0).image_size == (480, 640)
    assert packed.layout.name == "h36m17"
    assert pack.main([*command, "--classes", "60"]) == 0
    assert PackedClips.load(out).num_classes == 60


def test_npz(tmp_path):
    out, layout = tmp_path / "own.safetensors", tmp_path / "layout.json"
    write_npz(tmp_path / "clips", "a", label="wave", split="train")
    layout.write_text(json.dumps({"name": "own", "joints": ["a", "b", "c"], "pairs": [[0, 1]], "limbs": []}))
    assert pack.main(["npz", str(tmp_path / "clips"), "--out", str(out), "--layout", str(layout)]) == 0
    packed = PackedClips.load(out)
    assert packed.class_names == ("wave",)
    assert packed.split("train").tolist() == [0]


def test_joints_too_far_away_are_told(tmp_path, capsys):
    keypoints = np.full((1, 3, 17, 2), 50.0)
    keypoints[0, 1, :2, 1] = 1.5e6
    write_npz(tmp_path / "clips", "a", keypoints=keypoints)
    out = tmp_path / "out.safetensors"
    assert pack.main(["npz", str(tmp_path / "clips"), "--out", str(out), "--layout", "coco17"]) == 0
    assert (
        "2 joints lie more than 1,000,000 pixels from the image and count as missing"
        in capsys.readouterr().out.splitlines()
    )


def test_synthetic_goes_through_the_same_path(tmp_path, monkeypatch):
    def make(folder, *, seed, progress):
        write_skeletons(folder, *NAMES, frames=3 + seed)
        progress(2, 2)
        return folder

    monkeypatch.setattr(builtin, "make_synthetic_ntu", make)
    out, files = tmp_path / "synthetic.safetensors", tmp_path / "files"
    command = ["synthetic", "--out", str(out), "--seed", "2"]
    assert pack.main(command) == 0
    packed = PackedClips.load(out)
    assert list(packed.splits) == ["xsub_train", "xsub_val"]
    assert packed.num_frames.tolist() == [5, 5]
    assert packed.class_names[0] == "drink water"
    assert pack.main([*command, "--keep-files", str(files)]) == 0
    assert len(list(files.iterdir())) == 2


def failure(capsys, *arguments):
    """The one line that a failing command prints."""
    assert pack.main([str(argument) for argument in arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    line = captured.err.splitlines()[-1]
    assert line.startswith("error: ")
    return line


def test_errors_are_one_line_and_write_nothing(tmp_path, capsys):
    out = tmp_path / "out.safetensors"
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "no .skeleton file" in failure(capsys, "ntu", empty, "--out", out)
    assert str(tmp_path / "absent") in failure(capsys, "penn-action", tmp_path / "absent", "--out", out)
    assert "no layout 'x'" in failure(capsys, "ntu", empty, "--out", out, "--layout", "x")
    write_skeletons(tmp_path / "files", *NAMES, "walking")
    line = failure(capsys, "ntu", tmp_path / "files", "--out", out, "--on-error", "raise")
    assert "walking" in line
    assert not out.exists()


def test_the_target_is_checked_before_any_work(tmp_path, capsys):
    line = failure(capsys, "ntu", tmp_path, "--out", tmp_path / "absent" / "out.safetensors")
    assert line == f"error: {tmp_path / 'absent'}: the output's folder does not exist"
    assert "must be a file" in failure(capsys, "ntu", tmp_path, "--out", tmp_path)


def test_a_failed_pack_leaves_the_old_one(tmp_path, capsys):
    out = tmp_path / "out.safetensors"
    out.write_text("old")
    (tmp_path / "a.pkl").write_bytes(b"cposix\nsystem\n(Vtrue\ntR.")
    assert "posix.system" in failure(capsys, "pyskl", tmp_path / "a.pkl", "--out", out)
    assert out.read_text() == "old"


@pytest.mark.parametrize("arguments", [[], ["video"], ["ntu", "x"], ["npz", "x", "--out", "y"],
                                       ["ntu", "x", "--out", "y", "--speed", "9"]])  # fmt: skip
def test_unknown_or_missing_arguments_exit_with_2(arguments, capsys):
    try:
        status = pack.main(arguments)
    except SystemExit as stop:
        status = stop.code
    assert status == 2
    assert "Traceback" not in capsys.readouterr().err


def test_help_of_the_module_loads_no_torch():
    code = "import sys, fastpose.pack; print('torch' in sys.modules, 'scipy.io' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert out.stdout.split() == ["False", "False"]


def test_one_process_reads_what_another_wrote(tmp_path):
    source, out = write_skeletons(tmp_path / "files", *NAMES), tmp_path / "ntu.safetensors"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "fastpose.pack", "ntu", str(source), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert "files/s" in done.stderr
    assert "MB/s" in done.stderr
    assert np.isfinite(PackedClips.load(out).keypoints).all()
