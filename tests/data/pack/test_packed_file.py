"""What a packed file on disk may look like, and what happens when it is damaged or cannot be written."""

import errno
import json
import os
import struct
from dataclasses import replace

import numpy as np
import pytest
from support.packing import three_clips

from fastpose.data.pack import packed_file
from fastpose.data.pack.clip_builder import row_offsets
from fastpose.data.pack.packed import PackedClips


@pytest.fixture
def packed():
    return three_clips()


def test_files_that_are_no_packs(packed, tmp_path):
    from safetensors.numpy import save_file

    path = tmp_path / "odd.safetensors"
    for content in (
        b"",
        b"PK\x03\x04",
        b"\x80\x04}.",
        b"\0" * 100,
        np.random.default_rng(0).bytes(1000),
        b"\xff" * 16,
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"odd\.safetensors: not a whole packed file"):
            PackedClips.load(path)
    save_file({"weight": np.ones(3)}, path)
    with pytest.raises(ValueError, match="not packed clips"):
        PackedClips.load(path)
    with pytest.raises(FileNotFoundError, match=r"absent\.safetensors"):
        PackedClips.load(tmp_path / "absent.safetensors")
    with pytest.raises(IsADirectoryError):
        PackedClips.load(tmp_path)


def test_a_pack_cut_short_anywhere_is_refused(packed, tmp_path):
    path = tmp_path / "cut.safetensors"
    packed.save(path)
    whole = path.read_bytes()
    for size in [*range(0, len(whole), 97), len(whole) - 1]:
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"cut\.safetensors"):
            PackedClips.load(path)


def test_equal_content_is_equal_bytes(packed, tmp_path):
    texts = {"source": 'the "quoted" clips of Ödön\n\t\x7f\u2028', "layout": "{}", "class_names": "[]"}
    arrays = {"b": np.arange(5), "a": np.ones((2, 3), np.float32)}
    contents = set()
    for i in range(4):
        packed_file.write(tmp_path / f"{i}.safetensors", arrays, texts)
        contents.add((tmp_path / f"{i}.safetensors").read_bytes())
    assert len(contents) == 1
    read_arrays, read_texts = packed_file.read(tmp_path / "0.safetensors")
    assert read_texts.items() >= texts.items()
    assert all(np.array_equal(read_arrays[name], arrays[name]) for name in arrays)
    packed.save(tmp_path / "one")
    packed.save(tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def corrupted(packed, tmp_path, *, version="1", texts=None, drop=(), **changes):
    """The packed file of ``packed`` with some arrays changed, as its path."""
    path = tmp_path / "damaged.safetensors"
    packed.save(path)
    arrays, metadata = packed_file.read(path)
    arrays = {key: value for key, value in (arrays | changes).items() if key not in drop}
    arrays = {key: np.ascontiguousarray(value) for key, value in arrays.items()}
    from safetensors.numpy import save_file

    metadata = {k: v for k, v in (metadata | (texts or {})).items() if v is not None}
    save_file(arrays, path, metadata=metadata | {"version": version})
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": "2"}, "version '2'"),
        ({"drop": ["labels"]}, "labels"),
        ({"drop": ["names"]}, "names"),
        ({"drop": ["split/test"]}, "split/test"),
        ({"texts": {"splits": None}}, "splits"),
        ({"extra": np.zeros(3)}, "extra"),
        ({"labels": np.array([0, 3, 1])}, "'clip1' has label 3"),
        ({"labels": np.array([0, -1, 1])}, "'clip1' has label -1"),
        ({"labels": np.array([0, 1, 1], np.int32)}, "labels must be int64"),
        ({"labels": np.array([0, 1])}, r"labels must be int64 \[3\]"),
        ({"keypoints": np.zeros((32, 4, 2), np.float32)}, r"keypoints must be float32 \[32, 3, 2\]"),
        ({"scores": np.zeros((31, 3), np.float32)}, "scores"),
        ({"offsets": np.array([0, 10, 12, 32])}, "offsets"),
        ({"num_frames": np.array([5, 1, 0], np.int32)}, "at least 1"),
        ({"num_frames": np.array([5, 1, 8], np.int32)}, "offsets"),
        ({"num_persons": np.array([2, -1, 3], np.int32)}, "at least 1"),
        ({"image_sizes": np.zeros((3, 2), np.int32)}, "image_sizes"),
        ({"total_difference": np.array([0, np.nan, 1])}, "total_difference"),
        ({"name_hashes": np.zeros(3, np.uint64)}, "hash"),
        ({"name_offsets": np.array([0, 5, 10, 14])}, "name_offsets"),
        ({"names": np.full(15, 255, np.uint8)}, "damaged"),
        ({"names": np.frombuffer(b"clip1" * 3, np.uint8)}, "'clip1'"),
        ({"split/train": np.array([0, 3])}, r"'train' holds indices outside 0\.\.2"),
        ({"split/train": np.array([-1])}, "outside"),
        ({"split/train": np.array([1, 1])}, "twice"),
        ({"split/train": np.array([0.0])}, "int64"),
        ({"texts": {"layout": "{}"}}, "layout"),
        ({"texts": {"layout": "nonsense"}}, "damaged"),
        ({"texts": {"class_names": "[]"}}, "class_names"),
        ({"texts": {"class_names": None}}, "class_names"),
        ({"texts": {"class_names": '"abc"'}}, "class_names"),
        ({"texts": {"format": "other"}}, "not packed clips"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_damaged_packs_name_file_and_fault(packed, tmp_path, change, message):
    path = corrupted(packed, tmp_path, **change)
    with pytest.raises(ValueError, match=message) as caught:
        PackedClips.load(path)
    assert str(path) in str(caught.value)


def test_offsets_that_wrap_around_are_refused():
    """Sixteen clips of 2^60 rows are 2^64, which int64 takes for none: all the sums are right but for that."""
    clips = [{"keypoints": np.full((1, 8, 17, 2), 5.0), "label": 0, "image_size": (9, 9)} for _ in range(17)]
    packed = PackedClips.from_clips(clips, layout="coco17")
    persons = np.array([2**30] * 16 + [1], np.int32)
    frames = np.array([2**30] * 16 + [len(packed.keypoints)], np.int32)
    offsets = row_offsets(persons, frames)
    assert offsets[-1] == len(packed.keypoints)
    with pytest.raises(ValueError, match="offsets do not follow"):
        replace(packed, num_persons=persons, num_frames=frames, offsets=offsets)


def test_header_that_promises_much_is_refused(tmp_path):
    path = tmp_path / "promise.safetensors"
    header = json.dumps(
        {"keypoints": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}
    ).encode()
    for size in (len(header), 2**62):
        path.write_bytes(struct.pack("<Q", size) + header)
        with pytest.raises(ValueError, match="promise"):
            PackedClips.load(path)


def test_a_full_disk_leaves_the_target_as_it_was(packed, tmp_path, monkeypatch):
    import safetensors.numpy

    path = tmp_path / "clips.safetensors"
    path.write_text("before")

    def full(arrays, partial, metadata):
        partial.write_bytes(b"half of it")
        raise safetensors.SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(safetensors.numpy, "save_file", full)
    with pytest.raises(OSError, match=r"No space left.*clips\.safetensors") as caught:
        packed.save(path)
    assert caught.value.errno == errno.ENOSPC
    assert path.read_text() == "before"
    assert [file.name for file in tmp_path.iterdir()] == ["clips.safetensors"]


def test_targets_that_cannot_be_written(packed, tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"):
        packed.save(tmp_path / "absent" / "clips.safetensors")
    with pytest.raises(IsADirectoryError):
        packed.save(tmp_path)
    os.mkfifo(tmp_path / "pipe")  # as root a device would be replaced by the file
    with pytest.raises(OSError, match="ordinary file"):
        packed.save(tmp_path / "pipe")
    assert (tmp_path / "pipe").is_fifo()
