"""Labels of clips by table and folder, and which clips are held out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.packing import write_npz

from fastpose import pack
from fastpose.data.pack.packed import PackedClips
from fastpose.data.sources.labels import ClipLabel, LabelTable, hold_out, label_of_folders


def table(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "labels.csv"
    path.write_bytes(text.encode(encoding))
    return LabelTable.read(path)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize(("encoding", "end"), [("utf-8", "\n"), ("utf-8-sig", "\r\n")])
def test_a_table_as_programs_write_it(tmp_path, separator, encoding, end):
    rows = ["clip,label,split,group", "walk/a.json,walk,train,7", "b,run,,", "", '"c",sit,test,8', ""]
    read = table(tmp_path, end.join(rows).replace(",", separator), encoding)
    assert read.find("walk/a") == ClipLabel("walk", "train", "7")
    assert read.find("b.npz") == ClipLabel("run", None, None)
    assert read.find("deep/down/c") == ClipLabel("sit", "test", "8")  # ends as one row alone does
    assert read.unused() == []


def test_labels_that_are_all_numbers_are_numbers(tmp_path):
    assert table(tmp_path, "clip,label\na,3\nb,0\n").find("a").label == 3
    assert table(tmp_path, "clip,label\na,3\nb,none\n").find("a").label == "3"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: expected the columns clip,label"),
        ("name,label\na,1\n", "line 1: expected the columns"),
        ("clip,label,colour\na,1,red\n", "line 1: expected the columns"),
        ("clip,label\na\n", "line 2: expected 2 cells, got 1"),
        ("clip,label\na,1\nb,\n", "line 3: a clip without name or label"),
        ("clip,label\na,1\na.json,2\n", "line 3: clip 'a.json' is named twice"),
        ("clip,label\n", "names no clip"),
    ],
)
def test_tables_that_do_not_fit(tmp_path, text, message):
    with pytest.raises(ValueError, match=rf"labels\.csv: {message}"):
        table(tmp_path, text)


def test_clips_without_a_row_of_their_own(tmp_path):
    read = table(tmp_path, "clip,label\nx/a,1\ny/a,2\n")
    with pytest.raises(ValueError, match="clip 'z': no label of it"):
        read.find("z")
    with pytest.raises(ValueError, match="clip 'a': the table names 2 clips like it: x/a, y/a"):
        read.find("a")
    with pytest.raises(ValueError, match="clip 'z/a': no label of it"):
        read.find("z/a")  # another folder is another clip
    assert read.unused() == ["x/a", "y/a"]


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("a", None),
        ("walk/a", ClipLabel("walk")),
        ("walk/day 1/a", ClipLabel("walk")),
        ("train/walk/a", ClipLabel("walk", "train")),
        ("walk/Validation/a", ClipLabel("walk", "val")),
        ("test/a", None),
    ],
)
def test_folders_are_classes_and_splits(name, label):
    assert label_of_folders(name) == label


@given(
    clips=st.lists(st.tuples(st.integers(0, 3), st.none() | st.integers(0, 9)), min_size=4, max_size=60),
    fraction=st.floats(0.05, 0.6),
    seed=st.integers(0, 5),
)
def test_groups_stay_together_and_shares_are_near(clips, fraction, seed):
    labels = np.array([label for label, _ in clips], np.int64)
    groups = [None if group is None else str(group) for _, group in clips]
    held = hold_out(labels, groups, fraction, seed)
    np.testing.assert_array_equal(held, hold_out(labels, groups, fraction, seed))
    for group in {group for group in groups if group is not None}:
        assert len({bool(held[i]) for i, other in enumerate(groups) if other == group}) == 1
    alone = hold_out(labels, [None] * len(clips), fraction, seed)
    for label, count in zip(*np.unique(labels, return_counts=True), strict=True):
        assert abs(alone[labels == label].sum() - fraction * count) <= 0.5 + 1e-9


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5])
def test_a_fraction_out_of_range(fraction):
    with pytest.raises(ValueError, match="val_fraction must lie between 0 and 1"):
        hold_out(np.array([0, 1]), [None, None], fraction, 0)


def test_pack_says_what_it_did(tmp_path, capsys):
    for i, label in enumerate(["walk", "walk", "run", "run", "run"]):
        write_npz(tmp_path / "clips", f"{label}/{i}", joints=17, seed=i, label=None, image_size=None)
    write_npz(tmp_path / "clips", "run/lost", joints=17, label=None, keypoints=np.zeros((1, 3, 17, 2)))
    out = tmp_path / "out.safetensors"
    command = ["keypoints", str(tmp_path / "clips"), "--out", str(out), "--layout", "coco17"]
    assert pack.main([*command, "--image-size", "480", "640", "--val-fraction", "0.4"]) == 1
    packed, text = PackedClips.load(out), capsys.readouterr().out
    assert packed.class_names == ("run", "walk")
    assert {name: len(members) for name, members in packed.splits.items()} == {"train": 3, "val": 2}
    for line in (
        "packed 5 clips, 20 frames, 5 persons, 2 classes, layout coco17",
        "frames a clip: 4 (run/2) to 4 (run/2)",
        "joints: 0.0 % missing, 0.0 % of the others outside the image",
        "2 clips held out clip by clip as split val, seed 0",
        "clip 'run/lost': no joint is present in any frame",
    ):
        assert line in text
    table_file = tmp_path / "labels.csv"
    table_file.write_text("clip,label,split\nrun/2,a,train\nrun/3,b,test\nrun/4,a,test\ngone,a,train\n")
    assert pack.main([*command, "--image-size", "480", "640", "--labels", str(table_file)]) == 1
    text = capsys.readouterr().out
    assert "has no training clip: 1 of the 2 clips to measure on are of it" in text
    assert "1 rows of" in text
    assert "clip 'walk/0': no label of it in the table" in text


def test_exchanged_height_and_width_are_told_with_the_share_outside(tmp_path, capsys):
    keypoints = np.random.default_rng(0).uniform([200, 100], [1850, 1000], (1, 40, 17, 2))
    for i in range(3):
        write_npz(
            tmp_path / "clips", f"walk/{i}", keypoints=keypoints + i, label=None, image_size=(1920, 1080)
        )
    out = tmp_path / "out.safetensors"
    assert pack.main(["keypoints", str(tmp_path / "clips"), "--out", str(out), "--layout", "coco17"]) == 0
    text = capsys.readouterr().out
    outside = 100 * np.mean([(keypoints[..., 0] + i > 1080).mean() for i in range(3)])
    assert (
        f"warning: {outside:.0f} % of the joints of 3 clips lie outside the image (h, w) = (1920, 1080)"
        in text
    )
    assert "are height and width exchanged?" in text


def test_whole_numbers_are_classes_in_their_own_order(tmp_path):
    read = table(tmp_path, "clip,label\na,0.0\nb,10.0\nc,2\n")
    assert [read.find(name).label for name in "abc"] == [0, 10, 2]
    for label in ("0", "2", "10", "-1"):
        write_npz(tmp_path / "clips", f"{label}/a", joints=17, label=None)
    out = tmp_path / "out.safetensors"
    assert pack.main(["npz", str(tmp_path / "clips"), "--out", str(out), "--layout", "coco17"]) == 1
    packed = PackedClips.load(out)
    assert dict(zip(packed.names, packed.labels.tolist(), strict=True)) == {"0/a": 0, "10/a": 10, "2/a": 2}
