"""Any grid of settings fits one --out: runs whose names are taken get others."""

import json

import pytest
from support.clips import waving_clips

from fastpose import train


@pytest.fixture
def flags(tmp_path):
    waving_clips(12).save(tmp_path / "clips.safetensors")
    return ["--data", str(tmp_path / "clips.safetensors"), "--model", "dct_mlp", "--arms", "supervised",
            "--epochs", "1", "--alphas", "0", "--seeds", "0", "1", "--out", str(tmp_path / "grid")]  # fmt: skip


def rates(folder):
    return {
        path.parent.name: json.loads(path.read_text())["optim"]["lr"] for path in folder.glob("*/config.json")
    }


def test_settings_of_a_grid_have_folders_of_their_own(flags, tmp_path, capsys):
    for rate in ("0.001", "0.002", "0.004"):
        assert train.main([*flags, "--lr", rate]) == 0
    found = rates(tmp_path / "grid")
    assert found["supervised-s0"] == found["supervised-s1"] == 0.001
    others = {name: rate for name, rate in found.items() if name not in ("supervised-s0", "supervised-s1")}
    assert sorted(others.values()) == [0.002, 0.002, 0.004, 0.004]
    for rate in (0.002, 0.004):
        names = sorted(name for name, value in others.items() if value == rate)
        assert names[0][:-1] == names[1][:-1]  # of one hash, in which the seed has no part
        assert names[0].startswith("supervised-")
        assert [name[-3:] for name in names] == ["-s0", "-s1"]
    assert "supervised-s0 is a run with other settings (optim.lr (0.001 there))" in capsys.readouterr().out


def test_the_same_settings_are_refused_as_ever(flags, tmp_path, capsys):
    for _ in range(2):
        assert train.main([*flags, "--lr", "0.001"]) in (0, 2)
    assert "supervised-s0 exists; use --resume" in capsys.readouterr().err
    assert train.main([*flags, "--lr", "0.002"]) == 0
    assert train.main([*flags, "--lr", "0.002"]) == 2
    assert "-s0 exists; use --resume" in capsys.readouterr().err
    assert len(rates(tmp_path / "grid")) == 4


def test_each_goes_on_where_it_is(flags, tmp_path, capsys):
    for rate in ("0.001", "0.002"):
        assert train.main([*flags, "--lr", rate]) == 0
    found = rates(tmp_path / "grid")
    for rate in ("0.001", "0.002"):
        assert train.main([*flags, "--lr", rate, "--epochs", "2", "--resume"]) == 0
    assert rates(tmp_path / "grid") == found
    for folder in (tmp_path / "grid").glob("*/config.json"):
        assert json.loads(folder.read_text())["optim"]["epochs"] == 2
    assert train.main([*flags, "--lr", "0.003", "--resume"]) == 2
    assert "its settings differ in optim.lr (0.001 there)" in capsys.readouterr().err


def test_overwriting_is_of_the_plain_name(flags, tmp_path):
    assert train.main([*flags, "--lr", "0.001"]) == 0
    assert train.main([*flags, "--lr", "0.002", "--overwrite"]) == 0
    assert rates(tmp_path / "grid") == {"supervised-s0": 0.002, "supervised-s1": 0.002}
