"""The rows: the report's figures, settings that are valid, and controls that are as strong."""

import dataclasses

import pytest

from fastpose.reproduction.rows import ALL, LABEL_SHARES, REPORT_ALPHAS, TABLES, tables_of


def rows_by_label(*names, **choice):
    return {row.label: row for table in tables_of(names, **choice) for row in table.rows}


def test_the_report_s_own_figures():
    rows = rows_by_label("table3")
    printed = {  # at α = 0.015, the one level that the report prints
        "C_Sk_1": 74.7, "C_Sk_2": 80.2, "C_H_3": 57.4, "C_Sk_MB_4": 71.5, "S_Sk_5": 53.5, "S_H_6": 5.1, "S_G_7": 8.6,
    }  # fmt: skip
    assert {label: row.published[0.015] for label, row in rows.items()} == printed
    assert all(tuple(row.published) == REPORT_ALPHAS for row in rows.values())
    configs = {label: row.config for label, row in rows.items() if label.startswith("C")}
    settings = {
        label: (
            config.arm,
            config.optim.alpha,
            config.loss.gamma1,
            config.loss.gamma2,
            config.loss.sup_thresh,
        )
        for label, config in configs.items()
    }
    assert settings == {
        "C_Sk_1": ("contrastive", "0.01", 1.0, 0.3, 0),
        "C_Sk_2": ("contrastive", "0.025", 5.0, 1.0, 0),
        "C_H_3": ("contrastive", "0.01", 1.0, 0.3, 20),
        "C_Sk_MB_4": ("contrastive", "0.01", 1.0, 0.3, 0),
    }
    assert rows["C_Sk_MB_4"].config.model.model == "motionbert"
    assert {row.config.optim.epochs for row in rows.values()} == {150}


def test_table_two_is_of_the_supervised_rows():
    (table,) = tables_of(["table2"])
    assert table.clean_alone
    inputs = {row.config.model.input: (row.published[0.0], row.published_top5) for row in table.rows}
    assert inputs == {"heatmap": (90.1, 99.1), "grayscale": (88.7, 98.8), "skeleton": (87.5, 98.7)}


def test_all_is_every_table_once():
    tables = tables_of([ALL])
    names = [table.name for table in tables]
    assert names == [
        "table2",
        "table3",
        "robust",
        *(f"few-labels-{share:.0%}"[:-1] for share in LABEL_SHARES),
    ]
    assert [table.name for table in tables_of(TABLES)] == names
    assert tables_of(["figure2"]) == tables_of(["table3"])
    labels = [row.label for table in tables if not table.clean_alone for row in table.rows]
    assert len(set(labels)) == len(labels)


def test_controls_differ_from_what_they_control_in_the_losses_alone():
    rows = rows_by_label("robust", "few-labels")
    recipe, control = rows["filter + contrastive"].config, rows["filter + augmented"].config
    assert dataclasses.replace(recipe, arm="augmented") == control
    for share in LABEL_SHARES:
        alone, guessed, contrasted, tcl, noisy = (
            rows[f"{name}, {share:.0%}"].config
            for name in (
                "labelled alone",
                "pseudo-labels",
                "pseudo-labels + instance loss",
                "TCL",
                "TCL on noisy clips",
            )
        )
        assert {config.data for config in (alone, guessed, contrasted, tcl, noisy)} == {alone.data}
        assert alone.data.label_fraction == share
        assert {config.optim.epochs for config in (alone, guessed, contrasted, tcl, noisy)} == {80}
        assert not alone.uses_unlabelled
        assert guessed.uses_unlabelled
        assert contrasted.optim == guessed.optim
        assert tcl.optim.views == "tempo"


def test_rows_can_be_chosen_and_shortened():
    assert set(rows_by_label("table3", inputs=["heatmap"])) == {"C_H_3", "S_H_6"}
    short = rows_by_label("robust", inputs=["skeleton"], epochs=2)
    assert {row.config.optim.epochs for row in short.values()} == {2}
    assert short["supervised"].config.optim.warmup_epochs == pytest.approx(0.2)
    assert short["supervised"].text.endswith("; 2 epochs in place of 100")
    with pytest.raises(ValueError, match="no table 'table4'; expected one of table2, table3"):
        tables_of(["table4"])
