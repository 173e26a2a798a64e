import numpy as np
import pytest
from support.packing import write_npz

from fastpose.data.pack.layouts import Layout
from fastpose.data.sources.found_files import ReadOptions
from fastpose.data.sources.keypoint_folder import LabelOptions, pack_keypoints

TRIANGLE = Layout("triangle", ("a", "b", "c"), ((0, 1),), ((0, 2), (1, 2)))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "clips").mkdir()
    return tmp_path / "clips"


def pack_folder(folder, image_size=None, on_error="skip", **labels):
    """Pack with triangles for a layout."""
    options = ReadOptions(layout=TRIANGLE, image_size=image_size)
    return pack_keypoints(folder, options=options, labels=LabelOptions(**labels), on_error=on_error)


def test_a_folder_of_clips(folder):
    scores = np.linspace(0.1, 1, 12).reshape(1, 4, 3)
    write_npz(folder, "b", seed=1, label=2, split="test", scores=scores)
    write_npz(folder, "a/c", seed=2, label=np.array([0]), split="train", image_size=np.array([100, 200]))
    packed, log = pack_folder(folder)
    assert packed.names == ["a/c", "b"]
    assert packed.layout == TRIANGLE
    assert packed.labels.tolist() == [0, 2]
    assert packed.num_classes == 3
    assert packed.image_sizes.tolist() == [[100, 200], [480, 640]]
    assert packed.split("train").tolist() == [0]
    assert packed.split("test").tolist() == [1]
    np.testing.assert_array_equal(packed.clip(1).scores, scores.astype(np.float32))
    assert (packed.clip(0).scores == 1).all()
    with np.load(folder / "b.npz") as file:
        np.testing.assert_array_equal(packed.clip(1).keypoints, file["keypoints"].astype(np.float32))
    assert log.num_skipped == 0


def test_class_names_as_labels(folder):
    for name, label in [("1", "walk"), ("2", "run"), ("3", "walk")]:
        write_npz(folder, name, label=label)
    packed, _ = pack_folder(folder)
    assert packed.class_names == ("run", "walk")
    assert packed.labels.tolist() == [1, 0, 1]
    packed, _ = pack_folder(folder, class_names=["walk", "sit", "run"])
    assert packed.labels.tolist() == [0, 2, 0]
    packed, log = pack_folder(folder, class_names=["walk", "sit"])
    assert packed.names == ["1", "3"]
    assert log.skipped["unknown class"][0][0] == "2"
    with pytest.raises(ValueError, match="clip '2': class 'run' is not one of the given"):
        pack_folder(folder, class_names=["walk"], on_error="raise")
    with pytest.raises(ValueError, match="not their number"):
        pack_folder(folder, class_names=2)
    write_npz(folder, "4", label=1)
    packed, log = pack_folder(folder)
    assert packed.names == ["1", "2", "3"]
    assert "clip '4': class 1 is not one of the given classes" in log.skipped["unknown class"][0][1]


def test_a_pack_of_part_of_the_splits_and_of_none(folder):
    write_npz(folder, "1", split="train")
    write_npz(folder, "2")
    packed, log = pack_folder(folder)
    assert list(packed.splits) == ["train"]
    write_npz(folder, "1")
    packed, log = pack_folder(folder)
    assert packed.split("all").tolist() == [0, 1]
    assert '"all"' in log.notes[0]


def test_image_size_of_the_caller(folder):
    write_npz(folder, "1", image_size=None)
    write_npz(folder, "2")
    packed, _ = pack_folder(folder, image_size=(7, 8))
    assert packed.image_sizes.tolist() == [[7, 8], [480, 640]]
    packed, log = pack_folder(folder)
    assert packed.names == ["2"]
    assert "give --image-size H W" in log.skipped["cannot be read"][0][1]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"keypoints": None}, "keypoints is missing"),
        ({"keypoints": np.ones((1, 4, 5, 2))}, r"\[M, T, 3, 2\] for layout 'triangle'"),
        ({"keypoints": np.full((1, 4, 3, 3), 9)}, "third number"),
        ({"keypoints": np.ones((1, 0, 3, 2))}, "no frame"),
        ({"keypoints": np.array([None])}, "pickle"),
        ({"scores": np.ones((1, 3, 3))}, "scores"),
        ({"score": np.ones((1, 4, 3))}, "'score' is unknown: is it 'scores'"),
        ({"label": None}, "has no label"),
        ({"label": -1}, "label"),
        ({"label": 0.5}, "label"),
        ({"label": ["a", "b"]}, "label"),
        ({"split": 3}, "split"),
        ({"image_size": (0, 5)}, "positive"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_bad_clips_are_skipped_or_raised(folder, fields, message):
    write_npz(folder, "1")
    write_npz(folder, "2", **fields)
    packed, log = pack_folder(folder)
    assert packed.names == ["1"]
    assert log.num_skipped == 1
    with pytest.raises(ValueError, match=message) as caught:
        pack_folder(folder, on_error="raise")
    assert "2.npz" in str(caught.value)


def test_files_that_are_no_npz(folder):
    write_npz(folder, "1")
    whole = (folder / "1.npz").read_bytes()
    for content in (
        b"",
        b"text",
        whole[:100],
        whole[: len(whole) // 2],
        b"\x80\x04N.",
        b"PK\x03\x04" + bytes(50),
    ):
        (folder / "1.npz").write_bytes(content)
        with pytest.raises(ValueError, match=r"no clip to pack.*1\.npz"):
            pack_folder(folder)
    with (folder / "1.npz").open("wb") as file:
        np.save(file, np.ones(3))
    with pytest.raises(ValueError, match=r"no clip to pack.*1\.npz"):
        pack_folder(folder)


def test_folders_and_layouts(folder):
    with pytest.raises(ValueError, match=r"no file in it or below it ends in \.json, \.npz"):
        pack_folder(folder)
    with pytest.raises(FileNotFoundError, match="absent"):
        pack_folder(folder / "absent")


def test_normalised_keypoints_are_refused(folder):
    write_npz(folder, "1", keypoints=np.random.default_rng(0).uniform(0, 1, (1, 4, 3, 2)))
    with pytest.raises(ValueError, match="look normalised"):
        pack_folder(folder)


def test_files_that_another_command_packs(tmp_path):
    (tmp_path / "a.pkl").write_bytes(b"")
    with pytest.raises(
        ValueError, match=r"expected one of \.json, \.npz, \.npy; `fastpose pack pyskl` packs these"
    ):
        pack_folder(tmp_path / "a.pkl")
