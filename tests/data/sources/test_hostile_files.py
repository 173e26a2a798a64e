"""Small files that ask for much: each is refused in a sentence, in little time and memory."""

import json
import pickle
import struct
import time
import tracemalloc

import numpy as np
import pytest
from support.packing import annotation

from fastpose.data.pack.layout import Layout
from fastpose.data.pack.packed import PackedClips
from fastpose.data.sources.clip_files import read_clips
from fastpose.data.sources.found_files import Problem, ReadOptions
from fastpose.data.sources.keypoint_folder import LabelOptions, pack_keypoints
from fastpose.data.sources.labels import LabelTable, hold_out
from fastpose.data.sources.pack_log import read_classes
from fastpose.data.sources.pyskl import pack_pyskl

SIZE = [480, 640]
MOST_BYTES, MOST_SECONDS = 300 * 2**20, 8.0


@pytest.fixture(autouse=True)
def _little_time_and_memory():
    tracemalloc.start()
    started = time.process_time()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < MOST_BYTES
    assert time.process_time() - started < MOST_SECONDS


def problem(path) -> str:
    """What a prediction says of a file that it cannot use."""
    (found,) = read_clips([path], ReadOptions())
    assert isinstance(found, Problem)
    assert len(str(found)) < 1500
    return str(found)


def shared(*widths):
    """Lists of lists that are one and the same: a few numbers in the file, billions when expanded."""
    value = [1.0, 2.0]
    for width in widths:
        value = [value] * width
    return value


def objects(value):
    array = np.empty(2, object)
    array[0] = array[1] = value
    return array


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


BIG, MANY = "x" * 1_000_000, [f"j{i}" for i in range(4000)]
ODD_ANNOTATIONS = {
    "label": {"label": 10**8},
    "long label": {"label": 10**400},
    "shared": {"keypoint": shared(13, 3000, 100_000), "keypoint_score": None},
    "shared numbers": {"keypoint": [[0.5] * 100_000] * 100_000, "keypoint_score": None},
    "shared arrays": {"keypoint": [np.ones((30, 17, 2), np.float32)] * 100_000, "keypoint_score": None},
    "objects": {"keypoint": objects(shared(13, 3000, 100_000)), "keypoint_score": None},
    "text among numbers": {"keypoint": [BIG, *["a"] * 100_000], "keypoint_score": None},
    "text behind numbers": {"keypoint": [*[0.5] * 100_000, BIG], "keypoint_score": None},
    "bytes among numbers": {"keypoint": [bytes(1_000_000)] * 100_000, "keypoint_score": None},
    "deep": {"keypoint": nested(250), "keypoint_score": None},
    "deep frames": {"total_frames": nested(250)},
    "sizes": {"img_shape": shared(1000, 100_000)},
    "negative size": {"img_shape": (-1, 5)},
    "name": {"frame_dir": BIG},
}


@pytest.mark.parametrize("name", ODD_ANNOTATIONS)
def test_odd_annotations_are_refused(tmp_path, name):
    clip = annotation("odd") | ODD_ANNOTATIONS[name]
    path = tmp_path / "clips.pkl"
    path.write_bytes(pickle.dumps([annotation("good"), clip]))
    packed, log = pack_pyskl(path)
    assert packed.names == ["good"]
    ((_, detail),) = log.skipped["not usable"]
    assert detail.startswith(f"{path}: ")
    assert len(detail) < 1000


def test_one_array_of_many_clips_is_refused(tmp_path):
    keypoints = np.random.default_rng(0).uniform(1, 400, (1, 3000, 17, 2)).astype(np.float16)
    clips = [
        annotation(f"clip{i}") | {"keypoint": keypoints, "keypoint_score": None, "total_frames": 3000}
        for i in range(5000)
    ]
    path = tmp_path / "clips.pkl"
    path.write_bytes(pickle.dumps(clips))
    with pytest.raises(ValueError, match=r"clips\.pkl: refused: its annotations share keypoints"):
        pack_pyskl(path)
    assert "share keypoints" in problem(path)


def test_lists_nested_deeper_than_python_goes(tmp_path):
    data = pickle.dumps([annotation("good"), annotation("odd") | {"total_frames": "MARKERMARKER"}], 2)
    mark = b"X" + struct.pack("<I", 12) + b"MARKERMARKER"
    at = data.index(mark)
    deep = data[:at] + b"]" * 50_000 + b"a" * 49_999 + data[at + len(mark) + 2 :]
    (tmp_path / "clips.pkl").write_bytes(deep)
    packed, log = pack_pyskl(tmp_path / "clips.pkl")
    assert packed.names == ["good"]
    assert "clip 'odd': total_frames: [[[" in log.skipped["not usable"][0][1]


def test_more_annotations_than_there_are_bytes(tmp_path):
    path = tmp_path / "clips.pkl"
    path.write_bytes(pickle.dumps([{}] * 1_000_000))
    with pytest.raises(ValueError, match="1,000,000 annotations in .* bytes are no clips"):
        pack_pyskl(path)


@pytest.mark.parametrize(
    "split",
    [
        {"train": {frozenset([1])}},
        {"train": [[1]]},
        {("a",): ["good"]},
        {"train": "good"},
        {"train": objects(shared(9))},
    ],
    ids=["set", "list", "key", "text", "objects"],
)
def test_splits_of_anything_but_names(tmp_path, split):
    path = tmp_path / "clips.pkl"
    path.write_bytes(pickle.dumps({"split": split, "annotations": [annotation("good")]}))
    with pytest.raises(ValueError, match=r"clips\.pkl: split .* must"):
        pack_pyskl(path)


def test_a_key_whose_text_never_ends(tmp_path):
    key = frozenset([0])
    for i in range(60):
        key = frozenset([(key, key), i])
    path = tmp_path / "clips.pkl"
    path.write_bytes(pickle.dumps({key: 1}))
    with pytest.raises(ValueError, match="no 'annotations' in it; its keys are frozenset"):
        pack_pyskl(path)


def person(x=99.0, joints=17):
    return [[x + j, x, 1] for j in range(joints)]


JSON_FILES = {
    "huge number": {"keypoints": [[[[10**400, 1]] * 13] * 30], "image_size": SIZE},
    "half a letter": {
        "keypoints": np.full((1, 30, 17, 2), 99.0).tolist(),
        "image_size": SIZE,
        "name": "\ud800",
        "layout": "coco17",
    },
    "deep": nested(900),
    "deep pose": json.loads('{"pose": ' * 400 + "1" + "}" * 400),
    "empty frames": {"keypoints": [[[1, 2]] * 4000, *[[]] * 50_000], "image_size": SIZE},
    "crowd": [{"image_id": "a_1.jpg", "keypoints": [1, 1, 1] * 17}] * 5000,
    "text behind numbers": {"keypoints": [[[[0.5, 1.5]] * 16 + [[0.5, BIG]]]], "image_size": SIZE},
    "sparse": [{"image_id": f"a_{99 * i}.jpg", "keypoints": [5 + i % 7, 8, 1] * 133} for i in range(2000)],
    "far frames": {
        "instance_info": [
            {"frame_id": f, "instances": [{"keypoints": [[1, 2]]}]} for f in (-(2**63), 2**63 - 1)
        ]
    },
    "many fields": {"keypoints": [[[1, 2]]], **{f"k{i}": 0 for i in range(50_000)}},
    "long field": {"keypoints": [[[1, 2]]], BIG: 0},
    "long name": {"keypoints": [[[1, 2]]], "name": BIG, "image_size": SIZE, "layout": "coco17"},
    "long layout": {"keypoints": [[[1, 2]]], "layout": BIG, "image_size": SIZE},
    "text": {"keypoints": ["a", [1]], "image_size": SIZE, "layout": "coco17"},
    "object": {"keypoints": {"x": 1}, "image_size": SIZE, "layout": "coco17"},
    "sizes": {"keypoints": [[[1, 2]] * 17], "image_size": {"h": [1] * 1000}, "layout": "coco17"},
    "number": 5,
    "image": [{"image_id": {"a": 1}, "keypoints": [1, 2, 3]}],
    "annotations": {"images": [{"id": 1}], "annotations": [{"image_id": 2, "keypoints": [1]}]},
    "landmark": [[{"x": 1, "y": 1}, *[5] * 32]],
    "visible": [[{"keypoints": {"x": 5, "y": 6}}]],
    "skeleton": {"data": [{"frame_index": 10**30, "skeleton": [{"pose": [1]}]}]},
}


@pytest.mark.parametrize("name", JSON_FILES)
def test_odd_json_files_are_refused(tmp_path, name):
    path = tmp_path / "clip.json"
    path.write_text(json.dumps(JSON_FILES[name]))
    assert problem(path).startswith(f"{path}: ")


def test_a_field_that_is_given_twice(tmp_path):
    path = tmp_path / "clip.json"
    points = json.dumps(np.full((3, 17, 2), 99.0).tolist())
    rest = '"image_size": [480, 640], "layout": "coco17"'
    path.write_text(f'{{"keypoints": {points}, {rest}, "keypoints": {points}}}')
    assert "the name 'keypoints' is given twice" in problem(path)
    path.write_text(f'[{{"keypoints": {points}, {rest}, "name": "layout"}}]')  # a word, not a field
    (group,) = read_clips([path], ReadOptions())
    assert not isinstance(group, Problem)
    assert group.packed.names == ["layout"]


@pytest.mark.parametrize(
    "arrays",
    [
        {"x_train": np.zeros((2, 3, 75)), "y_train": np.array(5)},
        {"x_train": np.array("text"), "y_train": np.zeros(1)},
        {"x_train": np.zeros((10**9, 0, 75), np.float32), "y_train": np.zeros(3)},
        {"x_train": np.zeros((2, 3, 75), np.int8), "y_train": np.zeros(2)},
        {"x_train": np.zeros((2, 3, 75)), "y_train": np.zeros((2, 0))},
        {"keypoints": np.zeros((2, 3), [("a", "f4")])},
        {"keypoints": np.array([1j])},
        {"keypoints": np.ones((1, 2, 17, 2)), "image_size": np.array([1e300, 1])},
        {"keypoints": np.ones((1, 2, 17, 2)), "layout": np.zeros(3)},
        {"keypoints": np.ones((1, 2, 17, 2)), "name": b"\xff"},
    ],
    ids=str,
)
def test_odd_npz_files_are_refused(tmp_path, arrays):
    path = tmp_path / "clip.npz"
    np.savez(path, **arrays)
    assert problem(path).startswith(f"{path}: ")


def write_table(path, rows):
    path.write_text("clip,label\n" + "".join(rows))
    return path


def test_labels_and_classes_have_limits(tmp_path):
    folder = tmp_path / "clips"
    folder.mkdir()
    for name in ("a", "b"):
        clip = {"keypoints": np.full((1, 3, 17, 2), 99.0).tolist(), "image_size": SIZE, "layout": "coco17"}
        (folder / f"{name}.json").write_text(json.dumps(clip))
    labels = LabelOptions(labels=write_table(tmp_path / "labels.csv", ["a,1\n", "b,100000000\n"]))
    packed, log = pack_keypoints(folder, labels=labels)
    assert packed.names == ["a"]
    assert "more than 20,000: number the classes from 0" in log.skip_lines()[1]
    for classes in (10**9, 20_001):
        with pytest.raises(ValueError, match="number of classes must be at least 1 and at most 20,000"):
            pack_keypoints(folder, labels=LabelOptions(labels=labels.labels, class_names=classes))
    with pytest.raises(ValueError, match="expected the number of classes, or a text file"):
        read_classes("9" * 5000)
    (tmp_path / "names.txt").write_text("".join(f"c{i}\n" for i in range(20_001)))
    with pytest.raises(
        ValueError, match=r"names\.txt: has 20,001 lines, expected at most 20,000 class names"
    ):
        read_classes(str(tmp_path / "names.txt"))
    with pytest.raises(ValueError, match=r"labels\.csv: line 1: expected the columns"):
        (tmp_path / "labels.csv").write_text("x" * 10**7)
        LabelTable.read(tmp_path / "labels.csv")


def test_many_groups_of_few_labels_take_no_table():
    labels = np.arange(20_000, dtype=np.int64) % 19_999
    held = hold_out(labels[:3000] * 6, [f"g{i}" for i in range(3000)], 0.5, 0)
    assert held.dtype == bool


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"joints": [*MANY, *map(str, range(1000))]}, "has 5,000 joints, expected at most 4,096"),
        ({"joints": MANY, "pairs": [[2 * i, 2 * i + 1] for i in range(2000)] + [[0, 1]]}, "joint 0 .* in two pairs"),
        ({"joints": ["a", "b"], "pairs": [[0, 10**400]]}, "must join two of the joints"),
        ({"joints": ["a", 5]}, "joints must be non-empty strings"),
        ({"joints": ["a"], "name": BIG}, "may have 200 letters"),
        ({"joints": ["a"], BIG: 1}, "a layout is an object with"),
    ],
)  # fmt: skip
def test_layouts_have_limits(tmp_path, fields, reason):
    (tmp_path / "layout.json").write_text(json.dumps({"name": "mine"} | fields))
    with pytest.raises(ValueError, match=rf"layout\.json: not a layout file: .*{reason}") as caught:
        Layout.from_file(tmp_path / "layout.json")
    assert len(str(caught.value)) < 5000


@pytest.mark.parametrize(
    ("texts", "reason"),
    [
        ({"class_names": "1000000000"}, "class_names must be a list"),
        ({"class_names": "null"}, "class_names must be a list"),
        (
            {"class_names": json.dumps([f"c{i}" for i in range(30_000)])},
            "30,000 class_names, expected at most 20,000",
        ),
        ({"class_names": "[" * 100_000}, "nested too deep"),
        ({"splits": '{"train": 1}'}, "splits must be a list"),
        ({"splits": "[5]"}, "splits must be a list"),
        ({"layout": '{"name": "a", "joints": ["b"], "joints": ["b"]}'}, "the name 'joints' is given twice"),
        ({"layout": "[" * 100_000}, "nested too deep"),
    ],
)
def test_metadata_of_packs_have_limits(tmp_path, texts, reason):
    from safetensors.numpy import save_file

    from fastpose.data.pack import packed_file

    clip = {"keypoints": np.full((1, 3, 17, 2), 99.0), "label": 0, "image_size": (480, 640)}
    path = tmp_path / "clips.safetensors"
    PackedClips.from_clips([clip], layout="coco17", splits={"train": [0]}).save(path)
    arrays, metadata = packed_file.read(path)
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, path, metadata | texts)
    with pytest.raises(ValueError, match=rf"clips\.safetensors: damaged packed file: .*{reason}"):
        PackedClips.load(path)


def test_names_of_a_pack_must_be_as_many_as_its_labels(tmp_path):
    from safetensors.numpy import save_file

    from fastpose.data.pack import packed_file

    clip = {"keypoints": np.full((1, 3, 17, 2), 99.0), "label": 0, "image_size": (480, 640)}
    path = tmp_path / "clips.safetensors"
    PackedClips.from_clips([clip], layout="coco17").save(path)
    arrays, metadata = packed_file.read(path)
    many = 1_000_000
    arrays |= {"names": np.full(many, ord("a"), np.uint8), "name_offsets": np.arange(many + 1)}
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, path, metadata)
    with pytest.raises(ValueError, match=r"name_offsets must be int64 \[2\], as offsets are"):
        PackedClips.load(path)


def test_pickles_of_many_empty_lists(tmp_path):
    path = tmp_path / "clips.pkl"
    path.write_bytes(b"\x80\x04(" + b"]" * 3_000_000 + b"l.")
    assert "far more memory than the file has bytes" in problem(path)
    path.write_bytes(b"\x80\x02N" + b"r" + struct.pack("<I", 2**28 - 1) + b".")
    assert "memo index" in problem(path)
