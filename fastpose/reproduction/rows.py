"""The rows of the tables that are reproduced: those of the report, and fastpose's own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fastpose.settings import ALPHA_GRID, Arm, RunConfig
from fastpose.settings.adapting import adapted
from fastpose.settings.checks import require
from fastpose.settings.families import FAMILIES
from fastpose.settings.files import from_dict, from_preset

TABLE2, TABLE3, FIGURE2, ROBUST, FEW_LABELS, ALL = (
    "table2",
    "table3",
    "figure2",
    "robust",
    "few-labels",
    "all",
)
TABLES = (TABLE2, TABLE3, FIGURE2, ROBUST, FEW_LABELS)

REPORT_ALPHAS = (0.0, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1)
WIDE_ALPHAS = (0.0, 0.015, 0.05, 0.1, 0.2, 0.3)
LABEL_SHARES = (0.01, 0.05, 0.1, 0.2, 0.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A kind of run: trained with several seeds, it is a row of a table.

    Attributes:
        label: its name.
        text: what is trained, in a few words.
        config: its settings, but for the data and the seed.
        published: top-1 in percent by noise level, as the report has it.
        published_top5: the same of top-5 on clean clips.
    """

    label: str
    text: str
    config: RunConfig
    published: Mapping[float, float] = field(default_factory=dict)
    published_top5: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRows:
    """A table before it is measured.

    Attributes:
        name: of the table, such as "table3", or of a part of one.
        title: its heading.
        text: a paragraph on what is compared.
        rows: its rows.
        clean_alone: whether it is of clean clips alone; its runs may be those of another table.
    """

    name: str
    title: str
    text: str
    rows: Sequence[Row]
    clean_alone: bool = False


def _row(label: str, text: str, arm: Arm, preset: str, values: Mapping[str, Any], published: Sequence[float] = (),
         top5: float | None = None) -> Row:  # fmt: skip
    config = replace(from_dict(dict(values), from_preset(preset), source=label), arm=arm)
    return Row(
        label=label,
        text=text,
        config=config,
        published=dict(zip(REPORT_ALPHAS, published, strict=False)),
        published_top5=top5,
    )


def _report_row(
    label: str,
    text: str,
    model: Mapping[str, Any],
    published: Sequence[float],
    *,
    top5: float | None = None,
    noise: str | None = None,
    losses: tuple[float, float, int] = (0.0, 0.0, 0),
) -> Row:
    """Return a row of Table III; supervised without ``noise``, else its level, and γ1, γ2 and sup_thresh."""
    values: dict[str, Any] = {"model": dict(model), "eval": {"alphas": list(ALPHA_GRID)}}
    if noise is not None:
        gamma1, gamma2, begin = losses
        values["optim"] = {"alpha": noise}
        values["loss"] = {"gamma1": gamma1, "gamma2": gamma2, "sup_thresh": begin}
    arm: Arm = "supervised" if noise is None else "contrastive"
    return _row(label, text, arm, "report", values, published, top5)


def _report_rows() -> list[Row]:
    """Return the rows of the report's Table III and Figure 2, of which all but those at 0.015 are read off its plot."""
    skeleton, heatmap, grayscale = ({"input": name} for name in ("skeleton", "heatmap", "grayscale"))
    motionbert = {"model": "motionbert", "input": "skeleton"}
    return [
        _report_row(
            "C_Sk_1", "PoseConv3D on skeletons, contrastive, α = 0.01, γ1 = 1, γ2 = 0.3", skeleton,
            (87.0, 86.3, 81.8, 74.7, 65, 42.4, 20, 9), losses=(1.0, 0.3, 0), noise="0.01",
        ),
        _report_row(
            "C_Sk_2", "PoseConv3D on skeletons, contrastive, α = 0.025, γ1 = 5, γ2 = 1", skeleton,
            (82.3, 82.1, 81.5, 80.2, 78.4, 72, 48.5, 16), losses=(5.0, 1.0, 0), noise="0.025",
        ),
        _report_row(
            "C_H_3", "PoseConv3D on heatmaps, contrastive, α = 0.01, γ1 = 1, γ2 = 0.3 from epoch 20 on", heatmap,
            (84.4, 83.5, 73.6, 57.4, 47.2, 34, 19, 8.5), losses=(1.0, 0.3, 20), noise="0.01",
        ),
        _report_row(
            "C_Sk_MB_4", "MotionBERT on skeletons, contrastive, α = 0.01, γ1 = 1, γ2 = 0.3", motionbert,
            (83.5, 82.9, 79.3, 71.5, 59.8, 35.1, 17.4, 6), losses=(1.0, 0.3, 0), noise="0.01",
        ),
        _report_row(
            "S_Sk_5", "PoseConv3D on skeletons, supervised", skeleton,
            (87.5, 82.3, 68.2, 53.5, 41.9, 27.4, 15.7, 8.4), top5=98.7,
        ),
        _report_row(
            "S_H_6", "PoseConv3D on heatmaps, supervised", heatmap, (90.1, 36, 9, 5.1, 4, 3.6, 3.5, 3.5), top5=99.1
        ),
        _report_row(
            "S_G_7", "PoseConv3D on grayscale maps, supervised", grayscale,
            (88.7, 37.6, 13.5, 8.6, 7, 5.2, 3.6, 2.2), top5=98.8,
        ),
    ]  # fmt: skip


def _robust_rows() -> list[Row]:
    """Return fastpose's own rows: the recipe and its controls, measured with every family of noise."""
    measured = {"eval": {"alphas": list(WIDE_ALPHAS), "families": list(FAMILIES)}}
    raw = {"data": {"sampling": {"frame_rule": "segments", "motion_filter": "off"}}}
    heatmap = {
        "model": {"model": "x3d_shallow", "input": "heatmap"},
        "optim": {"epochs": 24, "batch_size": 16, "lr": 4e-3},
    }
    return [
        _row("supervised", "PoseConv3D on skeletons, clean clips", "supervised", "robust", {**measured, **raw}),
        _row("filter + augmented", "PoseConv3D on filtered skeletons, noisy clips too: the control",
             "augmented", "robust", measured),
        _row("filter + contrastive", "PoseConv3D on filtered skeletons, clean and noisy clips contrasted: the preset",
             "contrastive", "robust", measured),
        _row("DCT-MLP, augmented", "DCT-MLP on skeletons, noisy clips too",
             "augmented", "dct_mlp", {**measured, **raw}),
        _row("DCT-MLP, filter", "DCT-MLP on filtered skeletons, clean clips alone", "supervised", "dct_mlp", measured),
        _row("DCT-MLP, filter + augmented", "DCT-MLP on filtered skeletons, noisy clips too",
             "augmented", "dct_mlp", measured),
        _row("heatmaps, supervised", "X3D-shallow on heatmaps, clean clips", "supervised", "robust",
             {**measured, **raw, **heatmap}),
        _row("heatmaps, filter + augmented", "X3D-shallow on heatmaps of filtered keypoints, noisy clips too",
             "augmented", "robust", {**measured, **heatmap}),
    ]  # fmt: skip


# Chosen on clips held out of Penn Action's training split (docs/results.md has the trials).
FEW_LABELS_OPTIM = {"epochs": 80, "labelled_share": 0.5}
INSTANCE = {"gamma1": 0.5, "gamma2": 0.0, "temperature": 0.2, "symmetric": True}
TCL = {
    "gamma1": 0.1, "gamma2": 0.1, "temperature": 0.5, "symmetric": True, "representation": "logits",
    "group_labels": "pseudo", "pseudo_threshold": 1.0, "ce_views": "clean",
}  # fmt: skip


def _few_labels_rows(share: float) -> list[Row]:
    """Return the ways to train with a ``share`` of the labels."""

    def row(label: str, text: str, arm: Arm, loss: Mapping[str, Any], **optim: Any) -> Row:
        values = {
            "data": {"label_fraction": share},
            "loss": loss,
            "optim": FEW_LABELS_OPTIM | optim,
            "eval": {"alphas": list(WIDE_ALPHAS)},
        }
        return _row(f"{label}, {share:.0%}", text, arm, "dct_mlp", values)

    return [
        row("labelled alone", "DCT-MLP on filtered skeletons, clean and noisy views of the labelled clips",
            "augmented", {"pseudo_threshold": 1.0}),
        row("pseudo-labels", "the same, and the model's own sure answers as labels of the other clips",
            "augmented", {}),
        row("pseudo-labels + instance loss", "the same, and clean and noisy views of all clips contrasted",
            "contrastive", INSTANCE),
        row("TCL", "cross-entropy on the labelled clips; two playback speeds of all clips contrasted, groups by the "
            "model's own answers (Singh et al. 2021)", "contrastive", TCL, views="tempo"),
        row("TCL on noisy clips", "the same, the slow view noisy, and cross-entropy on both views", "contrastive",
            {**TCL, "gamma1": 1.0, "gamma2": 1.0, "ce_views": "both"}, views="both"),
    ]  # fmt: skip


def tables_of(
    names: Sequence[str], *, inputs: Sequence[str] | None = None, epochs: int | None = None
) -> list[TableRows]:
    """Return the tables that are asked for by name, "all" for every one.

    Args:
        names: of ``TABLES``, or "all".
        inputs: keep only rows of networks on these inputs, such as "skeleton".
        epochs: of every run, in place of its own number.

    Raises:
        ValueError: there is no such table.
    """
    for name in names:
        require(
            name in (*TABLES, ALL),
            f"no table {name!r}; expected one of {', '.join(TABLES)}, or {ALL} of them",
        )
    wanted = set(TABLES) if ALL in names else set(names)
    report = _report_rows()
    tables = []
    if TABLE2 in wanted:
        tables.append(
            TableRows(
                name=TABLE2,
                title="Table II: clean clips, by input",
                text="One network on the three inputs, trained on clean clips and measured on clean clips.",
                rows=[row for row in reversed(report) if row.label.startswith("S_")],
                clean_alone=True,
            )
        )
    if wanted & {TABLE3, FIGURE2}:
        tables.append(
            TableRows(
                name=TABLE3,
                title="Table III and Figure 2: accuracy over noise",
                text="Networks trained on clean clips (S) fall with noise on the keypoints; those that contrast clean "
                "and noisy views (C) are to fall later. α is the level of their training noise, γ1 and γ2 are the "
                "weights of the instance and group losses.",
                rows=report,
            )
        )
    if ROBUST in wanted:
        tables.append(
            TableRows(
                name=ROBUST,
                title="Robust: fastpose's own recipe and its controls",
                text="Beyond the report: keypoints filtered by a prior of body motion, noise levels from 0 to 0.3 "
                "drawn per clip, and the supervised contrastive loss. The controls have its input, noise and steps.",
                rows=_robust_rows(),
            )
        )
    if FEW_LABELS in wanted:
        tables += [
            TableRows(
                name=f"{FEW_LABELS}-{share:.0%}".removesuffix("%"),
                title=f"Few labels: {share:.0%} of them",
                text="Only this share of the training clips keeps its labels, of every class, drawn anew by each "
                "seed. The filter's prior, which needs no labels, is of all training clips in each row.",
                rows=_few_labels_rows(share),
            )
            for share in LABEL_SHARES
        ]
    return [_chosen(table, inputs, epochs) for table in tables]


def _chosen(table: TableRows, inputs: Sequence[str] | None, epochs: int | None) -> TableRows:
    rows = [row for row in table.rows if inputs is None or row.config.model.input in inputs]
    if epochs is not None:
        rows = [_shortened(row, epochs) for row in rows]
    return replace(table, rows=rows)


def _shortened(row: Row, epochs: int) -> Row:
    if epochs == row.config.optim.epochs:
        return row
    config = adapted(row.config, {"epochs": epochs})[0]
    told = f"{epochs} epoch{'' if epochs == 1 else 's'}"
    text = f"{row.text}; {told} in place of {row.config.optim.epochs}"
    return replace(row, config=replace(config, optim=replace(config.optim, epochs=epochs)), text=text)
