"""The report of a reproduction as one page of HTML, without scripts and without a network."""

from importlib import resources
from string import Template

from fastpose.evaluation.curve_plot import COLOURS
from fastpose.reproduction.html_text import escaped, items
from fastpose.reproduction.page_section import format_section
from fastpose.reproduction.results import Reproduction, Section
from fastpose.reproduction.tables import reading_notes, section_names

INK = "#000000"  # of COLOURS, which is drawn in the page's ink
# The same hues, lighter: each has a contrast of 5 or more on the page's dark ground.
DARK_COLOURS = ("#4DA6E8", "#FF7F3F", "#2CC79B", "#E59BC6", "#F5B93A", "#A8DDFF", INK)


def format_page(reproduction: Reproduction) -> str:
    """Return the page; its text follows from the content alone."""
    template = resources.files("fastpose.reproduction").joinpath("page.html").read_text(encoding="utf-8")
    names = section_names(reproduction)
    sections = [
        format_section(section, name, reproduction.chance_percent)
        for section, name in zip(reproduction.sections, names, strict=True)
    ]
    contents = [
        f'<a href="#{name}">{escaped(section.title)}</a> <span class="note">{_progress(section)}</span>'
        for section, name in zip(reproduction.sections, names, strict=True)
    ]
    facts = [
        f"<div><dt>{escaped(key)}</dt><dd>{escaped(value)}</dd></div>"
        for key, value in reproduction.facts.items()
    ]
    return Template(template).substitute(
        title=escaped(reproduction.title),
        light=_colour_rules(COLOURS),
        dark=_colour_rules(DARK_COLOURS),
        facts=f"<dl>{''.join(facts)}</dl>" if facts else "",
        command=escaped(reproduction.command),
        chance=f"{reproduction.chance_percent:.1f}",
        reading=escaped(" ".join(reading_notes(reproduction))),
        contents=items(contents) or '<p class="missing">There is no table.</p>',
        sections="\n".join(sections),
    )


def count_runs(section: Section) -> tuple[int, int]:
    """Return how many runs of a section are finished, and how many it is to have."""
    return sum(len(row.runs) for row in section.rows), sum(row.seeds for row in section.rows)


def _progress(section: Section) -> str:
    finished, wanted = count_runs(section)
    return f"{finished} of {wanted} runs"


def _colour_rules(colours: tuple[str, ...]) -> str:
    used = ("var(--ink)" if colour == INK else colour for colour in colours)
    return " ".join(f".c{i} {{ color: {colour}; }}" for i, colour in enumerate(used))
