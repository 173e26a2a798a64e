import contextlib
import os
import pickle
import re
from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from support.packing import annotation

from fastpose.data.pack.layouts import COCO17, H36M17, Layout, convert
from fastpose.data.sources.pyskl import pack_pyskl
from fastpose.data.sources.safe_pickle import load_pickle, plain


def write(path, data, protocol=4):
    path.write_bytes(pickle.dumps(data, protocol))
    return path


@pytest.fixture
def file(tmp_path):
    return tmp_path / "annotations.pkl"


THREE = [
    annotation("a", seed=0, label=2),
    annotation("b", seed=1, persons=3, frames=6),
    annotation("c", seed=2),
]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_clips_and_splits_of_a_pickle(file, protocol):
    write(file, {"split": {"train": ["c", "a"], "val": ["b"]}, "annotations": THREE}, protocol)
    packed, log = pack_pyskl(file)
    assert packed.names == ["a", "b", "c"]
    assert packed.labels.tolist() == [2, 0, 0]
    assert packed.class_names == ("class_0", "class_1", "class_2")
    assert packed.layout == COCO17
    assert {name: members.tolist() for name, members in packed.splits.items()} == {
        "train": [0, 2],
        "val": [1],
    }
    for index, source in enumerate(THREE):
        clip = packed.clip(index)
        np.testing.assert_array_equal(clip.keypoints, source["keypoint"].astype(np.float32))
        np.testing.assert_array_equal(clip.scores, source["keypoint_score"].astype(np.float32))
        assert clip.image_size == (480, 640)
    assert log.num_skipped == 0


@pytest.mark.parametrize("data", [THREE, {"annotations": THREE}, {"annotations": THREE, "split": None}])
def test_without_splits_all_clips_form_one(file, data):
    packed, log = pack_pyskl(write(file, data))
    assert packed.split("all").tolist() == [0, 1, 2]
    assert 'the split "all"' in log.notes[-1]


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4", "i4", "u2"])
@pytest.mark.parametrize("order", "CF")
def test_any_number_type_and_memory_order(file, dtype, order):
    keypoint = np.asarray(THREE[1]["keypoint"].astype(dtype), order=order)
    item = annotation("a", frames=6, keypoint=keypoint)
    del item["keypoint_score"]
    for protocol in (2, 5):
        packed, _ = pack_pyskl(write(file, [item], protocol))
        np.testing.assert_array_equal(packed.clip(0).keypoints, keypoint.astype(np.float32))
        assert (packed.clip(0).scores == 1).all()


def test_keypoints_as_a_list_or_an_object_array_of_persons(file):
    keypoint = THREE[1]["keypoint"]
    objects = np.empty(3, object)
    objects[:] = list(keypoint)
    listed = annotation("listed", frames=6, keypoint=list(keypoint), keypoint_score=None)
    boxed = annotation("boxed", frames=6, keypoint=objects, keypoint_score=None)
    packed, _ = pack_pyskl(write(file, [THREE[0], listed, boxed]), on_error="raise")
    for index in (1, 2):
        np.testing.assert_array_equal(packed.clip(index).keypoints, keypoint.astype(np.float32))


def test_17_joints_are_cocos_and_others_are_asked_for(file):
    packed, log = pack_pyskl(write(file, [annotation()]))
    assert packed.layout == COCO17
    assert "17 joints taken for coco17" in log.notes[0]
    for joints, name in [(25, "kinect25"), (13, "penn13")]:
        write(file, [annotation(joints=joints)])
        with pytest.raises(
            ValueError, match=rf"{joints} joints may be those of .*{name}.*say which .*--source-layout"
        ):
            pack_pyskl(file)
        assert pack_pyskl(file, source_layout=name)[0].layout.name == name


def test_layouts_given(file, tmp_path):
    write(file, THREE)
    packed, _ = pack_pyskl(file, layout="h36m17")
    source = THREE[1]
    keypoints, scores = convert(
        source["keypoint"].astype(np.float32), source["keypoint_score"].astype(np.float32), COCO17, H36M17
    )
    np.testing.assert_array_equal(packed.clip(1).keypoints, keypoints)
    np.testing.assert_array_equal(packed.clip(1).scores, scores)
    raw, _ = pack_pyskl(file, layout="h36m17", source_layout="h36m17")
    np.testing.assert_array_equal(raw.clip(1).keypoints, source["keypoint"].astype(np.float32))
    with pytest.raises(ValueError, match=r"\[M, T, 25, 2\] for layout 'kinect25', got \[1, 4, 17, 2\]"):
        pack_pyskl(file, source_layout="kinect25")
    write(file, [annotation(joints=18)])
    with pytest.raises(ValueError, match=r"18 joints .*--source-layout"):
        pack_pyskl(file)
    own = Layout("own", tuple(f"joint {v}" for v in range(18)), (), ())
    assert pack_pyskl(file, layout=own)[0].layout == own


def test_image_size_from_img_shape_then_original_shape_then_the_caller(file):
    items = [annotation("both", img_shape=(100, 200)), annotation("original"), annotation("none")]
    del items[2]["img_shape"], items[2]["original_shape"]
    items[1] |= {"img_shape": None, "original_shape": np.array([300, 400, 3])}
    packed, _ = pack_pyskl(write(file, items), image_size=(5, 6))
    assert packed.image_sizes.tolist() == [[100, 200], [300, 400], [5, 6]]
    packed, log = pack_pyskl(file)
    assert packed.names == ["both", "original"]
    assert "--image-size" in log.skipped["not usable"][0][1]


def test_class_names_given(file):
    write(file, THREE)
    assert pack_pyskl(file, class_names=["x", "y", "z"])[0].class_names == ("x", "y", "z")
    assert pack_pyskl(file, class_names=60)[0].num_classes == 60
    with pytest.raises(ValueError, match="'a' has label 2, but there are 2 classes"):
        pack_pyskl(file, class_names=["x", "y"])


def ragged():
    return [np.ones((4, 17, 2)) * 9, np.ones((3, 17, 2)) * 9]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"frame_dir": None}, "annotation 1 has no frame_dir"),
        ({"frame_dir": np.arange(3)}, "annotation 1 has no frame_dir"),
        ({"frame_dir": "a"}, "two clips 'a'"),
        ({"keypoint": None}, "'bad': no keypoint"),
        ({"keypoint": ragged()}, "'bad': keypoints is ragged"),
        ({"keypoint": np.ones((1, 4, 16, 2))}, r"'bad': .*\[1, 4, 16, 2\]"),
        (
            {"keypoint": np.ones((1, 0, 17, 2)), "total_frames": 0, "keypoint_score": None},
            "'bad': .*no frame",
        ),
        ({"keypoint_score": np.ones((1, 3, 17))}, "'bad': scores"),
        ({"total_frames": 5}, "'bad': total_frames is 5, but keypoint has 4"),
        ({"label": None}, "'bad': label is missing"),
        ({"label": -1}, "'bad': label"),
        ({"img_shape": (0, 5)}, "'bad': image_size"),
        ({"img_shape": "x"}, "'bad': image_size"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_bad_annotations_are_skipped_or_raised(file, fields, message):
    write(file, [annotation("a"), annotation(**{"name": "bad"} | fields) | fields])
    packed, log = pack_pyskl(file)
    assert packed.names == ["a"]
    assert log.num_skipped == 1
    with pytest.raises(ValueError, match=message) as caught:
        pack_pyskl(file, on_error="raise")
    assert str(file) in str(caught.value)


def test_what_is_no_annotation(file):
    packed, log = pack_pyskl(write(file, [3, annotation("a")]))
    assert packed.names == ["a"]
    assert "must be a dict, got int" in log.skipped["not usable"][0][1]


def test_3d_keypoints_say_what_to_do(file):
    write(file, [annotation(keypoint=np.full((1, 4, 25, 3), 3.0), keypoint_score=None)])
    with pytest.raises(
        ValueError, match=r"\[1, 4, 25, 3\] have a third number.*--project kinect_v1.*pack ntu"
    ):
        pack_pyskl(file)


def test_normalised_keypoints_are_refused(file):
    keypoint = np.random.default_rng(0).uniform(-1, 1, (1, 4, 17, 2))
    with pytest.raises(ValueError, match="look normalised"):
        pack_pyskl(write(file, [annotation(keypoint=keypoint)]))


def test_clips_without_a_joint_are_left_out(file):
    nobody = annotation("lost", keypoint=np.zeros((1, 4, 17, 2)))
    packed, log = pack_pyskl(write(file, [nobody, annotation("a")]))
    assert packed.names == ["a"]
    assert "clip 'lost': no joint is present" in log.skipped["not usable"][0][1]


def test_split_names_without_annotation(file):
    write(file, {"split": {"train": ["a", "gone", "a"], "val": []}, "annotations": [annotation("a")]})
    packed, log = pack_pyskl(file)
    assert packed.split("train").tolist() == [0]
    assert packed.splits["val"].size == 0
    assert log.skipped["named by split 'train', but there is no such annotation"] == [("gone", "")]
    with pytest.raises(ValueError, match="gone"):
        pack_pyskl(file, on_error="raise")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"split": {}}, "no 'annotations'.*split"),
        ({"annotations": 3}, "list of dicts, got int"),
        (3, "list of dicts, got int"),
        ({"annotations": THREE, "split": ["a"]}, "split must be a dict"),
        ({"annotations": THREE, "split": {"train": 3}}, "'train' must be a list"),
        ({"annotations": THREE, "split": {"train": "a"}}, "'train' must be a list of clip names, got 'a'"),
        ([], "no clip to pack: it holds nothing"),
        ([annotation(keypoint=np.ones(17))], r"keypoints must be \[M, T, 17, 2\]"),
        ([annotation(label=None)], "no clip to pack.*label is missing"),
    ],
)
def test_files_of_another_structure(file, data, message):
    with pytest.raises(ValueError, match=message) as caught:
        pack_pyskl(write(file, data))
    assert str(file) in str(caught.value)


class Call:
    """Pickles as a call of ``function``."""

    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize(
    ("function", "arguments", "name"),
    [
        (os.system, ("touch ran",), r"posix\.system"),
        (eval, ("open('ran', 'w')",), r"__builtin__\.eval|builtins\.eval"),
        (getattr, ("text", "upper"), r"__builtin__\.getattr|builtins\.getattr"),
        (__import__, ("os",), r"__builtin__\.__import__|builtins\.__import__"),
        (np.load, ("x.npy", None, True), r"numpy\.load"),
        (np.asarray, ([1],), r"numpy\.asarray"),
        (pickle.loads, (b"N.",), r"pickle\.loads"),
        (bytearray, (10,), r"__builtin__\.bytearray|builtins\.bytearray"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("place", ["top", "keypoint", "object array", "key"])
def test_code_is_refused_by_name_and_not_run(
    file, tmp_path, monkeypatch, function, arguments, name, protocol, place
):
    monkeypatch.chdir(tmp_path)
    call = Call(function, *arguments)
    boxed = np.empty(1, object)
    boxed[0] = call
    data = {
        "top": call,
        "keypoint": [annotation(keypoint=call)],
        "object array": [annotation(keypoint=boxed)],
        "key": {"annotations": THREE, call: 1},
    }[place]
    write(file, data, protocol)
    with pytest.raises(ValueError, match=rf"annotations\.pkl: .*({name}).*only NumPy arrays"):
        pack_pyskl(file)
    assert [path.name for path in tmp_path.iterdir()] == ["annotations.pkl"]


@pytest.mark.parametrize(
    "opcodes",
    [
        b"cnumpy\ndtype.type\n.",
        b"cnumpy.core.multiarray\n_reconstruct.__globals__\n.",
        b"\x80\x04\x8c\x05numpy\x8c\x0cndarray.base\x93.",
        b"cnumpy\nndarray\n((I1000000000000\nttR.",
        b"\x80\x02cnumpy\nndarray\n(I4\nt\x85\x81.",
        b"(S'ls'\niposix\nsystem\n.",
        b"cnumpy\ndtype\n(S'O'\nI0\nI1\ntR(I3\nS'|'\nN(S'a'\ntNI-1\nI-1\nI63\ntb.",
        b"cnumpy\ndtype\n(S'V8'\nI0\nI1\ntR.",
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I1000000\ntcnumpy\ndtype\n"
        b"(S'f8'\nI0\nI1\ntRI0\nS'short'\ntb.",
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I9\ntcnumpy\ndtype\n"
        b"(S'O'\nI0\nI1\ntRI0\n(lp1\ntb.",
        b"cnumpy.core.numeric\n_frombuffer\n(S'12345678'\ncnumpy\ndtype\n(S'f8'\nI0\nI1\ntR(I-1\ntS'C'\ntR.",
        b"c_codecs\nencode\n(Vx\nVrot13\ntR.",
        b"P1\n.",
        b"\x82\x01.",
        b"\x80\x04r\xff\xff\xff\xffN.",
        b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",
    ],
)
def test_crafted_pickles_are_refused(file, opcodes):
    file.write_bytes(opcodes)
    with pytest.raises(ValueError, match=r"annotations\.pkl: refused or damaged pickle"):
        load_pickle(file)


def test_files_that_are_no_pickles(file):
    import torch

    for content in (
        b"",
        b"\x80",
        b"not a pickle",
        np.random.default_rng(0).bytes(200),
        b"\x1f\x8b\x08" + bytes(50),
    ):
        file.write_bytes(content)
        with pytest.raises(ValueError, match=r"annotations\.pkl"):
            pack_pyskl(file)
    torch.save([torch.ones(3)], file)
    with pytest.raises(ValueError, match=r"torch\.save"):
        pack_pyskl(file)
    torch.save([torch.ones(3)], file, _use_new_zipfile_serialization=False)
    with pytest.raises(ValueError, match=r"annotations\.pkl"):
        pack_pyskl(file)
    with pytest.raises(FileNotFoundError, match="absent"):
        pack_pyskl(file.with_name("absent.pkl"))


@given(
    cut=st.integers(0, 2000), flips=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=5)
)
def test_damaged_pickles_give_a_value_error_or_data(tmp_path_factory, cut, flips):
    content = bytearray(pickle.dumps([annotation("a", frames=1)], 2))
    for position, value in flips:
        content[position % len(content)] = value
    file = tmp_path_factory.mktemp("pickles") / "damaged.pkl"
    file.write_bytes(content[: cut or None])
    with contextlib.suppress(ValueError):
        packed, _ = pack_pyskl(file)
        assert np.isfinite(packed.keypoints).all()


@given(
    array=hnp.arrays(
        hnp.boolean_dtypes() | hnp.integer_dtypes() | hnp.floating_dtypes() | hnp.unicode_string_dtypes(),
        hnp.array_shapes(min_dims=0, min_side=0),
    ),
    protocol=st.integers(0, pickle.HIGHEST_PROTOCOL),
    order=st.sampled_from("CF"),
)
def test_arrays_survive_the_safe_unpickler(tmp_path_factory, array, protocol, order):
    array = np.asarray(array, order=order)
    file = write(tmp_path_factory.mktemp("arrays") / "array.pkl", array, protocol)
    loaded = plain(load_pickle(file))
    assert type(loaded) is np.ndarray
    assert loaded.dtype.newbyteorder("=") == array.dtype.newbyteorder("=")
    np.testing.assert_array_equal(loaded, array)


def test_scalars_and_containers_survive(file):
    data = {
        "o": OrderedDict(b=1, a=2),
        "a": (np.float32(1.5), np.int64(3), {1, 2}),
        "b": [b"bytes", "text", None, True, 10**30],
    }
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert load_pickle(write(file, data, protocol)) == data


@pytest.mark.parametrize("core", [b"numpy.core", b"numpy._core"])
def test_pickles_of_old_and_new_numpy_are_read(file, core):
    content = pickle.dumps([annotation("a")], 2)  # its globals are lines of text
    file.write_bytes(re.sub(rb"numpy\._?core", core, content))
    assert core + b".multiarray" in file.read_bytes()
    assert pack_pyskl(file)[0].names == ["a"]
