"""The report of a reproduction as files: a page of HTML, Markdown with pictures, and a table."""

from pathlib import Path

from fastpose.drawing.style import printable
from fastpose.evaluation.curve_plot import plot_curves
from fastpose.reproduction.markdown import format_markdown
from fastpose.reproduction.page import format_page
from fastpose.reproduction.results import Reproduction, Section
from fastpose.reproduction.tables import REPORT, Line, has_curves, section_names, table_of
from fastpose.system.files import write_csv, write_text

PAGE = "report.html"
COLUMNS = (
    "section",
    "row",
    "alpha",
    "runs",
    "top1_mean_percent",
    "top1_std_percent",
    "top5_mean_percent",
    "mean_class_mean_percent",
    "published_top1_percent",
    "reason",
)


def write_report(reproduction: Reproduction, folder: str | Path) -> list[Path]:
    """Write report.html, report.md with a picture of each section's curves, and report.csv; return their paths.

    Each appears whole or not at all, and its bytes follow from the content alone. A missing folder is made.

    Raises:
        OSError: it cannot be written to.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    pictures = {}
    for section, name in zip(reproduction.sections, section_names(reproduction), strict=True):
        file = picture_name(name)
        if _draw(folder / file, section, reproduction.chance_percent):
            pictures[name] = file
    write_csv(folder / "report.csv", csv_rows(reproduction), columns=COLUMNS)
    write_text(folder / "report.md", format_markdown(reproduction, pictures))
    write_text(folder / PAGE, format_page(reproduction))
    return [folder / name for name in (PAGE, "report.md", "report.csv", *pictures.values())]


def report_files(reproduction: Reproduction) -> list[str]:
    """Return the names of the files that ``write_report`` writes."""
    named = zip(reproduction.sections, section_names(reproduction), strict=True)
    pictures = [picture_name(name) for section, name in named if has_curves(table_of(section))]
    return [PAGE, "report.md", "report.csv", *pictures]


def picture_name(section: str) -> str:
    """Return the file of the curves of a section."""
    return f"curves-{section}.png"


def csv_rows(reproduction: Reproduction) -> list[dict[str, str]]:
    """Return the table of ``COLUMNS``: a line per section, row and noise level that was measured or published.

    A row without either has one line, without a level.
    """
    return [
        {"section": printable(section.name), "row": printable(line.row.label), **cells}
        for section in reproduction.sections
        for line in table_of(section).lines
        for cells in _line_cells(line)
    ]


def _line_cells(line: Line) -> list[dict[str, str]]:
    reason = printable(line.row.reason)
    cells = []
    for alpha in sorted({*line.top1, *line.row.published}):
        told = {"alpha": f"{alpha:g}", "runs": "0", "reason": reason}
        if alpha in line.top1:
            top1 = line.top1[alpha]
            told |= {
                "runs": str(len(top1.values)),
                "top1_mean_percent": f"{top1.mean:.3f}",
                "top1_std_percent": "" if top1.std is None else f"{top1.std:.3f}",
                "top5_mean_percent": f"{line.top5[alpha].mean:.3f}",
                "mean_class_mean_percent": f"{line.mean_class[alpha].mean:.3f}",
            }
        if alpha in line.row.published:
            told["published_top1_percent"] = f"{line.row.published[alpha]:.3f}"
        cells.append(told)
    return cells or [{"runs": "0", "reason": reason}]


def _draw(path: Path, section: Section, chance_percent: float) -> bool:
    """Draw the curves of a section, and say whether there was any."""
    labels = [row.label.replace("$", r"\$") for row in section.rows]  # between two dollars is mathematics
    curves = {
        f"{label}-s{run.seed}": run.curve
        for label, row in zip(labels, section.rows, strict=True)
        for run in row.runs
        if run.curve
    }
    published = {
        label: row.published for label, row in zip(labels, section.rows, strict=True) if row.published
    }
    drawn = has_curves(table_of(section))
    if drawn:
        title = printable(section.title).replace("$", r"\$")
        title += f"; dashed: {REPORT}" if published else ""
        plot_curves(path, curves, title, [chance_percent], published)
    return drawn
