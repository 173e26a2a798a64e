"""Runs that are named rather than lie at a path: the models that fastpose comes with."""

import difflib
from pathlib import Path

STARTERS = Path(__file__).with_name("starters")


def starter_names() -> list[str]:
    """Return the names of the models that fastpose comes with."""
    return sorted(path.stem for path in STARTERS.glob("*.safetensors"))


def locate(run: str | Path) -> Path:
    """Return the weights file of a starter model by its name, anything else as a path; an existing path comes first."""
    path = Path(run)
    if not path.exists() and str(run) in starter_names():
        return STARTERS / f"{run}.safetensors"
    return path


def hint(run: str | Path) -> str:
    """Return what to add to the message that nothing is at ``run``: the starter model of nearly that name, or ""."""
    close = difflib.get_close_matches(str(run), starter_names(), n=1)
    return f"; did you mean the starter model {close[0]!r}?" if close else ""
