"""Reproductions of seconds: what they do, what they do not do again, and what becomes of damage."""

import csv
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.clips import waving_clips
from support.training import TINY, assert_equal_runs

from fastpose import reproduce as command
from fastpose.data.pack.fingerprint import fingerprint
from fastpose.reproduction.rows import Row, TableRows
from fastpose.reproduction.run_plan import plan_row, read_result
from fastpose.reproduction.runner import Request, reproduce
from fastpose.settings import DataConfig, ModelConfig
from fastpose.settings.identity import settings_hash
from fastpose.system.lock import locked_folder
from fastpose.training.checkpoint import save_checkpoint

QUICK = replace(TINY, model=ModelConfig(model="dct_mlp", dropout=0.2), optim=replace(TINY.optim, epochs=2))
ROWS = (
    Row(
        label="clean",
        text="clean clips",
        config=replace(QUICK, arm="supervised"),
        published={0.0: 90.0, 0.1: 10.0},
    ),
    Row(
        label="both",
        text="both",
        config=replace(QUICK, eval=replace(TINY.eval, families=("gaussian", "drift"))),
    ),
)
TABLE = TableRows(name="tiny", title="Tiny", text="Two rows.", rows=ROWS)
CLEAN = TableRows(name="clean", title="Clean", text="One row again.", rows=ROWS[:1], clean_alone=True)


@pytest.fixture
def packed(tmp_path):
    waving_clips(18).save(tmp_path / "clips.safetensors")
    return waving_clips(18)


def request(tmp_path, **changes):
    data = DataConfig(data=str(tmp_path / "clips.safetensors"))
    return replace(Request(data=data, tables=[TABLE, CLEAN], seeds=2, jobs=2), **changes)


def run(packed, tmp_path, out="out", **changes):
    said = []
    whole = reproduce(packed, request(tmp_path, **changes), tmp_path / out, echo=said.append)
    return whole, "\n".join(said)


def state_of(folder):
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def rows_of(folder):
    with open(folder / "report.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def names_of(tmp_path, packed):
    return [
        each.name for row in ROWS for each in plan_row(row, request(tmp_path).data, fingerprint(packed), 2)
    ]


def test_a_second_call_does_nothing_and_says_so(packed, tmp_path):
    whole, said = run(packed, tmp_path)
    assert whole
    assert "4 runs to do, 2 at a time on" in said
    out = tmp_path / "out"
    assert {path.name for path in out.iterdir()} == {
        "runs", "report.html", "report.md", "report.csv", "curves-tiny.png", ".lock",
    }  # fmt: skip
    assert sorted(path.name for path in (out / "runs").iterdir()) == sorted(names_of(tmp_path, packed))
    found = [(row["section"], row["row"], row["alpha"], row["runs"]) for row in rows_of(out)]
    assert found == [
        ("tiny", "clean", "0", "2"), ("tiny", "clean", "0.1", "2"), ("tiny", "both", "0", "2"),
        ("tiny", "both", "0.1", "2"), ("clean", "clean", "0", "2"),
    ]  # fmt: skip
    text = (out / "report.md").read_text()
    assert re.search(
        r"^- training: 4 runs, \d+ s together, each on 1 thread$", text, re.M
    )  # one is of two tables
    before = state_of(out)
    whole, said = run(packed, tmp_path)
    assert whole
    assert said == f"nothing to do: 4 of 4 runs are finished; the report is {out / 'report.html'}"
    assert state_of(out) == before


def test_more_seeds_and_rows_are_added_to_what_is_there(packed, tmp_path):
    run(packed, tmp_path, seeds=1, tables=[replace(TABLE, rows=ROWS[:1])])
    before = state_of(tmp_path / "out/runs")
    whole, said = run(packed, tmp_path)
    assert whole
    assert "3 runs to do" in said
    after = state_of(tmp_path / "out/runs")
    assert before.items() <= after.items()


def cut_metrics(path):
    path.write_text("\n".join(path.read_text().splitlines()[:2]) + "\n")


METRICS_DAMAGES = {
    "cut metrics": cut_metrics,
    "no metrics": Path.unlink,
    "foreign metrics": lambda path: path.write_bytes(b"\0\xff" * 99),
}
ANEW = {*METRICS_DAMAGES, "half a checkpoint", "half the settings"}


@pytest.mark.parametrize("damage", sorted({*ANEW, "no curve", "half a curve", "empty folder"}))
def test_a_damaged_run_is_done_again(packed, tmp_path, damage):
    run(packed, tmp_path)
    run(packed, tmp_path, out="whole")
    folder = tmp_path / "out/runs" / names_of(tmp_path, packed)[3]
    if damage in METRICS_DAMAGES:
        METRICS_DAMAGES[damage](folder / "metrics.csv")
    elif damage == "half a curve":
        (folder / "robustness.csv").write_text("run,alpha\nboth,0\n")
    else:
        (folder / "robustness.csv").unlink()
    if damage == "half a checkpoint":
        path = folder / "checkpoint.pt"
        path.write_bytes(path.read_bytes()[:1000])
    if damage == "half the settings":
        (folder / "config.json").write_text('{"arm": "contra')
    if damage == "empty folder":
        for path in folder.iterdir():
            path.unlink()
    whole, said = run(packed, tmp_path)
    assert whole
    assert "1 run to do" in said
    assert ("begins anew" in said) == (damage in ANEW)
    assert_equal_runs(folder, tmp_path / "whole/runs" / folder.name)
    whole = tmp_path / "whole/runs" / folder.name
    assert (folder / "families.csv").read_bytes() == (whole / "families.csv").read_bytes()


def test_rows_that_the_data_cannot_give_are_marked(packed, tmp_path):
    lacking = Row(
        label="few", text="few labels", config=replace(QUICK, data=replace(QUICK.data, label_fraction=0.01))
    )
    table = replace(TABLE, rows=[lacking, ROWS[0]])
    whole, said = run(packed, tmp_path, tables=[table])
    assert whole
    assert "few: left out, label_fraction = 0.01: class 'speed 0' of 4 training clips and 2 more" in said
    rows = {row["row"]: row for row in rows_of(tmp_path / "out")}
    assert rows["clean"]["runs"] == "2"
    assert rows["few"]["runs"] == "0"
    assert "would have no label" in rows["few"]["reason"]
    assert "would have no label" in (tmp_path / "out/report.html").read_text(encoding="utf-8")
    whole, said = run(packed, tmp_path, tables=[table])
    assert whole
    assert "2 of 4 runs are finished; the data cannot give the other 2" in said


def test_a_run_that_fails_leaves_the_others_alone(packed, tmp_path):
    wild = replace(QUICK, optim=replace(QUICK.optim, lr=1e30, grad_clip=1e30))
    table = replace(TABLE, rows=[Row(label="wild", text="diverges", config=wild), ROWS[0]])
    whole, said = run(packed, tmp_path, tables=[table])
    assert not whole
    assert "wild: wild-" in said
    assert "training diverged" in rows_of(tmp_path / "out")[0]["reason"]
    assert {row["row"]: row["runs"] for row in rows_of(tmp_path / "out")} == {"wild": "0", "clean": "2"}


def test_no_run_begins_that_would_not_end_in_time(packed, tmp_path):
    whole, said = run(packed, tmp_path, budget=1e-3)
    assert not whole
    assert "clean: --budget left no time for its next run (about" in said
    assert {row["runs"] for row in rows_of(tmp_path / "out")} == {"0"}
    assert not (tmp_path / "out/runs").exists()
    whole, _ = run(packed, tmp_path, budget=3600.0)
    assert whole


def test_two_reproductions_into_one_folder(packed, tmp_path):
    (tmp_path / "out").mkdir()
    with (
        locked_folder(tmp_path / "out"),
        pytest.raises(ValueError, match=r"out: process \d+ is at work in it"),
    ):
        run(packed, tmp_path)
    assert not (tmp_path / "out/runs").exists()


def test_a_run_that_another_process_is_at_is_left_alone(packed, tmp_path):
    run(packed, tmp_path, seeds=1)
    folder = tmp_path / "out/runs" / names_of(tmp_path, packed)[0]
    (folder / "robustness.csv").unlink()
    with locked_folder(folder):
        whole, said = run(packed, tmp_path, seeds=1)
    assert not whole
    assert "is at work in it" in said
    assert "begins anew" not in said
    assert (folder / "checkpoint.pt").exists()
    assert run(packed, tmp_path, seeds=1)[0]


def test_a_file_in_place_of_a_run_concerns_its_row_alone(packed, tmp_path):
    (tmp_path / "out/runs").mkdir(parents=True)
    (tmp_path / "out/runs" / names_of(tmp_path, packed)[0]).write_text("")
    whole, said = run(packed, tmp_path, seeds=1)
    assert not whole
    assert "is no folder; expected that of a run, or nothing" in said
    assert {row["row"]: row["runs"] for row in rows_of(tmp_path / "out")} == {"clean": "0", "both": "1"}


def test_a_run_goes_on_wherever_its_data_has_moved(packed, tmp_path):
    run(packed, tmp_path, seeds=1)
    folder = tmp_path / "out/runs" / names_of(tmp_path, packed)[0]
    (folder / "robustness.csv").unlink()
    waving_clips(18).save(tmp_path / "moved.safetensors")
    whole, said = run(packed, tmp_path, seeds=1, data=DataConfig(data=str(tmp_path / "moved.safetensors")))
    assert whole
    assert "begins anew" not in said


def test_a_report_that_lacks_a_file_is_written_again(packed, tmp_path):
    run(packed, tmp_path, seeds=1)
    for file in ("report.md", "report.csv", "curves-tiny.png"):
        before = (tmp_path / "out" / file).read_bytes()
        (tmp_path / "out" / file).unlink()
        whole, said = run(packed, tmp_path, seeds=1)
        assert whole
        assert "report: " in said
        assert (tmp_path / "out" / file).read_bytes() == before


def test_a_full_disk_is_a_sentence(tmp_path, monkeypatch):
    def fail(state, path):
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 70784 vs 70678\nmore")

    monkeypatch.setattr("torch.save", fail)
    with pytest.raises(
        OSError, match=r"writing failed \(is the disk full\? \[enforce.*checkpoint.pt"
    ) as caught:
        save_checkpoint(tmp_path, {})
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_folders_are_named_by_what_decides_the_result(packed):
    of_data = fingerprint(packed)
    name = settings_hash(QUICK, of_data)
    for same in (
        replace(QUICK, seed=5),
        replace(QUICK, data=replace(QUICK.data, data="elsewhere.safetensors")),
        replace(QUICK, optim=replace(QUICK.optim, threads=3, device="auto")),
    ):
        assert settings_hash(same, of_data) == name
    for other in (
        replace(QUICK, arm="supervised"),
        replace(QUICK, optim=replace(QUICK.optim, lr=2e-3)),
        replace(QUICK, eval=replace(QUICK.eval, alphas=(0.0,))),
        replace(QUICK, data=replace(QUICK.data, label_seed=1)),
    ):
        assert settings_hash(other, of_data) != name
    assert settings_hash(QUICK, fingerprint(waving_clips(18, seed=1))) != name
    labels = packed.labels.copy()
    labels[0] = (labels[0] + 1) % 3
    assert fingerprint(replace(packed, labels=np.array(labels))) != of_data
    assert fingerprint(waving_clips(18)) == of_data


def test_results_of_other_levels_are_no_result(packed, tmp_path):
    run(packed, tmp_path, seeds=1)
    planned = plan_row(ROWS[0], request(tmp_path).data, fingerprint(packed), 1)[0]
    assert read_result(tmp_path / "out/runs", planned).curve.keys() == {0.0, 0.1}
    path = tmp_path / "out/runs" / planned.name / "robustness.csv"
    path.write_text("\n".join(path.read_text().splitlines()[:2]) + "\n")
    assert read_result(tmp_path / "out/runs", planned) is None


def test_results_of_other_settings_are_no_result(packed, tmp_path):
    """As where a later version has other defaults, which the names of folders leave out."""
    run(packed, tmp_path, seeds=1)
    planned = plan_row(ROWS[0], request(tmp_path).data, fingerprint(packed), 1)[0]
    path = tmp_path / "out/runs" / planned.name / "config.json"
    path.write_text(path.read_text().replace('"weight_decay": 0.01', '"weight_decay": 0.02'))
    assert read_result(tmp_path / "out/runs", planned) is None
    whole, said = run(packed, tmp_path, seeds=1)
    assert whole
    assert "begins anew" in said
    assert read_result(tmp_path / "out/runs", planned) is not None


def test_a_killed_reproduction_goes_on(tmp_path):
    """Killed with its processes in the middle, and started again, it has the results of one that was not."""
    waving_clips(24).save(tmp_path / "clips.safetensors")
    flags = ["few-labels", "--data", str(tmp_path / "clips.safetensors"), "--seeds", "1", "--epochs", "60"]
    out = tmp_path / "out"
    started = subprocess.Popen(
        [sys.executable, "-m", "fastpose", "reproduce", *flags, "--out", str(out)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    while not list(out.glob("runs/*/robustness.csv")):
        assert started.poll() is None
        time.sleep(0.1)
    os.killpg(started.pid, signal.SIGKILL)
    started.wait()
    done = {path: path.stat().st_mtime_ns for path in out.glob("runs/*/robustness.csv")}
    assert command.main([*flags, "--out", str(out)]) == 0
    assert all(path.stat().st_mtime_ns == changed for path, changed in done.items())
    assert command.main([*flags, "--out", str(tmp_path / "whole")]) == 0
    for folder in (out / "runs").iterdir():
        assert_equal_runs(folder, tmp_path / "whole/runs" / folder.name)
    assert rows_of(out) == rows_of(tmp_path / "whole")
