"""Text in a page of HTML: whatever a name or path holds, it shows as that and ends nothing."""

import html
from collections.abc import Iterable

from fastpose.drawing.style import printable


def escaped(text: object) -> str:
    """Return text for an element or a quoted attribute; what has no shape, such as a line break, is a space."""
    return html.escape(printable(str(text)))


def items(texts: Iterable[str]) -> str:
    """Return a list of what is already HTML; empty of nothing."""
    lines = "".join(f"<li>{text}</li>" for text in texts)
    return f"<ul>{lines}</ul>" if lines else ""


def table(caption: str, heads: Iterable[str], rows: Iterable[str], *, kind: str = "") -> str:
    """Return a table that scrolls in a box of its own.

    Args:
        caption: plain text, which names the box too.
        heads: of the columns, as HTML.
        rows: what stands in its body, as HTML.
        kind: a class that it is styled by.
    """
    head = "".join(f'<th scope="col">{text}</th>' for text in heads)
    return (
        f'<div class="box" role="region" tabindex="0" aria-label="{escaped(caption)}">'
        f'<table class="{kind}"><caption><span class="stay">{escaped(caption)}</span></caption>'
        f"<thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def row(head: str, cells: Iterable[str], kind: str = "") -> str:
    """Return a row of a table: its head and cells as HTML."""
    rest = "".join(f"<td>{text}</td>" for text in cells)
    return f'<tr class="{kind}"><th scope="row">{head}</th>{rest}</tr>'
