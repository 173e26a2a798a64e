"""Tables of finished runs: a row for each choice of settings, over runs that differ in their seed alone."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import numpy as np

from fastpose.evaluation.benchmark_table import WIDTH, format_table, markdown_table
from fastpose.evaluation.curves import mean_accuracy, mean_and_spread
from fastpose.evaluation.finished_runs import FinishedRun, find_finished
from fastpose.evaluation.metrics import Accuracy
from fastpose.settings import RunConfig
from fastpose.settings.checks import require
from fastpose.settings.families import FAMILIES
from fastpose.settings.files import by_dotted_name
from fastpose.settings.identity import NOT_DECIDING
from fastpose.settings.names import find_setting, nearest, short_name, type_of
from fastpose.settings.optim import parse_alpha
from fastpose.system.files import check_output_folder, write_csv, write_text

SEED = "seed"
NOT_COMPARED = (SEED, *(name for name in NOT_DECIDING if name != "data.data"))
TOP1 = "top1"  # at all noise levels
SUMMARIES = {"mean": "mean", "top5": "top-5", "mca": "mCA", "time": "train s"}  # columns and their heads
COLUMNS = (TOP1, *SUMMARIES)
EXAMPLES = {"by": "lr,alpha", "columns": "0,0.05,mean"}
BRIEF = 20  # letters of a setting's value in a table
CAPTION = (
    "top-1 in percent at each noise level α and its mean over them, top-5 on clean clips, mCA over noise\n"
    "families, seconds of training; mean ± sample standard deviation of runs that differ in seed alone"
)


@dataclass(frozen=True, slots=True)
class Group:
    """Runs that differ in the seed alone, and the ``values`` of the settings that tell them from other groups."""

    values: tuple[object, ...]
    runs: list[FinishedRun]

    @property
    def levels(self) -> list[float]:
        """The noise levels, which are a setting, and so those of all its runs."""
        return sorted(self.runs[0].curve)

    def at(self, alpha: float) -> list[Accuracy]:
        """Return the accuracies of the runs at a noise level; none where it was not measured."""
        return [run.curve[alpha] for run in self.runs if alpha in run.curve]

    def top1(self, alpha: float) -> list[float]:
        """Return top-1 of each run at a noise level, in percent."""
        return [accuracy.top1_percent for accuracy in self.at(alpha)]

    def summary(self, column: str) -> list[float]:
        """Return a column of ``SUMMARIES``, a value for each run that has one: in percent, the time in seconds."""
        if column == "mean":
            return [mean_accuracy(run.curve) for run in self.runs]
        if column == "top5":
            return [accuracy.top5_percent for accuracy in self.at(0.0)]
        values = [run.mca_percent if column == "mca" else run.train_s for run in self.runs]
        return [value for value in values if value is not None]


def report_runs(
    folder: Path,
    out: Path,
    by: str | None = None,
    columns: str | None = None,
    echo: Callable[[str], object] = print,
    names: Sequence[str] | None = None,
) -> None:
    """Echo a table of the finished runs in ``folder``, at any depth; write it to ``out`` as runs.md and runs.csv.

    Args:
        folder: a run, or what holds runs.
        out: is made where it is not there.
        by: names of settings, with commas between, by which runs are grouped; None for all that differ.
        columns: what the table shows, as ``choose_columns`` reads it.
        echo: is given the table, and before it a note for each run that is left out and on all else that is odd.
        names: of the folders of runs that count; None for all.

    Raises:
        ValueError: there is no finished run, or no such setting or column.
    """
    check_output_folder(out)
    known = list(by_dotted_name(RunConfig()))
    named = None if by is None else [find_setting(name, known, f"--by {name}") for name in _split(by, "by")]
    notes: list[str] = []

    def note(sentence: str) -> None:
        notes.append(sentence)
        echo(f"note: {sentence}")

    settings, groups = group_runs(find_finished(folder, note, names), named, note)
    cells = table(settings, groups, choose_columns(columns, groups))
    text = [f"# Runs in {folder}", CAPTION, markdown_table(cells, range(len(settings)))]
    text += ["\n".join(f"- {sentence}" for sentence in notes)] if notes else []
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "runs.md", "\n\n".join(text) + "\n")
    write_csv(out / "runs.csv", csv_rows(settings, groups))
    echo(f"{CAPTION}\n\n{format_blocks(cells, len(settings))}")
    echo(f"\nreport: {out / 'runs.md'}, {out / 'runs.csv'}")


def _split(text: str, flag: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    require(all(names), f"--{flag} {text!r}: expected names with commas between, such as {EXAMPLES[flag]}")
    return names


def group_runs(
    runs: Sequence[FinishedRun], by: Sequence[str] | None, note: Callable[[str], object]
) -> tuple[list[str], list[Group]]:
    """Return the dotted names of the settings that tell groups of runs apart, and the groups in the order of these.

    To the settings ``by`` come those others in which runs of equal ``by`` differ, but for the seed and those that
    decide no result (``NOT_DECIDING``); without ``by`` these are all settings that differ. Of runs that share their
    seed too, the first counts.

    Args:
        by: dotted names; None for all that differ.
        note: is given a sentence on settings that were added, on those that differ between the groups and are not
            shown, and on each run that does not count.
    """
    chosen = list(dict.fromkeys(by or ()))
    differing = [
        name for name in runs[0].settings if name not in (*NOT_COMPARED, *chosen) and _differ(runs, name)
    ]
    alike = _gather(runs, chosen)
    added = [name for name in differing if any(_differ(members, name) for members in alike.values())]
    if by is not None and added:
        note(f"{', '.join(added)}: added to --by, since runs differ in it that --by does not tell apart")
    hidden = [name for name in differing if name not in added]
    if hidden:
        note(f"{', '.join(hidden)}: differs between the rows too, and is not shown; --by shows it")
    names = [*chosen, *added]
    groups = [
        Group(values, _first_of_seeds(members, note)) for values, members in _gather(runs, names).items()
    ]
    words = [_words(name) for name in names]
    groups.sort(key=lambda group: [_sort_key(*each) for each in zip(group.values, words, strict=True)])
    return names, groups


def _differ(runs: Sequence[FinishedRun], name: str) -> bool:
    return len({run.settings[name] for run in runs}) > 1


def _gather(runs: Sequence[FinishedRun], names: Sequence[str]) -> dict[tuple[object, ...], list[FinishedRun]]:
    found: dict[tuple[object, ...], list[FinishedRun]] = {}
    for run in runs:
        found.setdefault(tuple(run.settings[name] for name in names), []).append(run)
    return found


def _first_of_seeds(runs: Sequence[FinishedRun], note: Callable[[str], object]) -> list[FinishedRun]:
    """Return the first run of each seed, since a second one says nothing of the spread over seeds."""
    first: dict[object, FinishedRun] = {}
    for run in runs:
        kept = first.setdefault(run.settings[SEED], run)
        if kept is not run:
            note(
                f"left out: {run.folder} has the seed of {kept.folder}, and all settings that decide a result"
            )
    return list(first.values())


def _words(setting: str) -> tuple[object, ...]:
    """Return the words that a setting chooses from, in their order; nothing where it is no such choice."""
    hint = type_of(setting)
    return get_args(hint) if get_origin(hint) is Literal else ()


def _sort_key(value: object, words: Sequence[object] = ()) -> tuple[Any, ...]:
    """Order the values of a setting: none, numbers and ranges of them, ``words`` as listed, tuples, other text."""
    if value is None:
        return (0,)
    if value in words:
        return 2, words.index(value)
    if isinstance(value, tuple):
        return 3, [_sort_key(item) for item in value]
    if isinstance(value, int | float):
        return 1, value, value
    try:
        return 1, *reversed(parse_alpha(str(value)))  # a range by the most that it reaches
    except ValueError:
        return 4, str(value)


def choose_columns(text: str | None, groups: Sequence[Group]) -> list[str | float]:
    """Return what a table of groups shows beside their settings: noise levels, and words of ``SUMMARIES``.

    Args:
        text: some of these with commas between; "top1" stands for all levels. None for all that are not empty.

    Raises:
        ValueError: there is no such column, or no run was measured at that level.
    """
    levels = sorted({alpha for group in groups for alpha in group.levels})
    if text is None:
        return [*levels, *(word for word in SUMMARIES if any(group.summary(word) for group in groups))]
    found: list[str | float] = []
    for name in _split(text, "columns"):
        if name == TOP1:
            found += levels
        else:
            found.append(name if name in SUMMARIES else _level(name, levels))
    return list(dict.fromkeys(found))


def _level(name: str, levels: Sequence[float]) -> float:
    try:
        alpha = float(name)
    except ValueError:
        hint = nearest(name, COLUMNS, f"expected noise levels, or some of {', '.join(COLUMNS)}")
        raise ValueError(f"--columns {name}: no such column; {hint}") from None
    measured = ", ".join(f"{level:g}" for level in levels)
    require(
        alpha in levels, f"--columns {name}: no run was measured at this noise level; expected {measured}"
    )
    return alpha


def table(
    settings: Sequence[str], groups: Sequence[Group], columns: Sequence[str | float]
) -> list[list[str]]:
    """Return groups as cells, the first row being the heads: their settings, the number of runs, and ``columns``."""
    known = [short_name(name) for name in by_dotted_name(RunConfig())]
    heads = [short_name(name) if known.count(short_name(name)) == 1 else name for name in settings]
    heads += ["runs", *(SUMMARIES[each] if isinstance(each, str) else f"α {each:g}" for each in columns)]
    texts = [brief_texts(group.values[i] for group in groups) for i in range(len(settings))]
    cells = [heads]
    for group in groups:
        row = [text[value] for text, value in zip(texts, group.values, strict=True)]
        for column in columns:
            values = group.summary(column) if isinstance(column, str) else group.top1(column)
            row.append(mean_and_spread(values) if values else "")
        cells.append([*row[: len(settings)], str(len(group.runs)), *row[len(settings) :]])
    return cells


def csv_rows(settings: Sequence[str], groups: Sequence[Group]) -> list[dict[str, str]]:
    """Return the rows of runs.csv, one for each group and noise level, with the settings in full by dotted name.

    Shares are in percent, times in seconds, each the mean over the runs; beside it, with _std at its name's end, is
    their sample standard deviation, empty of a single run.
    """
    rows = []
    for group in groups:
        named = dict(zip(settings, map(_in_full, group.values), strict=True))
        named |= {
            "runs": str(len(group.runs)),
            "seeds": " ".join(str(run.settings[SEED]) for run in group.runs),
        }
        for alpha in group.levels:
            measured = group.at(alpha)
            figures = {
                "top1_percent": group.top1(alpha),
                "top5_percent": [accuracy.top5_percent for accuracy in measured],
                "mean_class_percent": [accuracy.mean_class_percent for accuracy in measured],
                "mean_top1_percent": group.summary("mean"),
                "mca_percent": group.summary("mca"),
                "train_s": group.summary("time"),
            }
            row = named | {"alpha": f"{alpha:g}", "num_clips": str(measured[0].num_clips)}
            for name, values in figures.items():
                row[name] = f"{np.mean(values):.3f}" if values else ""
                row[f"{name}_std"] = f"{np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
            rows.append(row)
    return rows


def brief_texts(values: Iterable[object]) -> dict[object, str]:
    """Return a text of about ``BRIEF`` letters for each value of a setting, longer where two would be alike.

    Of a path that is its end, of a tuple the first and last items and their number.
    """
    distinct = list(dict.fromkeys(values))
    for more in range(max(len(_in_full(value)) for value in distinct)):
        texts = {value: _brief(value, more) for value in distinct}
        if len(set(texts.values())) == len(texts):
            return texts
    return {value: _in_full(value) for value in distinct}


def _in_full(value: object) -> str:
    if isinstance(value, tuple):
        return " ".join(map(_in_full, value))
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float) and float(f"{value:g}") == value:
        return f"{value:g}"
    return "none" if value is None else str(value)


def _brief(value: object, more: int) -> str:
    """Return a text that is the longer, the greater ``more`` is."""
    text = _in_full(value)
    if isinstance(value, float):
        return text if more else f"{value:g}"
    if isinstance(value, tuple):
        items = [*map(_in_full, value)]
        if value == FAMILIES:
            return "all"
        if len(text) <= BRIEF or more + 2 >= len(items):
            return text
        return f"{' '.join(items[: more + 1])} … {items[-1]} ({len(items)})"
    end = "/".join(text.split("/")[-max(1, more) :])
    end = end if more else end.removesuffix(".safetensors")
    room = BRIEF + more
    return end if len(end) <= room else f"{end[: room // 2]}…{end[room // 2 + 1 - room :]}"


def format_blocks(cells: list[list[str]], settings: int, width: int = WIDTH) -> str:
    """Return cells as aligned text of ``width`` columns; what does not fit beside the rest follows below.

    Each block begins with the same columns: ``settings`` of them and the number of runs, or where these are wider
    than half of the table, the number of the row.
    """
    first, shared = 0, settings + 1
    if _width(cells) > width and _width([line[:shared] for line in cells]) > width // 2:
        cells = [["row", *cells[0]], *([str(i + 1), *line] for i, line in enumerate(cells[1:]))]
        first, shared = 1, 1
    blocks = [list(range(shared))]
    for i in range(shared, len(cells[0])):
        wider = [*blocks[-1], i]
        if len(blocks[-1]) > shared and _width([[line[j] for j in wider] for line in cells]) > width:
            blocks.append([*range(shared), i])
        else:
            blocks[-1] = wider
    texts = []
    for block in blocks:
        left = [place for place, i in enumerate(block) if first <= i < first + settings]
        texts.append(format_table([[line[i] for i in block] for line in cells], width, left))
    return "\n\n".join(texts)


def _width(cells: list[list[str]]) -> int:
    return sum(max(map(len, column)) + 2 for column in zip(*cells, strict=True)) - 2
