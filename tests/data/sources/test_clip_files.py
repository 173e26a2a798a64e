import json
import os
import pickle

import numpy as np
import pytest
from support.packing import annotation, skeleton_text, three_clips, write_npz, write_skeletons
from support.prediction import moving_clip

from fastpose.data import get_layout
from fastpose.data.sources.clip_files import ClipGroup, find_files, read_clips
from fastpose.data.sources.found_files import Problem, ReadOptions

COCO = get_layout("coco17")
SIZE = (480, 640)


def read(*sources, **options):
    """Clips by (file, name), and problems as texts."""
    paths, problems = find_files(sources)
    clips = {}
    for item in read_clips(paths, ReadOptions(**options)):
        if isinstance(item, Problem):
            problems.append(item)
            continue
        assert isinstance(item, ClipGroup)
        assert len(item.files) == len(item.packed)
        for i, file in enumerate(item.files):
            clips[file, item.packed.names[i]] = (item.packed.clip(i), item.packed.layout.name)
    return clips, list(map(str, problems))


def test_one_clip_in_every_form(tmp_path):
    keypoints = moving_clip(persons=2).round(2)
    scores = np.random.default_rng(0).uniform(0.1, 1, keypoints.shape[:3]).round(3).astype(np.float32)
    np.savez(tmp_path / "a.npz", keypoints=keypoints, scores=scores, image_size=SIZE)
    fields = {"keypoints": keypoints.tolist(), "scores": scores.tolist(), "image_size": SIZE}
    (tmp_path / "b.json").write_text(json.dumps(fields))
    joined = np.concatenate([keypoints, scores[..., None]], -1)
    (tmp_path / "c.json").write_text(json.dumps(joined.tolist()))
    listed = [{**fields, "name": "first", "layout": "coco17"}, {"keypoints": joined.tolist()}]
    (tmp_path / "d.json").write_text(json.dumps(listed))
    pickled = annotation(keypoint=keypoints, keypoint_score=scores, total_frames=20)
    del pickled["label"]
    (tmp_path / "e.pkl").write_bytes(pickle.dumps({"annotations": [pickled], "split": {}}))

    clips, problems = read(tmp_path, layout=COCO, image_size=SIZE)
    assert problems == []
    names = [(file[len(str(tmp_path)) + 1 :], name) for file, name in clips]
    assert names == [
        ("a.npz", "a"), ("b.json", "b"), ("c.json", "c"), ("d.json", "first"), ("d.json", "d[1]"), ("e.pkl", "a"),
    ]  # fmt: skip
    for clip, layout in clips.values():
        assert layout == "coco17"
        assert np.array_equal(clip.keypoints, keypoints)
        assert np.array_equal(clip.scores, scores)
        assert clip.image_size == SIZE


def test_skeleton_files_and_packed_files(tmp_path):
    write_skeletons(tmp_path / "x", "one", "two")
    write_skeletons(tmp_path / "y", "one")
    packed = three_clips()
    packed.save(tmp_path / "pack.safetensors")
    clips, problems = read(tmp_path / "x", tmp_path / "y/*.skel*", tmp_path / "pack.safetensors")
    assert problems == []
    x, y = str(tmp_path / "x/one.skeleton"), str(tmp_path / "y/one.skeleton")
    assert list(clips)[:3] == [(x, x), (str(tmp_path / "x/two.skeleton"), "two"), (y, y)]
    assert [name for _, name in list(clips)[3:]] == packed.names
    assert clips[x, x][1] == "kinect25"
    expected = np.random.default_rng(0).uniform(100, 900, (3, 25, 2)).round(3)
    assert np.allclose(clips[x, x][0].keypoints[0], expected)
    assert clips[x, x][0].image_size == (1080, 1920)
    for i, name in enumerate(packed.names):
        clip, layout = clips[str(tmp_path / "pack.safetensors"), name]
        assert layout == "triangle"
        assert np.array_equal(clip.keypoints, packed.clip(i).keypoints)


def test_splits(tmp_path):
    three_clips().save(tmp_path / "a.safetensors")
    content = {"annotations": [annotation("a"), annotation("b")], "split": {"train": ["b"]}}
    (tmp_path / "b.pkl").write_bytes(pickle.dumps(content))
    clips, problems = read(tmp_path, split="train")
    assert sorted(name for _, name in clips) == ["b", "clip0", "clip2"]
    assert problems == []
    _, problems = read(tmp_path, split="test")
    assert problems == [f"{tmp_path / 'b.pkl'}: no split 'test'; there are: train"]


def test_many_clips_come_in_groups_and_in_order(tmp_path, monkeypatch):
    monkeypatch.setattr("fastpose.data.sources.clip_files.CLIPS_PER_GROUP", 2)
    monkeypatch.setattr("fastpose.data.sources.clip_files.FILES_PER_CALL", 2)
    write_skeletons(tmp_path, *(f"s{i}" for i in range(5)))
    for i in range(3):
        write_npz(tmp_path, f"n{i}", joints=17, label=None)
    same = [{"keypoints": moving_clip().tolist(), "name": "same", "image_size": SIZE}] * 2
    (tmp_path / "twice.json").write_text(json.dumps(same))
    (tmp_path / "p.pkl").write_bytes(pickle.dumps([annotation(str(i)) for i in range(3)]))
    paths, _ = find_files([tmp_path])
    groups = list(read_clips(paths, ReadOptions(layout=COCO)))
    assert [len(group.packed) for group in groups] == [2, 1, 2, 1, 2, 2, 1, 1, 1]
    assert [name for group in groups for name in group.packed.names] == [
        *("n0", "n1", "n2"), *("0", "1", "2"), *("s0", "s1", "s2", "s3", "s4"), "same", "same",
    ]  # fmt: skip


def test_problems_are_told_by_file_and_the_rest_is_read(tmp_path):
    text = skeleton_text(np.full((3, 25, 2), 500.0))
    contents = {
        "cut.skeleton": text[: len(text) // 2],
        "nobody.skeleton": "2\n0\n0\n",
        "good.skeleton": text,
        "text.npz": "no archive",
        "text.pkl": "no pickle",
        "text.json": "{",
        "deep.json": "[" * 100_000,
        "number.json": "3",
        "none.json": "[]",
        "other.json": '{"clips": []}',
        "typo.json": json.dumps({"keypoints": [[[1, 2]]], "score": [[1]]}),
        "size.json": json.dumps([[[[1, 2]] * 17]]),
        "width.json": json.dumps({"keypoints": [[[[1, 2]] * 13]], "image_size": SIZE}),
        "layout.json": json.dumps({"keypoints": [[[[1, 2]] * 13]], "image_size": SIZE, "layout": "mpii"}),
        "text.safetensors": "no pack",
        "what.txt": "",
    }
    for name, content in contents.items():
        (tmp_path / name).write_text(content)
    solid = annotation(keypoint=np.full((1, 4, 25, 3), 3.0), keypoint_score=None)
    (tmp_path / "3d.pkl").write_bytes(pickle.dumps([solid]))
    mixed = [annotation("a"), annotation("b", img_shape=None, original_shape=None)]
    (tmp_path / "mixed.pkl").write_bytes(pickle.dumps(mixed))
    os.mkfifo(tmp_path / "pipe.npz")
    sources = [tmp_path / name for name in contents] + [tmp_path / "3d.pkl", tmp_path / "mixed.pkl"]
    more = [tmp_path / "absent.json", tmp_path / "no*.pickle", tmp_path / "pipe.npz"]
    clips, problems = read(*sources, *more, layout=COCO)
    assert [name for _, name in clips] == ["good", "a"]
    expected = {
        "cut.skeleton": "line 30, column 1",
        "nobody.skeleton": "no body in any of its 2 frames",
        "text.npz": "not a readable .npz",
        "text.pkl": "damaged pickle",
        "text.json": "not a JSON file",
        "deep.json": "not a JSON file",
        "number.json": "got int",
        "none.json": "holds no clip",
        "other.json": "expected an object with keypoints",
        "typo.json": "'score' is unknown: is it 'scores'?",
        "size.json": "no image_size in it; give --image-size H W",
        "width.json": r"[M, T, 17, 2] for layout 'coco17', got [1, 1, 13, 2]",
        "layout.json": "layout 'mpii' is none of coco17, coco_wholebody133",
        "text.safetensors": "not a whole packed file",
        "what.txt": "no such kind of file; expected one of .skeleton",
        "3d.pkl": "[M, T, 17, 2] for layout 'coco17', got [1, 4, 25, 3]; of a data set in 3D",
        "mixed.pkl": "clip 'b': neither img_shape nor original_shape",
        "absent.json": "no such file",
        "no*.pickle": "no file matches",
        "pipe.npz": "not an ordinary file",
    }
    assert len(problems) == len(expected)
    for name, message in expected.items():
        (problem,) = [text for text in problems if text.startswith(f"{tmp_path / name}: ")]
        assert message in problem
        assert problem.count(str(tmp_path)) == 1


def test_what_joints_are_must_be_said(tmp_path):
    write_npz(tmp_path, "a", joints=17, label=None)
    _, (problem,) = read(tmp_path)
    assert "give --layout" in problem
    write_npz(tmp_path, "a", joints=17, label=None, layout="h36m17")
    clips, _ = read(tmp_path, layout=COCO)
    assert [layout for _, layout in clips.values()] == ["h36m17"]


@pytest.mark.parametrize("source", ["", "empty"])
def test_a_folder_without_files_is_a_problem(tmp_path, source):
    (tmp_path / "empty").mkdir()
    paths, (problem,) = find_files([tmp_path / source])
    assert paths == []
    assert "holds no file to read" in str(problem)


def test_a_file_is_read_once(tmp_path):
    write_skeletons(tmp_path, "a")
    file = tmp_path / "a.skeleton"
    paths, problems = find_files([file, tmp_path, str(tmp_path / "*")])
    assert (paths, problems) == ([file], [])


def test_names_that_are_no_text(tmp_path):
    folder = os.fsencode(tmp_path)
    text = skeleton_text(np.full((3, 25, 2), 500.0))
    try:
        with open(folder + b"/a\xff.skeleton", "w") as file:
            file.write(text)
    except OSError:
        pytest.skip("this system takes only UTF-8 as file names: set TMPDIR to a folder of another")
    clips, problems = read(tmp_path)
    assert [name for _, name in clips] == ["a\\xff"]
    assert problems == []
