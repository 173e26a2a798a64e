import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from support.packing import TRIANGLE, make_clip, pack, three_clips
from support.shared import shared_folder

from fastpose.data.pack.clip_builder import name_hash
from fastpose.data.pack.clip_check import check_clip
from fastpose.data.pack.layouts import H36M17, Layout
from fastpose.data.pack.packed import PackedClips, PoseClip
from fastpose.settings.keypoints import KeypointOptions


@pytest.fixture
def packed():
    return three_clips()


def assert_equal_packs(left, right):
    for field in PackedClips.__slots__:
        if field in ("path", "splits"):
            continue
        a, b = getattr(left, field), getattr(right, field)
        if isinstance(a, np.ndarray):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)
        else:
            assert a == b
    assert list(left.splits) == list(right.splits)
    for name in left.splits:
        np.testing.assert_array_equal(left.splits[name], right.splits[name])


def test_clips_come_out_as_they_went_in(packed):
    assert (packed.num_clips, packed.num_classes, packed.max_persons) == (3, 3, 3)
    for index, given_clip in enumerate([make_clip(0, frames=5), make_clip(1, persons=1, frames=1)]):
        clip = packed.clip(index)
        np.testing.assert_array_equal(clip.keypoints, given_clip["keypoints"])
        np.testing.assert_array_equal(clip.scores, given_clip["scores"])
    assert packed.clip(2).name == "clip2"
    assert packed.clip(2).label == 1
    assert packed.clip(2).image_size == (1080, 1920)
    np.testing.assert_array_equal(packed.offsets, [0, 10, 11, 32])
    np.testing.assert_array_equal(packed.splits["train"], [2, 0])
    with pytest.raises(IndexError, match=r"0\.\.2"):
        packed.clip(3)
    with pytest.raises(IndexError):
        packed.clip(-1)


def test_name_hash_is_fixed():
    # the random numbers of every pack hang on it
    assert name_hash("") == int.from_bytes(bytes.fromhex("e4a6a0577479b2b4"), "little")
    assert name_hash("S001C002P003R002A013") == 1954138239445668758


def test_total_difference_is_that_of_the_noise_oracle():
    oracle = np.load(shared_folder() / "oracles/noise.npz")
    names = ("clip", "middle", "still")
    clips = []
    for name in names:
        keypoints = oracle[f"{name}/keypoints"][:1]  # with the second person, who swap, they would be matched
        clips.append({"name": name, "keypoints": keypoints, "label": 0, "image_size": (1080, 1920)})
    v = clips[0]["keypoints"].shape[2]
    layout = Layout("any", tuple(f"joint {i}" for i in range(v)), (), ())
    packed = PackedClips.from_clips(clips, layout=layout)
    expected = [float(oracle[f"{name}/total_difference"]) for name in names]
    np.testing.assert_allclose(packed.total_difference, expected, rtol=1e-5, atol=1e-6)


def test_total_difference_counts_the_first_person_and_present_joints():
    keypoints = np.full((2, 3, 3, 2), 100, np.float32)
    keypoints[0, :, 0, 0] += [0, 3, 3]
    keypoints[0, :, 0, 1] += [0, 4, 4]
    keypoints[0, :, 1, 0] += [10, 20, 30]
    keypoints[1, :, 2, 0] = [0, 1000, 0]
    scores = np.ones((2, 3, 3), np.float32)
    scores[0, 2, 1] = 0
    assert pack(make_clip(keypoints=keypoints, scores=scores)).total_difference.tolist() == [5 + 10]


@given(
    keypoints=hnp.arrays(np.float32, (2, 3, 3, 2), elements=st.floats(width=32)),
    scores=st.none() | hnp.arrays(np.float32, (2, 3, 3), elements=st.floats(width=32)),
)
def test_nothing_but_finite_numbers_gets_into_a_pack(keypoints, scores):
    keypoints[:, [0, -1], 0] = [[20, 30], [40, 50]]  # in pixels, and nothing is left out as empty
    if scores is not None:
        scores[:, [0, -1], 0] = 1
    clip = pack(make_clip(keypoints=keypoints, scores=scores)).clip(0)
    assert np.isfinite(clip.keypoints).all()
    assert np.isfinite(clip.scores).all()
    assert (clip.scores >= 0).all()
    finite = np.isfinite(keypoints).all(-1)
    marked = (keypoints == 0).all(-1) | (keypoints == -1).all(-1)
    present = ~marked if scores is None else ~marked & np.isfinite(scores) & (scores > 0)
    np.testing.assert_array_equal(clip.scores > 0, finite & present)
    np.testing.assert_array_equal(clip.keypoints[finite], keypoints[finite])
    np.testing.assert_array_equal(
        clip.scores[finite & present], 1 if scores is None else scores[finite & present]
    )


def test_numbers_too_large_for_float32_are_missing():
    keypoints = np.full((1, 2, 3, 2), 7.0)
    keypoints[0, 0, 0, 0] = 1e300
    clip = pack(make_clip(keypoints=keypoints, scores=None)).clip(0)
    assert clip.scores[0].tolist() == [[0, 1, 1], [1, 1, 1]]
    assert clip.keypoints[0, 0, 0].tolist() == [0, 0]


@pytest.mark.parametrize("nothing", [np.nan, 0, -1])
def test_a_clip_without_joints_is_no_clip(nothing):
    with pytest.raises(ValueError, match="'clip0': no joint is present in any frame"):
        pack(make_clip(0, keypoints=np.full((2, 4, 3, 2), nothing)))


@pytest.mark.parametrize("nothing", [np.nan, 0, -1])
def test_empty_persons_and_frames_at_the_ends_are_left_out(nothing):
    keypoints = make_clip(0, persons=3, frames=6)["keypoints"]
    keypoints[1] = nothing
    keypoints[:, [0, 3, 5]] = nothing
    packed = pack(make_clip(0, keypoints=keypoints, scores=None))
    assert (packed.num_persons.tolist(), packed.num_frames.tolist()) == ([2], [4])
    clip = packed.clip(0)
    np.testing.assert_array_equal(clip.keypoints[:, [0, 1, 3]], keypoints[[0, 2]][:, [1, 2, 4]])
    assert not clip.scores[:, 2].any()


def test_joints_below_the_least_score_are_missing():
    scores = np.array([[[0.3, 0.1, 0.9]], [[0.1, 0.2, 0.05]]])
    clip = make_clip(0, frames=1, scores=scores)
    packed = pack(clip, keypoints=KeypointOptions(min_score=0.3))
    np.testing.assert_array_equal(packed.scores, np.array([[0.3, 0, 0.9]], np.float32))


def test_other_dtypes_objects_and_default_names():
    whole = make_clip(0)
    half = whole | {"name": None, "keypoints": whole["keypoints"].astype(np.float16), "label": np.int64(1)}
    listed = {key: value for key, value in whole.items() if key != "name"}
    listed |= {"keypoints": whole["keypoints"].tolist(), "image_size": np.array([480, 640])}
    visible = PoseClip("seen", np.full((1, 2, 3, 2), 7), np.ones((1, 2, 3), bool), np.array([1]), (9, 9))
    packed = pack(half, listed, visible)
    assert packed.names == ["clip_000000", "clip_000001", "seen"]
    assert packed.class_names == ("class_0", "class_1")
    np.testing.assert_array_equal(packed.clip(1).keypoints, whole["keypoints"])
    np.testing.assert_array_equal(packed.clip(0).keypoints, half["keypoints"].astype(np.float32))
    assert (packed.clip(2).scores == 1).all()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"keypoints": np.zeros((1, 2, 4, 2))}, r"\[M, T, 3, 2\] for layout 'triangle', got \[1, 2, 4, 2\]"),
        ({"keypoints": np.zeros((3, 2))}, r"got \[3, 2\]"),
        ({"keypoints": np.full((1, 2, 3, 3), 9), "scores": None}, "pixels x, y alone"),
        ({"keypoints": np.zeros((1, 0, 3, 2))}, "no frame"),
        ({"keypoints": np.zeros((0, 4, 3, 2))}, "no person"),
        ({"keypoints": [np.zeros((4, 3, 2)), np.zeros((3, 3, 2))]}, "ragged"),
        ({"keypoints": "text"}, "numbers"),
        ({"keypoints": np.zeros((1, 2, 3, 2), complex)}, "real numbers"),
        ({"keypoints": None}, "keypoints is missing"),
        ({"scores": np.zeros((2, 4, 2))}, r"\[2, 4, 3\]"),
        ({"label": -1}, "label"),
        ({"label": 1.5}, "label"),
        ({"label": True}, "label"),
        ({"label": "walk"}, "label"),
        ({"label": None}, "label is missing"),
        ({"image_size": (0, 640)}, "positive"),
        ({"image_size": (480,)}, "two integers"),
        ({"image_size": 480}, "two integers"),
        ({"image_size": (480.5, 640)}, "two integers"),
        ({"image_size": (2**40, 640)}, "positive"),
        ({"split": 3}, "split"),
        ({"keypoint": 1}, "unknown fields.*keypoint"),
    ],
)
def test_bad_clips_are_named(fields, message):
    with pytest.raises(ValueError, match=message) as caught:
        pack(make_clip(7), make_clip(8, **fields))
    assert "'clip8'" in str(caught.value)


def test_clips_that_do_not_fit_together():
    with pytest.raises(ValueError, match="no clip"):
        pack()
    with pytest.raises(ValueError, match=r"'clip1'.*unique"):
        pack(make_clip(1), make_clip(2), make_clip(1))
    with pytest.raises(ValueError, match="'clip1' has label 5, but there are 3 classes"):
        pack(make_clip(0), make_clip(1, label=5), class_names=3)
    with pytest.raises(ValueError, match="distinct"):
        pack(make_clip(), class_names=["a", "a"])
    with pytest.raises(ValueError, match="at least 1"):
        pack(make_clip(), class_names=0)
    with pytest.raises(ValueError, match="PoseClip or a dict"):
        pack(3)
    with pytest.raises(ValueError, match=r"clip_000000.*name"):
        pack(make_clip(name=3))


def test_splits_by_clips_by_name_and_by_index():
    packed = pack(make_clip(0, split="train"), make_clip(1), make_clip(2, split="train"), splits={"none": []})
    np.testing.assert_array_equal(packed.split("train"), [0, 2])
    with pytest.raises(ValueError, match=r"'none' .*empty"):
        packed.split("none")
    with pytest.raises(ValueError, match=r"no split 'test'.*train, none"):
        packed.split("test")
    for splits, message in [
        ({"a": ["clip9"]}, "'a' names clip 'clip9'"),
        ({"a": [1]}, "holds clip 1, but there are 1"),
        ({"a": [-1]}, "holds clip -1"),
        ({"a": [0, "clip0"]}, "'clip0' twice"),
        ({"a": [0.5]}, "names or indices"),
        ({"": [0]}, "split's name"),
        ({"a": "clip0"}, "'a' must be a list of clip names or indices, got 'clip0'"),
    ]:
        with pytest.raises(ValueError, match=message):
            pack(make_clip(0), splits=splits)
    with pytest.raises(ValueError, match="both by the clips"):
        pack(make_clip(0, split="a"), splits={"a": [0]})


def test_save_and_load_are_inverse_and_the_arrays_are_read_only(packed, tmp_path):
    path = tmp_path / "clips.safetensors"
    packed.save(path)
    loaded = PackedClips.load(path)
    assert_equal_packs(packed, loaded)
    assert [file.name for file in tmp_path.iterdir()] == ["clips.safetensors"]
    with pytest.raises(ValueError, match="read-only"):
        loaded.keypoints[0] = 1
    assert "3 clips" in repr(loaded)


def test_loading_maps_the_file_and_reads_none_of_its_keypoints(tmp_path):
    frames = 200_000
    big = pack(make_clip(keypoints=np.full((1, frames, 3, 2), 50, np.float32), scores=None))
    path = tmp_path / "big.safetensors"
    big.save(path)
    loaded = PackedClips.load(path)
    with open("/proc/self/maps") as maps:
        ranges = [line.split("-")[:2] for line in maps if line.rstrip().endswith(str(path))]
    address = loaded.keypoints.ctypes.data
    assert any(int(start, 16) <= address < int(rest.split()[0], 16) for start, rest in ranges)


def test_a_loaded_pack_is_pickled_as_its_path(packed, tmp_path):
    path = tmp_path / "clips.safetensors"
    packed.save(path)
    loaded = PackedClips.load(path)
    assert len(pickle.dumps(loaded)) < 1000
    assert_equal_packs(pickle.loads(pickle.dumps(loaded)), packed)
    assert_equal_packs(pickle.loads(pickle.dumps(packed)), packed)
    assert pickle.loads(pickle.dumps(loaded.subset([1]))).names == ["clip1"]


def test_subset_keeps_clips_classes_and_splits(packed):
    part = packed.subset([2, 0])
    assert part.names == ["clip2", "clip0"]
    assert part.class_names == packed.class_names
    np.testing.assert_array_equal(part.clip(0).keypoints, packed.clip(2).keypoints)
    np.testing.assert_array_equal(part.split("train"), [0, 1])
    assert part.splits["test"].size == 0
    np.testing.assert_array_equal(part.name_hashes, packed.name_hashes[[2, 0]])
    for indices, message in [([], "one or more"), ([3], r"0\.\.2"), ([-1], r"0\.\.2"), ([0, 0], "unique")]:
        with pytest.raises(ValueError, match=message):
            packed.subset(indices)


def test_convert_layout_recomputes_the_difference():
    rng = np.random.default_rng(0)
    clip = make_clip(keypoints=rng.uniform(0, 99, (1, 6, 25, 2)), scores=None)
    kinect = PackedClips.from_clips([clip], layout="kinect25")
    h36m = kinect.convert_layout("h36m17")
    assert h36m.layout == H36M17
    steps = np.diff(h36m.clip(0).keypoints[0].astype(np.float64), axis=0)
    np.testing.assert_allclose(h36m.total_difference, [np.hypot(steps[..., 0], steps[..., 1]).sum()])
    assert kinect.convert_layout("kinect25") is kinect
    with pytest.raises(ValueError, match=r"kinect25.*triangle"):
        kinect.convert_layout(Layout("triangle", ("a", "b", "c")))


def test_convert_layout_exchanges_kinects_sides():
    keypoints = np.random.default_rng(0).uniform(1, 99, (1, 6, 25, 2))
    kinect = PackedClips.from_clips([make_clip(keypoints=keypoints, scores=None)], layout="kinect25")
    exchanged, kept = kinect.convert_layout("coco17"), kinect.convert_layout("coco17", exchange_sides=False)
    hips = slice(11, 13)
    np.testing.assert_array_equal(
        kept.clip(0).keypoints[:, :, hips], kinect.clip(0).keypoints[:, :, [12, 16]]
    )
    np.testing.assert_array_equal(
        exchanged.clip(0).keypoints[:, :, hips], kinect.clip(0).keypoints[:, :, [16, 12]]
    )


@pytest.mark.parametrize(("factor", "told"), [(1, False), (3, False), (100, True)])
def test_scores_in_percent_are_told(factor, told):
    clip = make_clip(0, scores=np.full((2, 4, 3), 0.87 * factor))
    notes = check_clip(clip, TRIANGLE, "a").notes
    assert any("as percents are" in note for note in notes) == told
