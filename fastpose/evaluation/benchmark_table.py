"""Benchmarks of one run as tables and bar charts: rates, and ratios to the peers and to the floor.

A benchmark says in pytest-benchmark's ``extra_info`` how much one call does, as ``clips``, ``frames``, ``bytes``
and / or ``flop``. Its group is its section. In a section, rows of ``role`` "peer" are what users run today and rows of
``role`` "floor" what the machine allows; the others are compared to them. A row with a ``case`` is compared to
the peers and floors of the same case. ``peak_bytes`` and a ``note`` are optional.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastpose.system.files import atomic_path

UNITS = (("flop", 1e9, "GFLOP/s"), ("bytes", 1e6, "MB/s"), ("clips", 1, "clips/s"), ("frames", 1, "frames/s"))


@dataclass(frozen=True, slots=True)
class Row:
    """One benchmark: its median seconds per call, and what one call does."""

    name: str
    section: str
    seconds: float
    info: dict[str, Any]

    @property
    def role(self) -> str | None:
        return self.info.get("role")

    def rate(self, kind: str) -> float:
        """Return "clips", "frames", "bytes" or "flop", of which ``info`` has the number in a call, per second."""
        return self.info[kind] / self.seconds


def read_rows(path: str | Path) -> list[Row]:
    """Read what ``pytest benchmarks --benchmark-json=FILE`` (or ``--benchmark-autosave``) wrote."""
    try:
        saved = json.loads(Path(path).read_text(encoding="utf-8"))
        return [
            Row(item["name"], item["group"] or "other", item["stats"]["median"], item["extra_info"])
            for item in saved["benchmarks"]
        ]
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: is no json file of pytest-benchmark ({error!r})") from error


def sections(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Return the rows by section, in order of appearance."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.section, []).append(row)
    return found


def ratio(row: Row, other: Row) -> float | None:
    """Return how many times faster ``row`` does the same work as ``other``."""
    for kind in ("clips", "frames", "flop", "bytes"):
        if kind in row.info and kind in other.info:
            return row.rate(kind) / other.rate(kind)
    return None


def compared_to(row: Row, others: list[Row]) -> list[Row]:
    """Return those of ``others`` that ``row`` is to be compared to."""
    return [other for other in others if other.info.get("case") in (None, row.info.get("case"))]


def floor_share(row: Row, floors: list[Row]) -> float | None:
    """Return the percentage of the floor's rate that ``row`` reaches, by bytes or by operations."""
    for floor in compared_to(row, floors):
        for kind in ("flop", "bytes"):
            if kind in row.info and kind in floor.info:
                return 100 * row.rate(kind) / floor.rate(kind)
    return None


def table(rows: list[Row]) -> list[list[str]]:
    """Return one section as cells, the first row being the heads of the columns."""
    peers = [row for row in rows if row.role == "peer"]
    floors = [row for row in rows if row.role == "floor"]
    kinds = [unit for unit in UNITS if any(unit[0] in row.info for row in rows)]
    heads = ["", "ms", *(name for _, _, name in kinds)]
    most = max((len(compared_to(row, peers)) for row in rows if row.role is None), default=0)
    heads += ["× peer"] if most == 1 else [f"× peer {i + 1}" for i in range(most)]
    heads += ["% of floor"] if floors else []
    memory = any("peak_bytes" in row.info for row in rows)
    heads += ["peak MB"] if memory else []
    cells = [[*heads, "note"]]
    for row in rows:
        line = [row.name, f"{row.seconds * 1e3:.3f}"]
        line += [f"{row.rate(kind) / scale:,.0f}" if kind in row.info else "" for kind, scale, _ in kinds]
        ratios = [ratio(row, peer) for peer in compared_to(row, peers)] if row.role is None else []
        line += [f"{value:.1f}" if value else "" for value in ratios] + [""] * (most - len(ratios))
        share = floor_share(row, floors) if row.role is None else None
        line += [f"{share:.0f}" if share is not None else ""] if floors else []
        line += [f"{row.info['peak_bytes'] / 1e6:,.0f}" if "peak_bytes" in row.info else ""] if memory else []
        label = f"[{row.role}] " if row.role else ""
        cells.append([*line, f"{label}{row.info.get('note', '')}".strip()])
    return cells


def format_table(cells: list[list[str]]) -> str:
    """Return cells as aligned text: names left, numbers right."""
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    last = len(widths) - 1
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i in (0, last) else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    )


def markdown_table(cells: list[list[str]]) -> str:
    """Return cells as a Markdown table."""
    lines = [cells[0], ["---", *("---:" for _ in cells[0][1:-1]), "---"], *cells[1:]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def plot_section(path: Path, title: str, rows: list[Row]) -> None:
    """Draw the rates of one section as bars, on a logarithmic scale; peers and floors in their own colours."""
    from matplotlib.figure import Figure

    kind, scale, unit = next(
        (unit for unit in reversed(UNITS) if all(unit[0] in row.info for row in rows)), (None, 1, "calls/s")
    )
    figure = Figure(figsize=(9, 1.2 + 0.32 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    colours = {None: "tab:blue", "peer": "tab:gray", "floor": "tab:olive"}
    values = [(row.rate(kind) if kind else 1 / row.seconds) / scale for row in rows]
    bars = axes.barh([row.name for row in rows], values, color=[colours[row.role] for row in rows])
    axes.bar_label(
        bars, [f"{value:,.0f}" if value >= 100 else f"{value:.3g}" for value in values], padding=3, fontsize=8
    )
    axes.set_xscale("log")
    axes.set_xlim(right=max(values) * 3)
    axes.invert_yaxis()
    axes.tick_params(labelsize=8)
    axes.set_xlabel(f"{unit} (gray: what users run today; olive: what the machine allows)")
    axes.set_title(title)
    with atomic_path(path) as partial:
        figure.savefig(partial, format="png", dpi=130)
