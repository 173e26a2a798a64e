"""A table of a reproduction as part of a page of HTML."""

import json
from collections.abc import Iterator

from fastpose.reproduction.chart import draw_curves, swatch
from fastpose.reproduction.details import FamilyMap, family_map, most_confused, pairs_text
from fastpose.reproduction.html_text import escaped, items, row, table
from fastpose.reproduction.results import RowResult, Section
from fastpose.reproduction.shade import shade
from fastpose.reproduction.tables import CLEAN, MISSING, REPORT, Line, Spread, Table, cost_of, table_of


def format_section(section: Section, name: str, chance_percent: float) -> str:
    """Return a section as HTML; ``name`` is its anchor, and begins the ids in it."""
    found = table_of(section)
    parts = [f"<p>{escaped(section.text)}</p>" if section.text else ""]
    if section.rows:
        parts += [_top1_table(found), _curves(found, name, chance_percent)]
        parts += [_families(section), _pairs(section), _costs(section), _settings(section)]
    else:
        parts.append('<p class="missing">This table has no rows.</p>')
    body = "\n".join(filter(None, parts))
    return (
        f'<section id="{name}" aria-labelledby="{name}--head">\n'
        f'<h2 id="{name}--head">{escaped(section.title)}</h2>\n{body}\n</section>'
    )


def _name(section: Section, one: RowResult) -> str:
    return f"{swatch(_index(section, one))}{escaped(one.label)}"


def _index(section: Section, one: RowResult) -> int:
    return next(i for i, other in enumerate(section.rows) if other is one)


def _top1_table(found: Table) -> str:
    heads = ["row", *found.heads]
    rows = [text for line in found.lines for text in _top1_rows(found, line, len(heads))]
    note = f'<p class="note">{escaped(found.mean_text)}</p>' if found.mean_text else ""
    italics = f"; in italics that of {REPORT}" if found.has_published else ""
    return table(f"Top-1 in percent by noise level α{italics}", heads, rows, kind="figures") + note


def _top1_rows(found: Table, line: Line, width: int) -> Iterator[str]:
    one = line.row
    head = f'{_name(found.section, one)}<span class="what">{escaped(one.text)}</span>'
    told = f'<span class="stay">{escaped(line.missing)}</span>'
    if line.top1:
        cells = [_cell(line.top1.get(alpha)) for alpha in found.alphas]
        cells += [_cell(line.mean)] if found.mean_alphas else []
        cells += [_cell(line.top5.get(CLEAN))] if found.has_top5 else []
        yield row(head, cells)
        if line.missing:
            yield f'<tr class="remark"><td colspan="{width}">{told}</td></tr>'
    else:
        yield f'<tr><th scope="row">{head}</th><td class="reason" colspan="{max(width - 1, 1)}">{told}</td></tr>'
    if one.published or one.published_top5 is not None:
        cells = [_number(one.published.get(alpha)) for alpha in found.alphas]
        cells += [_number(line.published_mean)] if found.mean_alphas else []
        cells += [_number(one.published_top5)] if found.has_top5 else []
        yield row("the report", cells, kind="published")


def _cell(spread: Spread | None) -> str:
    if spread is None:
        return MISSING
    mean, sign, deviation = str(spread).partition("±")
    return f"{mean}<small>±{deviation}</small>" if sign else mean


def _number(percent: float | None) -> str:
    return MISSING if percent is None else f"{percent:.1f}"


def _curves(found: Table, name: str, chance_percent: float) -> str:
    drawn = draw_curves(found, chance_percent, name)
    if not drawn:
        return ""
    shown = [line for line in found.lines if line.top1 or line.row.published]
    keys = [_name(found.section, line.row) + _key_runs(line) for line in shown]
    if any(len(spread.values) > 1 for line in shown for spread in line.top1.values()):
        keys.append('<span class="key-band"></span>band: lowest to highest run')
    if any(line.row.published for line in shown):
        keys.append(f'<span class="key-dashed"></span>dashed: {escaped(REPORT)}')
    keys.append(f'<span class="key-dotted"></span>always the largest class: {chance_percent:.1f} %')
    legend = items(keys).replace("<ul>", '<ul class="legend">', 1)
    return f'<figure><div class="box">{drawn}</div><figcaption>{legend}</figcaption></figure>'


def _key_runs(line: Line) -> str:
    counts = {len(spread.values) for spread in line.top1.values()}
    if not counts:
        return ", the report's alone"
    return f", mean of {max(counts)} runs" if max(counts) > 1 else ", one run"


def _families(section: Section) -> str:
    measured = [one for one in section.rows if any(run.families for run in one.runs)]
    maps = [_family_table(section, one, family_map(one)) for one in measured]
    return f'<h3>By family of noise</h3>\n<div class="maps">{"".join(maps)}</div>' if maps else ""


def _family_table(section: Section, one: RowResult, found: FamilyMap | None) -> str:
    if found is None:
        return (
            f'<p class="missing">{escaped(one.label)}: its runs have no noise family and level in common.</p>'
        )
    heads = ["family", *(f"{alpha:g}" for alpha in found.alphas), "mean"]
    rows = []
    for i, family in enumerate([*found.families, "mean"]):
        cells = "".join(
            '<td style="background:{};color:{}">{:.1f}</td>'.format(*shade(round(value, 1)), value)
            for value in found.top1[i].tolist()
        )
        kind = "means" if i == len(found.families) else ""
        rows.append(f'<tr class="{kind}"><th scope="row">{escaped(family)}</th>{cells}</tr>')
    head = f"<h4>{_name(section, one)}</h4>"
    caption = f"{one.label}: top-1 in percent by noise family and level; {found.text}"
    return f"<div>{head}{table(caption, heads, rows, kind='map')}</div>"


def _pairs(section: Section) -> str:
    lines = []
    for one in section.rows:
        for pair in most_confused(one):
            words = f"{escaped(pair.true)} taken for {escaped(pair.predicted)}"
            lines.append(row(_name(section, one), [words, str(pair.clips), f"{pair.percent_of_true:.1f} %"]))
    if not lines:
        return ""
    heads = ["row", "classes", "clips", "share"]
    return f"<h3>Most confused classes</h3>\n{table(pairs_text(section.rows), heads, lines, kind='words')}"


def _costs(section: Section) -> str:
    rows = []
    for one in section.rows:
        cost = cost_of(one)
        if cost is not None:
            cells = [cost.runs, cost.time, cost.threads, escaped(cost.sampling)]
            rows.append(row(_name(section, one), cells))
    if not rows:
        return ""
    heads = ["row", "runs", "training a run, mean", "threads", "sampling error of top-1 (Wilson, 95 %)"]
    caption = "Cost, and how sure the number of clips makes a figure"
    return f"<h3>Cost and sampling error</h3>\n{table(caption, heads, rows, kind='words')}"


def _settings(section: Section) -> str:
    parts = []
    for one in section.rows:
        cells = [
            f"<dt><code>{escaped(key)}</code></dt>"
            f"<dd><code>{escaped(json.dumps(value, ensure_ascii=False))}</code></dd>"
            for key, value in one.settings.items()
        ]
        told = f"<dl>{''.join(cells)}</dl>" if cells else "<p>The defaults.</p>"
        parts.append(f"<details><summary>{_name(section, one)}</summary>{told}</details>")
    return "\n".join(["<h3>Settings that differ from the defaults</h3>", *parts])
