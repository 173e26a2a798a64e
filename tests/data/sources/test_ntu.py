import numpy as np
import pytest
from support.packing import skeleton_text, write_skeletons
from support.shared import shared_folder

from fastpose.data.pack.layouts import COCO17, H36M17, KINECT25, Layout, convert, tell_conversion
from fastpose.data.sources import ntu, ntu_names
from fastpose.data.sources.ntu import pack_ntu
from fastpose.data.sources.ntu_names import XSUB60_TRAIN, XSUB120_TRAIN, NtuName, benchmark_splits, parse_name


def test_names():
    name = parse_name("S032C003P106R002A120")
    assert name == NtuName(setup=32, camera=3, performer=106, replication=2, action=120)
    assert name.label == 119
    assert name.name == "S032C003P106R002A120"
    assert parse_name("S001C001P001R001A001").label == 0


@pytest.mark.parametrize(
    "name",
    [
        "", "S001", "S000C001P001R001A001", "S033C001P001R001A001", "S001C004P001R001A001",
        "S001C001P107R001A001",
        "S001C001P001R003A001", "S001C001P001R001A121", "S001C001P001R001A000", "S001C001P001R001A001x",
        "s001c001p001r001a001", "S001C001P001R001A001\n", "S00１C001P001R001A001", "S1C1P1R1A1",
    ],
)  # fmt: skip
def test_names_of_others(name):
    with pytest.raises(ValueError, match="no NTU RGB"):
        parse_name(name)


def test_class_names_are_those_of_the_data_set():
    names = ntu_names.class_names()
    assert len(names) == len(set(names)) == 120
    assert len(ntu_names.class_names(60)) == 60
    known = {1: "drink water", 27: "jump up", 43: "falling", 50: "punching/slapping other person",
             58: "handshaking", 60: "walking apart from each other", 61: "put on headphone", 80: "squat down",
             103: "yawn", 112: "high-five",
             120: "finger-guessing game (playing rock-paper-scissors)"}  # fmt: skip
    assert {action: names[action - 1] for action in known} == known


def test_missing_list_is_the_published_one():
    listed = ntu_names.missing_skeletons()
    assert len(listed) == len(set(listed)) == 535
    parsed = [parse_name(name) for name in listed]
    assert all(name.action <= 60 for name in parsed[:302])
    assert all(name.action > 60 for name in parsed[302:])
    assert listed == tuple((shared_folder() / "ntu_missing_120.txt").read_text().split())


def test_missing_samples_split_as_the_published_counts_say():
    # recorded clips less those that remain
    sixty = [parse_name(name) for name in ntu_names.missing_skeletons()[:302]]
    sizes = {split: len(members) for split, members in benchmark_splits(sixty).items()}
    assert sizes == {
        "xsub_train": 40320 - 40091,
        "xsub_val": 16560 - 16487,
        "xview_train": 37920 - 37646,
        "xview_val": 18960 - 18932,
    }


def test_splits_of_60_by_performer_and_camera():
    names = [NtuName(1, camera, performer, 1, 60) for camera in (1, 2, 3) for performer in range(1, 41)]
    splits = benchmark_splits(names)
    assert list(splits) == ["xsub_train", "xsub_val", "xview_train", "xview_val"]
    assert {names[i].performer for i in splits["xsub_train"]} == XSUB60_TRAIN
    assert len(splits["xsub_train"]) == len(splits["xsub_val"]) == 60
    assert {names[i].camera for i in splits["xview_val"]} == {1}
    assert len(splits["xview_train"]) == 80
    assert sum(len(members) for members in splits.values()) == 2 * len(names)


def test_splits_of_120_by_performer_and_setup():
    names = [NtuName(setup, 1, performer, 1, 120) for setup in range(1, 33) for performer in range(1, 107)]
    splits = benchmark_splits(names)
    assert list(splits) == ["xsub_train", "xsub_val", "xset_train", "xset_val"]
    assert {names[i].performer for i in splits["xsub_train"]} == XSUB120_TRAIN
    assert {names[i].setup for i in splits["xset_train"]} == set(range(2, 33, 2))
    assert splits["xsub_val"].dtype == np.int64


def test_training_performers():
    assert len(XSUB60_TRAIN) == 20
    assert len(XSUB120_TRAIN) == 53
    assert {p for p in XSUB120_TRAIN if p <= 40} == XSUB60_TRAIN


NAMES = ["S001C001P001R001A001", "S001C002P003R002A060", "S002C003P002R001A013"]


def test_a_folder_is_packed_in_the_order_of_names(tmp_path):
    write_skeletons(tmp_path / "b", *NAMES[:2])
    write_skeletons(tmp_path / "a", NAMES[2], frames=5)
    packed, log = pack_ntu(tmp_path)
    assert packed.names == sorted(NAMES)
    assert packed.labels.tolist() == [0, 59, 12]
    assert packed.num_frames.tolist() == [3, 3, 5]
    assert packed.class_names == ntu_names.class_names(60)
    assert packed.layout == KINECT25
    assert (packed.image_sizes == [1080, 1920]).all()
    assert {name: members.tolist() for name, members in packed.splits.items()} == {
        "xsub_train": [0, 2], "xsub_val": [1], "xview_train": [1, 2], "xview_val": [0],
    }  # fmt: skip
    assert log.num_skipped == 0


def test_coordinates_and_scores_are_those_of_the_file(tmp_path):
    color = np.random.default_rng(0).uniform(-50, 2000, (4, 25, 2)).round(3)
    state = np.random.default_rng(1).integers(0, 3, (4, 25))
    path = tmp_path / f"{NAMES[0]}.skeleton"
    path.write_text(skeleton_text(color, state=state))
    packed, _ = pack_ntu(path)
    clip = packed.clip(0)
    np.testing.assert_array_equal(clip.keypoints, color[None].astype(np.float32))
    np.testing.assert_array_equal(clip.scores, state[None] / 2)
    steps = np.diff(clip.keypoints[0].astype(np.float64), axis=0)
    both = (state[1:] > 0) & (state[:-1] > 0)
    expected = (np.hypot(steps[..., 0], steps[..., 1]) * both).sum()
    np.testing.assert_allclose(packed.total_difference, [expected])


def test_a_joint_that_is_not_finite_is_lost_and_counted(tmp_path):
    color = np.full((2, 25, 2), 100.0)
    color[1, 4, 0] = np.nan
    color[0, 3, 1] = np.inf
    (tmp_path / f"{NAMES[0]}.skeleton").write_text(skeleton_text(color))
    packed, log = pack_ntu(tmp_path)
    assert log.lost_joints == 2
    assert np.isfinite(packed.keypoints).all()
    assert np.argwhere(packed.scores == 0).tolist() == [[0, 3], [1, 4]]


def test_layout_is_converted(tmp_path):
    write_skeletons(tmp_path, *NAMES)
    native, _ = pack_ntu(tmp_path)
    coco, _ = pack_ntu(tmp_path, layout="coco17")
    keypoints, scores = convert(native.keypoints, native.scores, KINECT25, COCO17)
    np.testing.assert_array_equal(coco.keypoints, keypoints)
    np.testing.assert_array_equal(coco.scores, scores)
    assert coco.layout == COCO17
    np.testing.assert_allclose(coco.total_difference, native.convert_layout("coco17").total_difference)
    with pytest.raises(ValueError, match=r"kinect25.*triangle"):
        pack_ntu(tmp_path, layout=Layout("triangle", ("a", "b", "c")))


def test_sides_are_exchanged_for_estimators_joints_and_told(tmp_path):
    write_skeletons(tmp_path, *NAMES)
    native, log = pack_ntu(tmp_path)
    assert log.notes == []
    exchanged, log = pack_ntu(tmp_path, layout="h36m17")
    assert log.notes == tell_conversion(KINECT25, H36M17)
    kept, log = pack_ntu(tmp_path, layout="h36m17", exchange_sides=False)
    assert log.notes == tell_conversion(KINECT25, H36M17, exchange_sides=False)
    hips = [4, 1]  # left and right
    np.testing.assert_array_equal(kept.keypoints[:, hips], native.keypoints[:, [12, 16]])
    np.testing.assert_array_equal(exchanged.keypoints[:, hips], native.keypoints[:, [16, 12]])


def test_many_chunks_on_any_number_of_threads_give_the_same_pack(tmp_path, monkeypatch):
    names = [f"S001C001P001R001A{action:03}" for action in range(1, 22)]
    write_skeletons(tmp_path, *names)
    whole, _ = pack_ntu(tmp_path, threads=1)
    monkeypatch.setattr(ntu, "_FILES_PER_CALL", 4)
    chunks, _ = pack_ntu(tmp_path, threads=3)
    assert whole.names == chunks.names == names
    for field in (
        "keypoints",
        "scores",
        "offsets",
        "num_frames",
        "labels",
        "name_hashes",
        "total_difference",
    ):
        np.testing.assert_array_equal(getattr(whole, field), getattr(chunks, field))


@pytest.fixture
def mixed(tmp_path):
    """One good file among one of each kind that is skipped."""
    write_skeletons(tmp_path, NAMES[0], "walking", ntu_names.missing_skeletons()[0])
    write_skeletons(tmp_path / "again", NAMES[0])
    (tmp_path / f"{NAMES[1]}.skeleton").write_text("3\n1\nnonsense\n")
    (tmp_path / f"{NAMES[2]}.skeleton").write_text("2\n0\n0\n")
    return tmp_path


def test_skipped_files_are_counted_by_reason(mixed):
    packed, log = pack_ntu(mixed)
    assert packed.names == [NAMES[0]]
    assert {reason: [name for name, _ in items] for reason, items in log.skipped.items()} == {
        "no NTU RGB+D name": ["walking.skeleton"],
        "on the published list of missing skeletons": ["S001C002P005R002A008.skeleton"],
        "a file of this name was packed already": [f"{NAMES[0]}.skeleton"],
        "not decodable, or without any body": [f"{NAMES[1]}.skeleton", f"{NAMES[2]}.skeleton"],
    }
    text = "\n".join(log.skip_lines())
    assert f"{NAMES[1]}.skeleton: line 2, column 1: " in text
    assert f"{NAMES[2]}.skeleton: no body" in text


@pytest.mark.parametrize("bad", ["walking", "again", NAMES[1], NAMES[2]])
def test_raise_stops_at_the_bad_file_and_names_it(mixed, bad):
    for path in list(mixed.rglob("*.skeleton")):
        if path.stem not in (bad, NAMES[0], ntu_names.missing_skeletons()[0]):
            path.unlink()
    if bad != "again":
        (mixed / "again" / f"{NAMES[0]}.skeleton").unlink()
    with pytest.raises(ValueError, match=bad):
        pack_ntu(mixed, on_error="raise")


def test_samples_on_the_missing_list_are_no_error(tmp_path):
    write_skeletons(tmp_path, NAMES[0], ntu_names.missing_skeletons()[0])
    packed, log = pack_ntu(tmp_path, on_error="raise")
    assert packed.num_clips == log.num_skipped == 1


def test_nothing_to_pack(tmp_path):
    with pytest.raises(ValueError, match=r"no \.skeleton file"):
        pack_ntu(tmp_path)
    with pytest.raises(FileNotFoundError, match="absent"):
        pack_ntu(tmp_path / "absent")
    write_skeletons(tmp_path, "walking")
    with pytest.raises(ValueError, match=r"no clip to pack.*no NTU RGB.*walking"):
        pack_ntu(tmp_path)
    with pytest.raises(ValueError, match="threads"):
        pack_ntu(tmp_path, threads=0)
    with pytest.raises(ValueError, match="on_error"):
        pack_ntu(tmp_path, on_error="ignore")


def test_the_oracle_files_are_packed():
    folder = shared_folder() / "oracles/skeleton_files"
    expected = np.load(folder / "expected.npz")
    packed, log = pack_ntu(folder)
    assert packed.num_clips + log.num_skipped == 8
    assert packed.num_classes == 120
    for index, name in enumerate(packed.names):
        clip = packed.clip(index)
        assert np.isfinite(clip.keypoints).all()
        if f"{name}/keypoint_3d" in expected:
            assert clip.keypoints.shape[:3] == expected[f"{name}/keypoint_3d"].shape[:3]
