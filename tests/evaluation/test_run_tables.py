"""Tables of finished runs: which are averaged, in what order, and what stands in for those that cannot be."""

import csv
import json
import shutil
from dataclasses import replace

import pytest
from support.clips import waving_clips
from support.training import TINY, rows_of, write_finished_run

from fastpose.evaluation.curves import mean_accuracy, read_curves
from fastpose.evaluation.run_tables import WIDTH, brief_texts, format_blocks, report_runs
from fastpose.settings.families import FAMILIES
from fastpose.training.experiment import plan_runs, run_experiment
from fastpose.weights.runs import BY_FAMILY, COMPLETE, CONFIG, METRICS

CLEAN = {0.0: 90.0, 0.1: 60.0}


def run_of(seed=0, *, arm="contrastive", alphas=(0.0, 0.1), families=("gaussian",), data=None, **optim):
    """Settings of a run, those of its optimiser by name."""
    return replace(
        TINY,
        arm=arm,
        seed=seed,
        optim=replace(TINY.optim, **{"epochs": 2, **optim}),
        eval=replace(TINY.eval, alphas=alphas, families=families),
        data=replace(TINY.data, data=data or TINY.data.data),
    )


def reported(folder, by=None, columns=None):
    """The rows of the table, those of runs.csv and the notes of a report on a folder."""
    told, out = [], folder.parent / "report"
    report_runs(folder, out, by, columns, told.append)
    notes = [text.removeprefix("note: ") for text in told if text.startswith("note: ")]
    cells = [line for line in (out / "runs.md").read_text().splitlines() if line.startswith("| ")]
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in cells]
    assert table.pop(1)[-1] == "---:"
    return table, rows_of(out / "runs.csv"), notes


def test_seeds_are_averaged_by_hand(tmp_path):
    runs = tmp_path / "runs"
    write_finished_run(runs / "deep/er/a", run_of(0), {0.0: 90, 0.1: 60}, epoch_s=[1, 2])
    write_finished_run(runs / "b", run_of(7, device="auto", threads=3), {0.0: 92, 0.1: 66}, epoch_s=[3, 4])
    table, rows, notes = reported(runs)
    assert table == [
        ["runs", "α 0", "α 0.1", "mean", "top-5", "train s"],
        ["2", "91.0±1.4", "63.0±4.2", "77.0±2.8", "96.0±1.4", "5.0±2.8"],
    ]
    assert not notes
    assert rows[1] == {
        "runs": "2",
        "seeds": "7 0",  # in the order of the folders
        "alpha": "0.1",
        "num_clips": "200",
        "top1_percent": "63.000",
        "top1_percent_std": "4.243",
        "top5_percent": "68.000",
        "top5_percent_std": "4.243",
        "mean_class_percent": "62.000",
        "mean_class_percent_std": "4.243",
        "mean_top1_percent": "77.000",
        "mean_top1_percent_std": "2.828",
        "mca_percent": "",
        "mca_percent_std": "",
        "train_s": "5.000",
        "train_s_std": "2.828",
    }
    assert [row["alpha"] for row in rows] == ["0", "0.1"]


def test_only_runs_that_are_named_count(tmp_path):
    runs, told = tmp_path / "runs", []
    for name in ("a", "b", "c/d"):
        write_finished_run(runs / name, run_of(lr=0.1 if name == "a" else 0.2), CLEAN)
    report_runs(runs, tmp_path / "report", echo=told.append, names=["b", "absent"])
    assert [row["runs"] for row in rows_of(tmp_path / "report/runs.csv")] == ["1", "1"]
    assert told[0] == f"note: left out: {runs / 'absent'}: is unfinished, it has no {COMPLETE}"
    with pytest.raises(ValueError, match="holds no finished run"):
        report_runs(runs, tmp_path / "report", echo=told.append, names=["d"])


def test_rows_are_in_the_order_of_numbers_and_of_arms(tmp_path):
    runs = tmp_path / "runs"
    for i, (lr, alpha) in enumerate([(0.02, "0.1"), (0.1, "0.02"), (0.02, "0:0.2"), (0.003, "0.1")]):
        write_finished_run(runs / f"{i}", run_of(lr=lr, alpha=alpha), {0.0: 10.0 * i, 0.1: 5})
    table, rows, _ = reported(runs, "lr,alpha")
    assert table[0][:3] == ["lr", "alpha", "runs"]
    assert [row[:2] for row in table[1:]] == [
        ["0.003", "0.1"],
        ["0.02", "0.1"],
        ["0.02", "0:0.2"],
        ["0.1", "0.02"],
    ]
    assert [row["top1_percent"] for row in rows[::2]] == ["30.000", "0.000", "20.000", "10.000"]
    assert [row["optim.alpha"] for row in rows[::2]] == ["0.1", "0.1", "0:0.2", "0.02"]
    assert reported(runs, "optim.alpha,lr")[0][1][:3] == ["0.02", "0.1", "1"]
    for arm in ("augmented", "contrastive", "supervised"):
        write_finished_run(tmp_path / "arms" / arm, run_of(arm=arm), CLEAN)
    assert [row[0] for row in reported(tmp_path / "arms")[0]] == [
        "arm",
        "supervised",
        "augmented",
        "contrastive",
    ]


def test_what_differs_in_more_than_the_seed_is_not_averaged(tmp_path):
    runs = tmp_path / "runs"
    for seed in (0, 1):
        write_finished_run(runs / f"one-s{seed}", run_of(seed, lr=0.1), {0.0: 80 + seed, 0.1: 50})
        write_finished_run(runs / f"two-s{seed}", run_of(seed, lr=0.1, ema=0.5), {0.0: 60 + seed, 0.1: 50})
    write_finished_run(runs / "three", run_of(lr=0.2, weight_decay=0.5), CLEAN)
    table, rows, notes = reported(runs, "lr")
    assert [row[:4] for row in table] == [
        ["lr", "ema", "runs", "α 0"],
        ["0.1", "0.5", "2", "60.5±0.7"],
        ["0.1", "0.9", "2", "80.5±0.7"],
        ["0.2", "0.9", "1", "90.0"],
    ]
    assert "optim.ema" in rows[0]
    assert notes == [
        "optim.ema: added to --by, since runs differ in it that --by does not tell apart",
        "optim.weight_decay: differs between the rows too, and is not shown; --by shows it",
    ]
    assert [row[:3] for row in reported(runs)[0][:2]] == [
        ["lr", "weight_decay", "ema"],
        ["0.1", "0.01", "0.5"],
    ]


def test_a_run_counts_once(tmp_path):
    runs = tmp_path / "runs"
    write_finished_run(runs / "a", run_of(), CLEAN)
    write_finished_run(runs / "b", run_of(threads=2), {0.0: 10, 0.1: 10})
    table, _, notes = reported(runs)
    assert table[1][:2] == ["1", "90.0"]
    assert notes == [
        f"left out: {runs / 'b'} has the seed of {runs / 'a'}, and all settings that decide a result"
    ]
    table, _, notes = reported(runs, "threads")
    assert [row[:3] for row in table[1:]] == [["none", "1", "90.0"], ["2", "1", "10.0"]]
    assert not notes
    write_finished_run(runs / "c", run_of(3), CLEAN)
    assert [row[:2] for row in reported(runs, "seed,threads,seed")[0]] == [
        ["seed", "threads"],
        ["0", "none"],
        ["0", "2"],
        ["3", "none"],
    ]


def test_runs_of_other_levels_and_families_have_blank_cells(tmp_path):
    runs = tmp_path / "runs"
    write_finished_run(runs / "a", run_of(), CLEAN, epoch_s=[1, 1])
    write_finished_run(runs / "b", run_of(1, alphas=(0.1, 0.3)), {0.1: 70, 0.3: 30})
    measured = {"drift": {0.0: 90, 0.1: 30}, "swap": {0.0: 90, 0.1: 62}}
    write_finished_run(runs / "c", run_of(2, families=("drift", "swap")), CLEAN, measured)
    table, rows, _ = reported(runs)
    assert table == [
        ["alphas", "families", "runs", "α 0", "α 0.1", "α 0.3", "mean", "top-5", "mCA", "train s"],
        ["0 0.1", "drift swap", "1", "90.0", "60.0", "", "75.0", "95.0", "68.0", ""],
        ["0 0.1", "gaussian", "1", "90.0", "60.0", "", "75.0", "95.0", "", "2.0"],
        ["0.1 0.3", "gaussian", "1", "", "70.0", "30.0", "50.0", "", "", ""],
    ]
    assert [(row["alpha"], row["mca_percent"]) for row in rows] == [
        ("0", "68.000"),
        ("0.1", "68.000"),
        ("0", ""),
        ("0.1", ""),
        ("0.1", ""),
        ("0.3", ""),
    ]


def test_columns_are_chosen(tmp_path):
    runs = tmp_path / "runs"
    write_finished_run(runs / "a", run_of(), CLEAN)
    table, rows, _ = reported(runs, columns="mca,0.10, mean,top1")
    assert table == [["runs", "mCA", "α 0.1", "mean", "α 0"], ["1", "", "60.0", "75.0", "90.0"]]
    assert len(rows) == 2
    for columns, message in {
        "0.2": "--columns 0.2: no run was measured at this noise level; expected 0, 0.1",
        "maen": "--columns maen: no such column; did you mean 'mean'?",
        "f1": "--columns f1: no such column; expected noise levels, or some of top1, mean, top5, mca, time",
        "mean,": "--columns 'mean,': expected names with commas between, such as 0,0.05,mean",
    }.items():
        with pytest.raises(ValueError) as refused:
            reported(runs, columns=columns)
        assert str(refused.value) == message


def break_curve(run):
    (run / COMPLETE).write_text("run,alpha,top1_percent\na,0,1\n")


def cut_curve(run):
    lines = (run / COMPLETE).read_text().splitlines(keepends=True)
    (run / COMPLETE).write_text("".join(lines[:-1]))


def go_on(run):
    """As a run that was begun to be trained for longer."""
    values = json.loads((run / CONFIG).read_text())
    values["optim"]["epochs"] = 5
    (run / CONFIG).write_text(json.dumps(values))


def mix(run):
    shutil.copy(run.parent / "families" / BY_FAMILY, run / BY_FAMILY)
    values = json.loads((run / CONFIG).read_text())
    values["eval"]["families"] = ["drift", "dropout"]
    (run / CONFIG).write_text(json.dumps(values))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda run: (run / COMPLETE).unlink(), "{run}: is unfinished, it has no robustness.csv"),
        (lambda run: (run / CONFIG).write_text("{"), "{run}/config.json: not a JSON file"),
        (lambda run: (run / CONFIG).write_text('{"lerning": 1}'), "{run}/config.json: unknown setting 'lerning'"),
        (lambda run: (run / COMPLETE).write_bytes(b"\xff\xfe"), "{run}/robustness.csv: is no table of accuracy"),
        (break_curve, "{run}/robustness.csv: is no table of accuracy over noise (KeyError('num_clips'))"),
        (cut_curve, "{run}/robustness.csv: holds α = 0, expected 0, 0.1 by its config.json"),
        (lambda run: (run / METRICS).write_text("epoch\n0\n"), "{run}/metrics.csv: is no table of epochs"),
        (go_on, "{run}/metrics.csv: holds 2 epochs, expected 5 by its config.json"),
        (mix, "{run}/families.csv: holds the families drift, swap, expected drift, dropout by its config.json"),
    ],
)  # fmt: skip
def test_unfinished_and_damaged_runs_are_named_and_left_out(tmp_path, damage, message):
    runs = tmp_path / "runs"
    measured = {"drift": CLEAN, "swap": CLEAN}
    write_finished_run(runs / "families", run_of(families=("drift", "swap")), CLEAN, measured)
    damaged = write_finished_run(runs / "one", run_of(1), CLEAN, epoch_s=[1, 1])
    damage(damaged)
    (runs / "evaluation").mkdir()
    (runs / "evaluation" / COMPLETE).write_text("of no run")
    table, rows, notes = reported(runs)
    assert (len(table), len(rows)) == (2, 2)
    (note,) = notes
    assert note.startswith("left out: " + message.format(run=damaged))
    shutil.rmtree(runs / "families")
    with pytest.raises(ValueError) as refused:
        reported(runs)
    assert str(refused.value) == (
        f"{runs}: holds no finished run, which is a folder with config.json and robustness.csv"
    )


def test_a_run_that_ended_early_or_was_measured_anew_counts(tmp_path):
    config = replace(run_of(), data=replace(TINY.data, val_clips=4))
    config = replace(config, optim=replace(config.optim, epochs=9, val_every=1, patience=2))
    early = write_finished_run(tmp_path / "early", config, CLEAN, {"drift": CLEAN}, epoch_s=[1, 2, 4])
    table, _, notes = reported(early)  # a run by itself
    assert table[1] == ["1", "90.0", "60.0", "75.0", "95.0", "7.0"]
    assert notes == [
        f"{early / BY_FAMILY} is not read, since its config.json names no noise families to measure"
    ]


def test_values_are_brief_and_never_alike():
    def texts(*values):
        return list(brief_texts(values).values())

    assert texts("data/ntu60.safetensors", "synthetic") == ["ntu60", "synthetic"]
    assert texts("a/ntu.safetensors", "b/ntu.safetensors", "b/penn.safetensors") == [
        "a/ntu.safetensors",
        "b/ntu.safetensors",
        "b/penn.safetensors",
    ]
    assert texts("x/synthetic.safetensors", "synthetic") == ["synthetic.safetensors", "synthetic"]
    assert texts("a_pack_of_very_many_words.safetensors") == ["a_pack_of_…any_words"]
    assert texts("/one/a/run", "/two/a/run") == ["one/a/run", "two/a/run"]
    assert texts(1e-3, 4 / 3, 1e-5) == ["0.001", "1.33333", "1e-05"]
    assert texts(0.3, 0.1 + 0.2) == ["0.3", "0.30000000000000004"]
    assert texts(None, True, False, 1) == ["none", "on", "off"]  # 1 is True
    assert texts(3, 1) == ["3", "1"]
    assert texts(FAMILIES, ("drift", "swap")) == ["all", "drift swap"]
    grid = tuple(i / 100 for i in range(9))
    assert texts(grid, (0.0, 0.1)) == ["0 … 0.08 (9)", "0 0.1"]
    other = (0.0, 0.01, 0.05, *grid[3:])
    assert texts(grid, other) == ["0 0.01 0.02 … 0.08 (9)", "0 0.01 0.05 … 0.08 (9)"]


def test_a_wide_table_goes_on_below():
    cells = [
        ["lr", "runs", *(f"α {i}" for i in range(9))],
        ["0.1", "3", *(f"{80 + i}.0±10.1" for i in range(9))],
    ]
    lines = format_blocks(cells, 1).splitlines()
    assert [line.split() for line in lines[:2]] == [
        ["lr", "runs", *" ".join(f"α {i}" for i in range(8)).split()],
        ["0.1", "3", *cells[1][2:10]],
    ]
    assert lines[3:] == ["lr   runs        α 8", "0.1     3  88.0±10.1"]
    assert max(map(len, lines)) <= WIDTH
    many = [[f"setting{i}" for i in range(8)] + cells[0][1:], ["x"] * 8 + cells[1][1:]]
    blocks = [block.splitlines() for block in format_blocks(many, 8).split("\n\n")]
    assert len(blocks) == 2
    assert [block[1].split()[0] for block in blocks] == ["1", "1"]
    assert blocks[0][1].startswith("  1  x         x  ")
    shown = " ".join(word for block in blocks for word in block[0].split() if word != "row")
    assert shown == " ".join(many[0])
    assert max(len(line) for block in blocks for line in block) <= WIDTH


def test_runs_that_were_trained(tmp_path):
    base = replace(TINY, optim=replace(TINY.optim, epochs=1))
    base = replace(base, eval=replace(base.eval, families=("gaussian", "swap")))
    curves = run_experiment(
        waving_clips(), plan_runs(base, ["supervised", "augmented"], [0, 1]), tmp_path / "runs"
    )
    table, rows, notes = reported(tmp_path / "runs")
    assert not notes
    assert [row[:2] for row in table] == [["arm", "runs"], ["supervised", "2"], ["augmented", "2"]]
    assert table[0][2:] == ["α 0", "α 0.1", "mean", "top-5", "mCA", "train s"]
    mean = sum(mean_accuracy(curves[f"supervised-s{seed}"]) for seed in (0, 1)) / 2
    assert float(rows[0]["mean_top1_percent"]) == pytest.approx(mean, abs=1e-3)
    assert float(rows[0]["train_s"]) > 0
    assert float(rows[0]["mca_percent"]) > 0
    stem = "augmented-0-0.05-s"
    seeds = [read_curves(tmp_path / f"runs/{stem}{seed}" / COMPLETE)[f"{stem}{seed}"] for seed in (0, 1)]
    top1 = [curve[0.1].top1_percent for curve in seeds]
    assert float(rows[3]["top1_percent"]) == pytest.approx(sum(top1) / 2, abs=1e-3)
    with open(tmp_path / "runs" / f"{stem}0" / METRICS, newline="") as file:
        assert len(list(csv.DictReader(file))) == 1


@pytest.mark.parametrize("cell", ["nan", "inf", "1e999", "x", "", "-"])
@pytest.mark.parametrize("column", ["alpha", "top1_percent", "num_clips", "run"])
def test_a_cell_that_is_no_number_is_told(tmp_path, column, cell):
    run = write_finished_run(tmp_path / "one", run_of(0), {0.0: 90})
    row = {
        "run": "one",
        "alpha": "0",
        "top1_percent": "1",
        "top5_percent": "2",
        "mean_class_percent": "3",
        "num_clips": "4",
    }
    text = ",".join(row) + "\n" + ",".join((row | {column: cell}).values()) + "\n"
    (run / COMPLETE).write_text(text)
    if column == "run" and cell:
        assert list(read_curves(run / COMPLETE)) == [cell]
        return
    with pytest.raises(ValueError, match="is no table of accuracy over noise"):
        read_curves(run / COMPLETE)
