"""benchmarks/gpu_session.py, as far as it needs no GPU."""

import time

import gpu_stages
from gpu_session import Stage, run_stages, stages


def test_stages_end_alone_and_the_table_comes_last(tmp_path):
    said = []
    chosen = [
        Stage("hangs", 1.5, "echo begun; sleep 60; echo never"),
        Stage("fails", 9, "echo broken >&2; exit 3"),
        Stage("passes", 9, "echo first; echo last"),
        Stage("waits", 9, "sleep 60"),
        Stage("never begins", 9, "echo"),
    ]
    started = time.monotonic()
    outcomes = run_stages(chosen, 5, tmp_path / "new", said.append)
    assert time.monotonic() - started < 9
    assert [outcome.status for outcome in outcomes] == [None, 3, 0, None, None]
    assert [outcome.last_line for outcome in outcomes] == [
        "begun", "broken", "last", "", "no time was left"
    ]  # fmt: skip
    assert (tmp_path / "new/passes.log").read_text() == "first\nlast\n"
    rows = said[-1].strip().splitlines()
    assert [row.split("  ")[0].strip() for row in rows][:3] == ["hangs", "fails", "passes"]
    assert "cut off" in rows[0]
    assert "exit 3" in rows[1]
    assert "passed" in rows[2]


def test_all_stages_fit_in_nine_minutes_but_for_those_that_hang():
    assert len({stage.name for stage in stages()}) == len(stages()) == 7
    assert sum(stage.seconds for stage in stages()) < 700


def test_the_training_stage_trains_measures_and_predicts(capsys):
    gpu_stages.training(["skeleton"], device="cpu")
    printed = capsys.readouterr().out
    assert "% at 0.1; 4 clips predicted; 0 graphs, 0 failures;" in printed
