"""Text in Markdown: whatever a name or path holds, it shows as that."""

import re

from fastpose.drawing.style import printable

MARKS = re.compile(r"[\\`*\[\]|~$]|(?<![^\W_])_|_(?![^\W_])")  # an underscore within a word is one
STARTS = re.compile(r"^(\d+(?=[.)])|(?=[#+=-]))")  # of a heading, a list, or a rule


def escaped(text: object) -> str:
    """Return text for a paragraph or a cell, on one line."""
    line = " ".join(printable(str(text)).split())
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return STARTS.sub(lambda found: f"{found[1]}\\", MARKS.sub(lambda found: f"\\{found[0]}", line))


def code(text: str) -> str:
    """Return text as code within a line."""
    line = printable(text)
    fence = _fence(line, 1)
    return f"{fence} {line} {fence}" if "`" in line else f"{fence}{line}{fence}"


def code_block(text: str) -> str:
    """Return text as lines of code."""
    lines = [printable(line) for line in text.splitlines()]
    fence = _fence("\n".join(lines), 3)
    return "\n".join([f"{fence}sh", *lines, fence])


def _fence(text: str, least: int) -> str:
    """Return more backticks than stand together in ``text``."""
    return "`" * max(least, 1 + max(map(len, re.findall("`+", text)), default=0))
