"""`fastpose reproduce`: what it refuses, and the data sets that it knows by their files."""

from pathlib import Path

import pytest
from support.clips import waving_clips
from support.shared import shared_folder

from fastpose import reproduce as command
from fastpose.data.pack.packed import PackedClips
from fastpose.data.sources.known_sets import packed_path
from fastpose.data.synthetic.builtin import pack_synthetic


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["table3", "--budget", "soon"], "--budget soon: expected a time such as 90s, 60m or 1.5h"),
        (["table3", "--budget", "0m"], "--budget 0m: expected a time"),
        (["table3", "--seeds", "0"], "--seeds 0: expected at least 1"),
        (["table3", "--epochs", "-1"], "--epochs -1: expected at least 1"),
        (
            ["table3", "--data", "nowhere"],
            "--data nowhere: no such file or folder; expected a packed file, or",
        ),
        (["table3", "--data", "clips.safetensors", "--test-split", "val"], "val"),
    ],
)
def test_what_it_refuses(flags, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    waving_clips(12).save(tmp_path / "clips.safetensors")
    assert command.main([*flags, "--out", "out"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert not list(tmp_path.glob("out/runs"))


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("60m", 3600), ("1.5h", 5400)])
def test_budgets(text, seconds):
    assert command.parse_budget(text) == seconds


def test_a_packed_file_is_taken_as_it_is(tmp_path):
    waving_clips(6).save(tmp_path / "clips.safetensors")
    assert packed_path(str(tmp_path / "clips.safetensors"), tmp_path / "out") == str(
        tmp_path / "clips.safetensors"
    )
    assert packed_path("synthetic", tmp_path / "out") == "synthetic"
    assert not (tmp_path / "out").exists()


def test_a_folder_of_no_known_kind(tmp_path):
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips/one.json").write_text("{}")
    with pytest.raises(
        ValueError, match="clips: expected a packed file, or what fastpose knows by its files"
    ):
        packed_path(str(tmp_path / "clips"), tmp_path / "out")


def test_data_sets_are_packed_once(tmp_path):
    said = []
    source = shared_folder() / "penn_action"
    path = packed_path(str(source), tmp_path / "out", said.append)
    assert Path(path).parent == tmp_path / "out"
    assert PackedClips.load(path).num_clips == 2326
    assert len(said) == 1
    written = Path(path).stat().st_mtime_ns
    assert packed_path(str(source), tmp_path / "out", said.append) == path
    assert Path(path).stat().st_mtime_ns == written
    assert len(said) == 1


def test_files_of_ntu_are_packed_as_the_report_s_networks_see_them(tmp_path):
    pack_synthetic(tmp_path / "skeletons", seed=1)
    packed = PackedClips.load(packed_path(str(tmp_path / "skeletons"), tmp_path / "out", lambda text: None))
    assert packed.layout.name == "coco17"
    assert set(packed.splits) >= {"xsub_train", "xsub_val"}


def test_another_data_set_of_the_same_name_is_refused(tmp_path):
    """As is the same one after it has gained files."""
    pack_synthetic(tmp_path / "skeletons", seed=1)
    out = tmp_path / "out"
    packed_path(str(tmp_path / "skeletons"), out, lambda text: None)
    first = next((tmp_path / "skeletons").rglob("*.skeleton"))
    first.rename(first.with_name("S099" + first.name[4:]))
    first.with_name("S099" + first.name[4:]).write_bytes(b"")
    with pytest.raises(ValueError, match="is not, or no longer, what --data .*skeletons holds"):
        packed_path(str(tmp_path / "skeletons"), out, lambda text: None)
