"""Benchmarks of one run as tables and bar charts: rates, and ratios to the peers and to the floor.

A benchmark says in pytest-benchmark's ``extra_info`` how much one call does, as ``clips``, ``frames``, ``bytes``
and / or ``flop``. Its group is its section. In a section, rows of ``role`` "peer" are what users run today and rows of
``role`` "floor" what the machine allows; the others are compared to them. Optional:

- ``row``: the words that name it, by default the benchmark's name;
- ``peer``: the name of a peer's column, such as "strong"; peers without one are "peer";
- ``case`` and ``dtype``: a row is compared to peers and floors of its own case and dtype, and to those that name none
  (or a list with its own);
- ``threads``: a row is compared to floors of as many threads;
- ``peak_bytes`` and ``note``.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastpose.settings.json_text import read_json
from fastpose.system.files import atomic_path

UNITS = {
    "bytes": (1e9, "GB/s"),
    "clips": (1, "clips/s"),
    "frames": (1, "frames/s"),
    "flop": (1e9, "GFLOP/s"),
}
WIDTH = 100  # columns of a printed table
NAME_AND_NOTE = (0, -1)  # columns of words in a table of benchmarks
MACHINE = "fastpose"  # where a saved run has the words for its machine, in what pytest-benchmark says of it


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

    @property
    def peer(self) -> str:
        """The name of a peer's column."""
        return self.info.get("peer", "peer")

    @property
    def label(self) -> str:
        words = self.info.get("row", self.name.removeprefix("test_"))
        prefix = {"peer": f"{self.peer}: ", "floor": "floor: "}.get(self.role or "", "")
        return prefix + words

    def rate(self, kind: str) -> float:
        """Return "clips", "frames", "bytes" or "flop", of which ``info`` has the number in a call, per second."""
        return self.info[kind] / self.seconds


@dataclass(frozen=True, slots=True)
class Run:
    """The benchmarks of one run, and the words for the machine that they ran on."""

    machine: str
    rows: list[Row]


def read_run(path: str | Path) -> Run:
    """Read what ``pytest benchmarks --benchmark-json=FILE`` (or ``--benchmark-autosave``) wrote."""
    try:
        saved = read_json(path)
    except ValueError as error:
        if isinstance(error.__cause__, OSError):
            raise
        raise ValueError(f"{path}: is no json file of pytest-benchmark ({error.__cause__})") from error
    try:
        rows = [
            Row(item["name"], item["group"] or "other", item["stats"]["median"], item["extra_info"])
            for item in saved["benchmarks"]
        ]
        machine = saved.get("machine_info", {}).get(MACHINE, "unknown machine")
        for row in rows:
            _check(row)
        if not isinstance(machine, str):
            raise ValueError("its machine_info is no text")
        return Run(machine, rows)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: is no json file of pytest-benchmark ({error!r:.200})") from error


def _check(row: Row) -> None:
    """Refuse what no benchmark of this form says.

    Raises:
        ValueError: a name is no text, or a number is none, not positive, or not finite.
    """
    texts = [
        row.name,
        row.section,
        *(row.info[key] for key in ("role", "peer", "row", "note") if key in row.info),
    ]
    numbers = [
        row.seconds,
        *(row.info[key] for key in UNITS if key in row.info),
        row.info.get("peak_bytes", 0) + 1,
    ]
    if not all(isinstance(text, str | None) for text in texts) or row.name is None:
        raise ValueError(f"a name or note of {row.name!r:.60} is no text")
    if any(isinstance(x, bool) or not isinstance(x, int | float) or not 0 < x < 1e300 for x in numbers):
        raise ValueError(f"a number of {row.name!r:.60} is not positive and finite")


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


def compared_to(row: Row, others: list[Row], keys: Iterable[str] = ("case", "dtype")) -> list[Row]:
    """Return those of ``others`` that name none of ``keys``, or the same as ``row``."""

    def fits(named: Any, own: Any) -> bool:
        return named is None or (own in named if isinstance(named, list) else own == named)

    return [other for other in others if all(fits(other.info.get(key), row.info.get(key)) for key in keys)]


def floor_share(row: Row, floors: list[Row]) -> float | None:
    """Return the percentage of the floor's rate that ``row`` reaches, by bytes or by operations."""
    for floor in compared_to(row, floors, ("case", "dtype", "threads")):
        for kind in ("flop", "bytes"):
            if kind in row.info and kind in floor.info:
                return 100 * row.rate(kind) / floor.rate(kind)
    return None


def table(rows: list[Row]) -> list[list[str]]:
    """Return one section as cells, the first row being the heads of the columns."""
    peers = [row for row in rows if row.role == "peer"]
    floors = [row for row in rows if row.role == "floor"]
    unit = _unit(rows)
    compared = {id(row): _peers_of(row, peers) for row in rows if row.role is None}
    columns = list(dict.fromkeys(name for found in compared.values() for name in found))
    memory = any("peak_bytes" in row.info for row in rows)
    heads = ["", "ms", *([UNITS[unit][1]] if unit else []), *(f"× {name}" for name in columns)]
    heads += ["% of floor"] if floors else []
    heads += ["peak MB"] if memory else []
    cells = [[*heads, "note"]]
    for row in rows:
        line = [row.label, _digits(row.seconds * 1e3)]
        if unit:
            line.append(_digits(row.rate(unit) / UNITS[unit][0]) if unit in row.info else "")
        found = compared.get(id(row), {})
        ratios = [ratio(row, found[name]) if name in found else None for name in columns]
        line += ["" if value is None else _digits(value, 2) for value in ratios]
        share = floor_share(row, floors) if row.role is None else None
        line += [f"{share:.0f}" if share is not None else ""] if floors else []
        line += [f"{row.info['peak_bytes'] / 1e6:,.0f}" if "peak_bytes" in row.info else ""] if memory else []
        cells.append([*line, _note(row, unit)])
    return cells


def _unit(rows: list[Row]) -> str | None:
    """Return what a section's rates count: bytes where its floor does, else what all but its floors say first."""
    if any(row.role == "floor" and "bytes" in row.info and "flop" not in row.info for row in rows):
        return "bytes"
    for kind in ("clips", "frames", "bytes", "flop"):
        if any(row.role != "floor" and kind in row.info for row in rows):
            return kind
    return None


def _peers_of(row: Row, peers: list[Row]) -> dict[str, Row]:
    """Return the peers that ``row`` is compared to by the names of their columns, numbered where names repeat."""
    found = compared_to(row, peers)
    names = [peer.peer for peer in found]
    numbered = [
        name if names.count(name) == 1 else f"{name} {names[: i + 1].count(name)}"
        for i, name in enumerate(names)
    ]
    return dict(zip(numbered, found, strict=True))


def _note(row: Row, unit: str | None) -> str:
    note = row.info.get("note", "")
    if row.role == "floor" and unit not in row.info and "flop" in row.info:
        note = ", ".join(filter(None, [f"{row.rate('flop') / 1e9:,.0f} GFLOP/s", note]))
    return note


def _digits(value: float, digits: int = 3) -> str:
    """Return a number with ``digits`` significant digits, or so many behind the point."""
    places = max(0, digits - len(str(int(value)))) if value >= 1 else digits
    return f"{value:,.{places}f}"


def format_table(cells: list[list[str]], width: int = WIDTH, left: Sequence[int] = NAME_AND_NOTE) -> str:
    """Return cells as aligned text; what is beyond ``width`` columns is cut.

    The columns ``left`` are aligned left, by default the first and the last, the others right.
    """
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    named = {i % len(widths) for i in left}
    lines = (
        "  ".join(
            cell.ljust(width) if i in named else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    )
    return "\n".join(line if len(line) <= width else f"{line[: width - 1]}…" for line in lines)


def markdown_table(cells: list[list[str]], left: Sequence[int] = NAME_AND_NOTE) -> str:
    """Return cells as a Markdown table, aligned as by ``format_table``."""
    named = {i % len(cells[0]) for i in left}
    rule = ["---" if i in named else "---:" for i in range(len(cells[0]))]
    lines = [cells[0], rule, *cells[1:]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def plot_section(path: Path, title: str, rows: list[Row]) -> None:
    """Draw the rates of one section as bars, on a logarithmic scale; peers and floors in their own colours."""
    from matplotlib.figure import Figure

    kind = _unit(rows)
    scale, unit = UNITS[kind] if kind else (1, "calls/s")
    rows = [row for row in rows if kind is None or kind in row.info]
    figure = Figure(figsize=(9, 1.2 + 0.32 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    colours = {None: "tab:blue", "peer": "tab:gray", "floor": "tab:olive"}
    values = [(row.rate(kind) if kind else 1 / row.seconds) / scale for row in rows]
    places = range(len(rows))  # names need not differ
    bars = axes.barh(places, values, color=[colours[row.role] for row in rows])
    axes.set_yticks(places, [row.label for row in rows])
    axes.bar_label(bars, [_digits(value) for value in values], padding=3, fontsize=8)
    axes.set_xscale("log")
    axes.set_xlim(right=max(values) * 3)
    axes.invert_yaxis()
    axes.tick_params(labelsize=8)
    axes.set_xlabel(f"{unit} (gray: what users run today; olive: what the machine allows)")
    axes.set_title(title)
    with atomic_path(path) as partial:
        figure.savefig(partial, format="png", dpi=130)
