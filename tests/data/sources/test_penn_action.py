import numpy as np
import pytest
from scipy.io import loadmat, savemat
from support.shared import shared_folder

from fastpose.data.pack.layouts import PENN13
from fastpose.data.sources.penn_action import CLASS_NAMES, pack_penn_action


def write_clip(folder, name="0001", *, frames=5, dtype=np.float64, **fields):
    x = np.arange(frames * 13).reshape(frames, 13) % 90 + 10
    clip = {
        "x": x.astype(dtype),
        "y": (x + 5).astype(dtype),
        "visibility": np.ones((frames, 13), np.uint8),
        "action": "bowl",
        "train": 1,
        "dimensions": np.array([[270, 480, frames]], np.uint16),
        "nframes": frames,
    } | fields
    folder.mkdir(exist_ok=True)
    savemat(folder / f"{name}.mat", {key: value for key, value in clip.items() if value is not None})


@pytest.fixture(scope="module")
def real():
    return pack_penn_action(shared_folder() / "penn_action")


def test_the_whole_data_set_is_packed(real):
    packed, log = real
    assert packed.num_clips == 2326
    assert log.num_skipped == 0
    assert packed.layout == PENN13
    assert {name: len(packed.split(name)) for name in packed.splits} == {"train": 1258, "test": 1068}
    assert packed.class_names == CLASS_NAMES
    assert sorted(CLASS_NAMES) == list(CLASS_NAMES)
    assert np.bincount(packed.labels).min() == 82
    assert (packed.num_frames.min(), packed.num_frames.max()) == (18, 663)
    assert (packed.num_persons == 1).all()
    assert (packed.scores == 0).sum() == 169_755  # 169,781 less two frames without any joint at a clip's end
    assert set(np.unique(packed.scores)) == {0, 1}
    assert np.isfinite(packed.keypoints).all()


def test_clips_equal_their_files(real):
    packed, _ = real
    for index in np.random.default_rng(0).choice(packed.num_clips, 40, replace=False):
        clip = packed.clip(index)
        fields = loadmat(shared_folder() / f"penn_action/labels/{clip.name}.mat")
        pixels = np.stack([fields["x"].astype(np.float64) - 1, fields["y"].astype(np.float64) - 1], axis=-1)
        np.testing.assert_array_equal(clip.keypoints[0], pixels.astype(np.float32))
        assert clip.image_size == tuple(fields["dimensions"].ravel()[:2].tolist())
        assert packed.class_names[clip.label] == fields["action"].item()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float64])
def test_unsigned_storage_does_not_wrap_around(tmp_path, dtype):
    x = np.zeros((5, 13), dtype)
    write_clip(tmp_path, x=x, dtype=dtype)
    packed, _ = pack_penn_action(tmp_path)
    assert (packed.clip(0).keypoints[..., 0] == -1).all()
    assert packed.clip(0).keypoints[0, 0, 0, 1] == 14


def test_missing_occluded_and_outside_joints(tmp_path):
    x, y, visibility = np.full((3, 5, 13), 50.0)
    visibility[:] = 1
    x[0, 0], y[0, 0], visibility[0, 0] = 0.75, 0.75, 0
    x[0, 1], y[0, 1], visibility[0, 1] = 1, 1, 0
    x[0, 2], y[0, 2], visibility[0, 2] = 1, 1, 1
    x[0, 3], y[0, 3], visibility[0, 3] = 1, 30, 0
    visibility[0, 4] = 0
    x[0, 5] = -20
    write_clip(tmp_path, x=x, y=y, visibility=visibility)
    packed, _ = pack_penn_action(tmp_path)
    assert packed.clip(0).scores[0, 0].tolist() == [0, 0] + [1] * 11
    assert packed.clip(0).keypoints[0, 0, 5].tolist() == [-21, 49]


def test_splits_labels_and_folders(tmp_path):
    write_clip(tmp_path / "labels", "0002", train=-1, action="tennis_serve")
    write_clip(tmp_path / "labels", "0010", train=1, action="baseball_pitch")
    packed, _ = pack_penn_action(tmp_path)
    assert packed.names == ["0002", "0010"]
    assert packed.labels.tolist() == [14, 0]
    assert packed.num_classes == 15
    assert packed.split("test").tolist() == [0]
    assert packed.split("train").tolist() == [1]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"nframes": 6}, "nframes is 6, but x has 5 rows"),
        ({"action": "dancing"}, "'dancing'"),
        ({"train": 0}, "train must be 1 or -1"),
        ({"x": None}, "no x"),
        ({"x": np.zeros((5, 12))}, "x must be T×13"),
        ({"x": "text"}, "x must be"),
        ({"y": np.zeros((4, 13))}, "one shape"),
        ({"dimensions": np.array([[0, 480, 5]])}, "positive"),
        ({"dimensions": np.zeros((0, 0))}, "dimensions"),
        ({"nframes": np.zeros((0, 0))}, "nframes must be one number"),
        ({"nframes": np.inf}, "nframes must be a whole number, got inf"),
        ({"nframes": np.nan}, "nframes must be a whole number, got nan"),
        ({"nframes": 5.5}, r"nframes must be a whole number, got 5\.5"),
        ({"dimensions": np.array([[np.inf, 480, 5]])}, r"dimensions must be \[H W T\], got \[inf"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_bad_files_are_skipped_or_raised(tmp_path, fields, message):
    write_clip(tmp_path, "0001")
    write_clip(tmp_path, "0002", **fields)
    packed, log = pack_penn_action(tmp_path)
    assert packed.names == ["0001"]
    assert log.num_skipped == 1
    with pytest.raises(ValueError, match=message) as caught:
        pack_penn_action(tmp_path, on_error="raise")
    assert "0002.mat" in str(caught.value)


def test_damaged_files_and_empty_folders(tmp_path):
    with pytest.raises(ValueError, match=r"no \.mat file"):
        pack_penn_action(tmp_path)
    with pytest.raises(FileNotFoundError, match="absent"):
        pack_penn_action(tmp_path / "absent")
    write_clip(tmp_path, "0001")
    whole = (tmp_path / "0001.mat").read_bytes()
    for content in (b"", b"text", whole[:200], whole[: len(whole) // 2], bytes(500)):
        (tmp_path / "0001.mat").write_bytes(content)
        with pytest.raises(ValueError, match=r"no clip to pack.*0001\.mat"):
            pack_penn_action(tmp_path)
