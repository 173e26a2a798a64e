import json

import pytest

from fastpose import report
from fastpose.evaluation.benchmark_table import Row, format_table, markdown_table, table


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
    path.write_text(json.dumps({"benchmarks": items}))
    return path


def test_ratios_by_hand():
    rows = [
        Row("ours", "s", 0.01, {"clips": 100, "bytes": 4e6, "case": "a"}),
        Row("ours b", "s", 0.02, {"clips": 100, "bytes": 4e6, "case": "b"}),
        Row("peer a", "s", 0.5, {"clips": 50, "role": "peer", "case": "a"}),
        Row("peer b", "s", 0.1, {"clips": 100, "role": "peer", "case": "b"}),
        Row("fill", "s", 0.001, {"bytes": 1e6, "role": "floor"}),
    ]
    cells = table(rows)
    assert cells[0] == ["", "ms", "MB/s", "clips/s", "× peer", "% of floor", "note"]
    assert cells[1] == ["ours", "10.000", "400", "10,000", "100.0", "40", ""]
    assert cells[2] == ["ours b", "20.000", "200", "5,000", "5.0", "20", ""]
    assert cells[3] == ["peer a", "500.000", "", "100", "", "", "[peer]"]


def test_the_command_writes_tables_and_pictures(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    saved_run(tmp_path / "run.json")
    assert report.main(["benchmarks", "run.json", "--out", "here"]) == 0
    printed = capsys.readouterr().out
    assert "× peer 1" in printed
    text = (tmp_path / "here/report.md").read_text()
    assert "| ours | 10.000 | 400 | 10,000 | 100.0 | 10.0 | 40 | 3 |  |" in text
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
