import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from support.training import TINY, write_finished_run

from fastpose import report
from fastpose.evaluation.benchmark_table import Row, format_table, markdown_table, read_run, sections, table
from fastpose.system import environment

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
BENCHMARK = """
from measuring import measure, measure_products

SIZES = {"network": [(4, 1)]}

def test_step(benchmark, work, size, who, dtype):
    case = f"{work} B{size[0]} T{size[1]}"
    measure(benchmark, lambda: sum(range(1000)), "steps", who=who, case=case, dtype=dtype, clips=size[0],
            flop=1e6, seconds=0.01, note="so many words that they would be wider than a terminal " * 3)

def test_products(benchmark, threads, dtype):
    measure_products(benchmark, "steps", dtype)
"""


def saved_run(path):
    def item(name, median, **info):
        return {"name": name, "group": "render", "stats": {"median": median}, "extra_info": info}

    items = [
        item("ours", 0.01, clips=100, bytes=4e6, peak_bytes=3e6),
        item("numpy", 0.5, clips=50, bytes=2e6, role="peer", note="one core"),
        item("torch", 0.1, clips=100, bytes=4e6, role="peer"),
        item("fill", 0.001, bytes=1e6, role="floor"),
        {**item("other", 0.2), "group": None},
    ]
    path.write_text(json.dumps({"benchmarks": items, "machine_info": {"fastpose": "a processor, torch 2"}}))
    return path


def test_ratios_by_hand():
    rows = [
        Row("ours", "s", 0.01, {"clips": 100, "bytes": 4e7, "case": "a"}),
        Row("ours b", "s", 0.02, {"clips": 100, "bytes": 4e7, "case": "b"}),
        Row("peer a", "s", 0.5, {"clips": 50, "role": "peer", "case": "a"}),
        Row("peer b", "s", 0.1, {"clips": 100, "role": "peer", "case": "b"}),
        Row("fill", "s", 0.001, {"bytes": 1e7, "role": "floor"}),
    ]
    cells = table(rows)
    assert cells[0] == ["", "ms", "GB/s", "× peer", "% of floor", "note"]
    assert cells[1] == ["ours", "10.0", "4.00", "100", "40", ""]
    assert cells[2] == ["ours b", "20.0", "2.00", "5.0", "20", ""]
    assert cells[3] == ["peer: peer a", "500", "", "", "", ""]
    assert cells[5] == ["floor: fill", "1.00", "10.0", "", "", ""]


def test_rows_are_compared_in_their_own_dtype_and_threads():
    def row(seconds, **info):
        return Row("test_any", "s", seconds, {"case": "B8", "clips": 8, **info})

    def floor(rate, **info):
        return Row("f", "s", 1.0, {"role": "floor", "flop": rate, "row": "product", **info})

    cells = table([
        row(1.0, dtype="fp32", threads=1, flop=2e9, row="B8 fp32"),
        row(0.5, dtype="bf16", threads=1, flop=2e9, row="B8 bf16"),
        row(3.0, role="peer", peer="peer", dtype=None),
        row(2.0, role="peer", peer="strong", dtype="fp32"),
        row(0.7, role="peer", peer="strong", dtype="bf16"),
        floor(9e9, dtype="fp32", threads=2),
        floor(5e9, dtype="fp32", threads=1),
        floor(8e9, dtype="bf16", threads=1, case=["B4", "B8"]),
        floor(1e9, dtype="bf16", threads=1, case=["B4"]),
    ])  # fmt: skip
    assert cells[0] == ["", "ms", "clips/s", "× peer", "× strong", "% of floor", "note"]
    assert cells[1] == ["B8 fp32", "1,000", "8.00", "3.0", "2.0", "40", ""]
    assert cells[2] == ["B8 bf16", "500", "16.0", "6.0", "1.4", "50", ""]
    assert cells[3][0] == "peer: any"
    assert cells[6] == ["floor: product", "1,000", "", "", "", "", "9 GFLOP/s"]


def test_the_command_writes_tables_and_pictures(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    saved_run(tmp_path / "run.json")
    assert report.main(["benchmarks", "run.json", "--out", "here"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("a processor, torch 2\n")
    assert "× peer 1" in printed
    text = (tmp_path / "here/report.md").read_text()
    assert "a processor, torch 2" in text
    assert "| ours | 10.0 | 0.400 | 100 | 10 | 40 | 3 |  |" in text
    pictures = sorted(path.name for path in (tmp_path / "here").glob("*.png"))
    assert pictures == ["01-render.png", "02-other.png"]
    for name in pictures:
        assert name in text
        assert (tmp_path / "here" / name).read_bytes()[:4] == b"\x89PNG"


def test_the_newest_autosaved_run_is_taken(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".benchmarks/Linux").mkdir(parents=True)
    saved_run(tmp_path / ".benchmarks/Linux/0001.json")
    assert report.main(["benchmarks"]) == 0
    assert (tmp_path / "benchmark-report/report.md").exists()


def test_a_run_ends_in_narrow_tables_of_both_dtypes_and_can_be_reported(tmp_path, monkeypatch, capsys):
    shutil.copy(BENCHMARKS / "conftest.py", tmp_path)
    measuring = (BENCHMARKS / "measuring.py").read_text()
    assert "SIDE = 2048 " in measuring
    (tmp_path / "measuring.py").write_text(measuring.replace("SIDE = 2048 ", "SIDE = 64 "))
    (tmp_path / "bench_any.py").write_text(BENCHMARK)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--rootdir=.",
        "-c",
        "/dev/null",
    ]
    command += ["bench_any.py", "--bf16", "--batch=3", "--benchmark-json=run.json"]
    # pytest-benchmark measures nothing in a worker of pytest-xdist.
    alone = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=alone)
    assert done.returncode == 0, done.stdout + done.stderr
    shown = done.stdout[done.stdout.index("medians of this run") :].splitlines()[1:]
    assert shown[0] == summary_of_a_new_process()
    assert shown[2] == "steps"
    assert shown[3].split() == ["ms", "clips/s", "×", "peer", "×", "strong", "%", "of", "floor", "note"]
    assert [line.partition("  ")[0] for line in shown[4:11]] == [
        "network B3 T1 fp32", "peer: network B3 T1 fp32", "strong: network B3 T1 fp32",
        "network B3 T1 bf16", "strong: network B3 T1 bf16",
        "floor: matrix product fp32 T1", "floor: matrix product bf16 T1",
    ]  # fmt: skip
    assert max(map(len, done.stdout.splitlines())) <= 100
    assert "Mean" not in done.stdout
    run = read_run(tmp_path / "run.json")
    assert run.machine == shown[0]
    assert format_table(table(sections(run.rows)["steps"])).splitlines()[:8] == shown[3:11]
    monkeypatch.chdir(tmp_path)
    assert report.main(["benchmarks", "run.json"]) == 0
    assert "strong: network B3 T1 bf16" in capsys.readouterr().out


def summary_of_a_new_process() -> str:
    """The words for the machine, with threads that no test has set."""
    command = "from fastpose.system.environment import summary; print(summary())"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no saved benchmarks"), ("{", "no json file"), ("{}", "no json file"), ("[]", "no json file")],
)
def test_mistakes_end_in_one_line(tmp_path, monkeypatch, capsys, content, message):
    monkeypatch.chdir(tmp_path)
    arguments = ["benchmarks"]
    if content is not None:
        (tmp_path / "run.json").write_text(content)
        arguments.append("run.json")
    assert report.main(arguments) == 2
    assert message in capsys.readouterr().err


def test_tables_as_text():
    cells = [["", "ms", "note"], ["long name", "1.5", "x"], ["b", "10.25", ""]]
    assert format_table(cells).splitlines() == [
        "              ms  note",
        "long name    1.5  x",
        "b          10.25",
    ]
    assert markdown_table(cells).splitlines()[1] == "| --- | ---: | --- |"


def test_what_is_wider_than_the_terminal_is_cut():
    cells = [["", "ms", "note"], ["name", "1.5", "words " * 40]]
    head, line = format_table(cells, width=40).splitlines()
    assert len(line) == 40
    assert line.startswith("name  1.5  words words")
    assert line.endswith("…")
    assert head == "       ms  note"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("sse2 avx avx2 avx512f avx512_vnni avx512_bf16 amx_tile amx_bf16", "AVX-512, VNNI, AMX, bf16"),
        ("avx avx2 avx_vnni", "AVX2, VNNI, no bf16"),
        ("sse2", "no AVX, no bf16"),
    ],
)
def test_instructions(monkeypatch, flags, words):
    monkeypatch.setattr(environment, "cpu_flags", lambda: frozenset(flags.split()))
    assert environment.cpu_instructions() == words


def test_finished_runs_are_printed_and_written(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for seed, top1 in enumerate((80.0, 84.0)):
        for lr in (0.01, 0.002):
            config = replace(TINY, seed=seed, optim=replace(TINY.optim, lr=lr))
            write_finished_run(Path("runs") / f"{lr}-s{seed}", config, {0.0: top1 + 100 * lr, 0.1: 40.0})
    Path("runs/begun").mkdir()
    Path("runs/begun/config.json").write_text("{}")
    assert report.main(["runs", "runs", "--by", "lr", "--columns=top1,mean"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "note: left out: runs/begun: is unfinished, it has no robustness.csv"
    assert lines[-5:] == [
        "lr     runs       α 0     α 0.1      mean",
        "0.002     2  82.2±2.8  40.0±0.0  61.1±1.4",
        "0.01      2  83.0±2.8  40.0±0.0  61.5±1.4",
        "",
        "report: run-report/runs.md, run-report/runs.csv",
    ]
    assert max(map(len, lines)) <= 100
    assert "| 0.01 | 2 | 83.0±2.8 | 40.0±0.0 | 61.5±1.4 |" in Path("run-report/runs.md").read_text()
    assert sorted(path.name for path in Path("run-report").iterdir()) == ["runs.csv", "runs.md"]
    assert report.main(["runs", "runs", "--out", "elsewhere"]) == 0
    assert Path("elsewhere/runs.csv").read_text() == Path("run-report/runs.csv").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere: no such folder; expected one that holds runs of fastpose train"),
        (["."], ".: holds no finished run, which is a folder with config.json and robustness.csv"),
        (["run", "--by", "weight-decoy"], "--by weight-decoy: no such setting; did you mean 'weight_decay'?"),
        (["run", "--by", ""], "--by '': expected names with commas between, such as lr,alpha"),
    ],
)
def test_mistakes_about_runs_end_in_one_line(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    if arguments[0] == "run":
        write_finished_run(Path("run"), TINY, {0.0: 80.0, 0.1: 40.0})
    assert report.main(["runs", *arguments]) == 2
    assert capsys.readouterr().err == f"error: {message}\n"
    assert not Path("run-report").exists()
