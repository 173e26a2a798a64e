"""The numbers of a reproduction's tables, by hand."""

import csv

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.reproductions import curve_of, reproduction, row, run, section

from fastpose.evaluation.metrics import wilson_interval
from fastpose.reproduction.details import family_map, most_confused
from fastpose.reproduction.report import csv_rows, write_report
from fastpose.reproduction.tables import Spread, cost_of, section_names, table_of

PUBLISHED = {0.0: 87.0, 0.1: 9.0, 0.02: 65.0}


def test_means_and_spreads_by_hand():
    two = row("two", [run(0, {0.0: 90.0, 0.1: 40.0}), run(1, {0.0: 94.0, 0.1: 60.0})], published=PUBLISHED)
    table = table_of(section(two, row("one", [run(0, {0.1: 7.0, 0.0: 95.0})])))
    first, second = table.lines
    assert table.alphas == table.mean_alphas == [0.0, 0.1]
    assert str(first.top1[0.0]) == "92.0±2.8"  # √(2² + 2²)
    assert first.top1[0.0].std == pytest.approx(8**0.5)
    assert (first.top1[0.1].lowest, first.top1[0.1].highest) == (40, 60)
    assert str(first.mean) == "71.0±8.5"  # of 65 and 77
    assert first.top5[0.0].mean == 100
    assert first.mean_class[0.1].mean == 49
    assert first.published_mean == 48  # 0.02 is no level of the mean
    assert (str(second.top1[0.0]), second.top1[0.0].std, second.published_mean) == ("95.0", None, None)


def test_runs_of_other_levels_keep_what_they_have():
    runs = [run(0, {0.0: 90.0, 0.1: 40.0, 0.3: 20.0}), run(1, {0.0: 80.0, 0.02: 70.0, 0.1: 50.0})]
    table = table_of(section(row("a", runs, seeds=2), row("b", [run(0, {0.1: 30.0, 0.0: 90.0})], seeds=1)))
    assert table.alphas == [0.0, 0.02, 0.1, 0.3]
    assert table.mean_alphas == [0.0, 0.1]
    assert "α = 0, 0.1, the levels that all runs have" in table.mean_text
    assert {alpha: str(spread) for alpha, spread in table.lines[0].top1.items()} == {
        0.0: "85.0±7.1", 0.02: "70.0", 0.1: "45.0±7.1", 0.3: "20.0",
    }  # fmt: skip
    assert table.lines[0].missing == "α = 0.02 is the mean of 1 of 2 runs; α = 0.3 is the mean of 1 of 2 runs"
    assert table.lines[1].missing == ""
    assert 0.02 not in table.lines[1].top1


def test_one_shared_level_is_no_mean():
    table = table_of(section(row("a", [run(0, {0.0: 90.0, 0.1: 40.0})]), row("b", [run(0, {0.0: 80.0})])))
    assert (table.mean_alphas, table.mean_text, table.lines[0].mean) == ([], "", None)


def test_without_runs_the_columns_are_the_report_s():
    table = table_of(section(row("a", published=PUBLISHED, reason="too slow"), row("b")))
    assert table.heads == ["α = 0", "0.02", "0.1", "mean"]
    assert table.lines[0].published_mean == pytest.approx((87 + 65 + 9) / 3)
    assert [line.missing for line in table.lines] == ["not measured: too slow", "not measured: 0 of 3 runs"]
    assert table_of(section()).heads == table_of(section(row("b"))).heads == []


def test_a_run_without_a_level_is_no_figure():
    table = table_of(section(row("a", [run(0, {}), run(1, {0.0: 80.0, 0.1: 60.0})])))
    assert table.lines[0].top1[0.0].values == (80.0,)
    assert table.lines[0].mean == Spread((70.0,))


def test_cost_and_sampling_error():
    runs = [run(0, {0.0: 90.0, 0.1: 20.0}, seconds=100, threads=2), run(1, {0.0: 94.0}, seconds=140)]
    cost = cost_of(row("a", runs))
    assert (cost.runs, cost.time, cost.threads) == ("2 of 3", "2 min", "1 or 2")
    low, high = wilson_interval(curve_of({0.0: 92.0})[0.0])
    assert low < 90.5 < 93.5 < high  # ± 1.7
    assert cost.sampling == f"{low:.1f} to {high:.1f} % at α = 0, of 1,000 clips"
    assert cost_of(row("none")) is None


def test_families_are_the_mean_of_what_all_runs_have():
    first = {"gaussian": {0.0: 90.0, 0.1: 70.0, 0.2: 1.0}, "drift": {0.0: 90.0, 0.1: 30.0}}
    second = {"drift": {0.0: 94.0, 0.1: 50.0}, "swap": {0.0: 1.0}, "gaussian": {0.1: 72.0, 0.0: 94.0}}
    runs = [run(0, {}, families=first), run(1, {}, families=second), run(2, {})]
    found = family_map(row("a", runs))
    assert (found.families, found.alphas) == (["gaussian", "drift"], [0.0, 0.1])
    assert found.top1.tolist() == [[92, 71, 81.5], [92, 40, 66], [92, 55.5, 73.75]]
    assert found.mca.values == (70, 77.5)
    assert "α = 0 is among them" in found.text
    apart = [run(0, {}, families={"drift": {0.1: 9.0}}), run(1, {}, families={"drift": {0.2: 9.0}})]
    assert family_map(row("a", apart)) is None
    assert family_map(row("a", [run(0, {}, families={"drift": {}})])) is None


def test_pairs_are_summed_over_runs():
    runs = [
        run(0, {}, pairs=[("sit", "stand", 4, 8.0), ("run", "walk", 3, 30.0)]),
        run(1, {}, pairs=[("run", "walk", 5, 50.0), ("walk", "run", 1, 2.0)]),
    ]
    found = most_confused(row("a", runs), most=2)
    assert [(pair.true, pair.predicted, pair.clips, pair.percent_of_true) for pair in found] == [
        ("run", "walk", 8, 40.0),
        ("sit", "stand", 4, 4.0),
    ]


def test_csv_by_hand(tmp_path):
    measured = row(
        "a, b", [run(0, {0.0: 90.0}), run(1, {0.0: 94.0})], published={0.0: 87.0, 0.1: 9.0}, reason='"x"\ny'
    )
    write_report(reproduction(section(measured, row("none", reason="slow"))), tmp_path / "new")
    with open(tmp_path / "new/report.csv", newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    first = {
        "section": "table3", "row": "a, b", "alpha": "0", "runs": "2", "top1_mean_percent": "92.000",
        "top1_std_percent": "2.828", "top5_mean_percent": "100.000", "mean_class_mean_percent": "91.000",
        "published_top1_percent": "87.000", "reason": '"x" y',
    }  # fmt: skip
    empty = dict.fromkeys(first, "") | {"section": "table3", "runs": "0"}
    assert lines == [
        first,
        empty | {"row": "a, b", "alpha": "0.1", "published_top1_percent": "9.000", "reason": '"x" y'},
        empty | {"row": "none", "reason": "slow"},
    ]
    assert csv_rows(reproduction()) == []


@given(st.lists(st.text("aB2 -_/|é", max_size=5), max_size=6))
def test_names_of_sections_are_files_and_differ(names):
    found = section_names(reproduction(*(section(name=name) for name in names)))
    assert len(set(found)) == len(names)
    assert all(name and set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-") for name in found)


def test_a_plain_name_stays():
    assert section_names(reproduction(section(name="table3"), section(name="own"))) == ["table3", "own"]
