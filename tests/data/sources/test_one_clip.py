"""One clip of a file: the first, or the one that is named, with what stands beside it."""

from dataclasses import replace

import numpy as np
import pytest
from support.clips import waving_clips

from fastpose.data.sources.found_files import ReadOptions
from fastpose.data.sources.one_clip import find_clip


@pytest.fixture
def packed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    clips = waving_clips()
    clips.save("clips.safetensors")
    return clips


def test_the_first_clip_or_the_one_that_is_named(packed):
    first = find_clip("clips.safetensors", ReadOptions())
    assert (first.packed.names, first.num_others, first.file) == (["clip000"], 23, "clips.safetensors")
    assert first.notes() == ["there are 23 other clips; --clip NAME chooses one"]
    named = find_clip("clips.safetensors", ReadOptions(), "clip007")
    assert named.packed.names == ["clip007"]
    assert np.array_equal(named.packed.keypoints, packed.clip(7).keypoints[0])
    tested = find_clip("clips.safetensors", ReadOptions(split="test"))
    assert (tested.packed.names, tested.num_others) == (["clip016"], 7)


def test_an_unknown_name_is_told_with_those_near_it(packed):
    with pytest.raises(ValueError, match="no clip 'clip01x'; did you mean 'clip01.' or 'clip01.' or"):
        find_clip("clips.safetensors", ReadOptions(), "clip01x")
    with pytest.raises(ValueError, match="no clip 'wave' among 24: 'clip000', .*'clip004', …$"):
        find_clip("clips.safetensors", ReadOptions(), "wave")


def test_files_without_a_clip_say_why(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.json").write_text("{")
    for source, reason in (
        ("bad.json", "bad.json: not a JSON file"),
        ("none.npz", "none.npz: no such file"),
        ("*.pkl", r"\*.pkl: no file matches"),
        ("a.mov", "a.mov: no such"),
    ):
        with pytest.raises(ValueError, match=reason):
            find_clip(source, ReadOptions())


def test_notes_of_a_folder_and_of_a_clip_that_looks_wrong(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for i in range(7):
        (tmp_path / f"bad{i}.json").write_text("{")
    clips = waving_clips().subset([0])
    replace(clips, keypoints=clips.keypoints / 1000).save("small.safetensors")
    notes = find_clip(".", ReadOptions()).notes()
    assert notes[0].startswith("'clip000': the keypoints look normalised")
    assert [note.partition(": ")[0] for note in notes[1:]] == ["not read"] * 6
    assert notes[-1] == "not read: 2 more"
