"""Runs that are named rather than lie at a path: the models that fastpose comes with, and those of the hub."""

import difflib
from pathlib import Path

from fastpose.weights.hub import HubAddress, download

STARTERS = Path(__file__).with_name("starters")


def starter_names() -> list[str]:
    """Return the names of the models that fastpose comes with."""
    return sorted(path.stem for path in STARTERS.glob("*.safetensors"))


def locate(run: str | Path) -> Path:
    """Return the weights file that ``run`` names; anything else as the path that it is.

    Args:
        run: the name of a starter model, unless that is an existing path, or an address "hf://user/repo", whose weights
            are fetched.

    Raises:
        ValueError: there is nothing at the address, or it cannot be reached.
    """
    address = HubAddress.parse(run)
    if address is not None:
        return download(address)
    path = Path(run)
    if not path.exists() and str(run) in starter_names():
        return STARTERS / f"{run}.safetensors"
    return path


def hint(run: str | Path) -> str:
    """Return what to add to the message that nothing is at ``run``: the starter model of nearly that name, or ""."""
    close = difflib.get_close_matches(str(run), starter_names(), n=1)
    return f"; did you mean the starter model {close[0]!r}?" if close else ""
