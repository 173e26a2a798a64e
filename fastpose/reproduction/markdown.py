"""The report of a reproduction in Markdown."""

import json
from collections.abc import Iterator, Mapping

from fastpose.evaluation.benchmark_table import markdown_table
from fastpose.reproduction.details import family_map, most_confused, pairs_text
from fastpose.reproduction.markdown_text import code, code_block, escaped
from fastpose.reproduction.results import Reproduction, RowResult, Section
from fastpose.reproduction.tables import (
    CLEAN,
    MISSING,
    Line,
    Table,
    cost_of,
    reading_notes,
    section_names,
    table_of,
)


def format_markdown(reproduction: Reproduction, pictures: Mapping[str, str]) -> str:
    """Return the report.

    Args:
        reproduction: that it is of.
        pictures: the file of the curves by the section's name of ``section_names``, for those that have one.
    """
    facts = [f"- {escaped(key)}: {escaped(value)}" for key, value in reproduction.facts.items()]
    parts = [f"# {escaped(reproduction.title)}", "\n".join(facts), code_block(reproduction.command)]
    parts += [escaped(note) for note in reading_notes(reproduction)]
    parts.append(f"Always answering the largest class has a top-1 of {reproduction.chance_percent:.1f} %.")
    names = section_names(reproduction)
    for section, name in zip(reproduction.sections, names, strict=True):
        parts += [f"## {escaped(section.title)}", escaped(section.text)]
        parts += _section(section, pictures.get(name, ""))
    if not reproduction.sections:
        parts.append("There is no table.")
    return "\n\n".join(filter(None, parts)) + "\n"


def _section(section: Section, picture: str) -> Iterator[str]:
    if not section.rows:
        yield "This table has no rows."
        return
    found = table_of(section)
    yield markdown_table(_cells(found))
    yield found.mean_text
    yield "\n".join(
        f"- {escaped(line.row.label)}: {escaped(line.missing)}" for line in found.lines if line.missing
    )
    if picture:
        yield f"![Top-1 over noise: {escaped(section.title)}]({picture})"
    for row in section.rows:
        yield from _families(row)
    yield from _pairs(section)
    yield from _costs(section)
    yield "**Settings that differ from the defaults**"
    yield "\n".join(map(_settings, section.rows))


def _cells(found: Table) -> list[list[str]]:
    lines = [["", *found.heads, "trained"]]
    for line in found.lines:
        spreads = [line.top1.get(alpha) for alpha in found.alphas]
        spreads += [line.mean] if found.mean_alphas else []
        spreads += [line.top5.get(CLEAN)] if found.has_top5 else []
        cells = [MISSING if spread is None else str(spread) for spread in spreads]
        lines.append([escaped(line.row.label), *cells, escaped(line.row.text)])
        if line.row.published or line.row.published_top5 is not None:
            lines.append(_published(found, line))
    return lines


def _published(found: Table, line: Line) -> list[str]:
    row = line.row
    percents = [row.published.get(alpha) for alpha in found.alphas]
    percents += [line.published_mean] if found.mean_alphas else []
    percents += [row.published_top5] if found.has_top5 else []
    cells = [MISSING if percent is None else f"*{percent:.1f}*" for percent in percents]
    return [f"*{escaped(row.label)}, the report*", *cells, "*on NTU RGB+D 60, X-Sub*"]


def _families(row: RowResult) -> Iterator[str]:
    found = family_map(row)
    if found is not None:
        yield f"**{escaped(row.label)} by family of noise**, top-1 in percent: {found.text}."
        lines = [["", *(f"α = {alpha:g}" for alpha in found.alphas), "mean"]]
        for name, values in zip([*found.families, "mean"], found.top1.tolist(), strict=True):
            lines.append([escaped(name), *(f"{value:.1f}" for value in values)])
        yield markdown_table(lines, left=[0])


def _pairs(section: Section) -> Iterator[str]:
    lines = [
        [
            escaped(row.label),
            escaped(pair.true),
            escaped(pair.predicted),
            str(pair.clips),
            f"{pair.percent_of_true:.1f} %",
        ]
        for row in section.rows
        for pair in most_confused(row)
    ]
    if lines:
        yield f"**Most confused classes.** {pairs_text(section.rows)}"
        yield markdown_table([["", "class", "taken for", "clips", "share"], *lines], left=[0, 1, 2])


def _costs(section: Section) -> Iterator[str]:
    costs = [(row.label, cost) for row in section.rows if (cost := cost_of(row)) is not None]
    if costs:
        yield "**Cost, and how sure the number of clips makes a figure**"
        heads = ["", "runs", "training a run, mean", "threads", "sampling error of top-1 (Wilson, 95 %)"]
        lines = [[escaped(label), cost.runs, cost.time, cost.threads, cost.sampling] for label, cost in costs]
        yield markdown_table([heads, *lines])


def _settings(row: RowResult) -> str:
    settings = ", ".join(
        code(f"{key} = {json.dumps(value, ensure_ascii=False)}") for key, value in row.settings.items()
    )
    return f"- {escaped(row.label)}: {settings or 'the defaults'}"
