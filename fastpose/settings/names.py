"""Settings by the names that people type: which one is meant, and what its values may be."""

import difflib
from collections.abc import Iterable, Sequence
from typing import Any, get_type_hints

from fastpose.settings.run import RunConfig


def find_setting(name: str, known: Sequence[str], where: str) -> str:
    """Return which of the dotted names ``known`` ends as ``name``, such as "lr", "sampling.size" or "optim.lr".

    Raises:
        ValueError: none does, or several do; the sentence begins with ``where``.
    """
    wanted = name.replace("-", "_")  # as flags are written
    found = [wanted] if wanted in known else [each for each in known if each.endswith(f".{wanted}")]
    if len(found) > 1:
        raise ValueError(f"{where}: several settings are named so; expected {' or '.join(found)}")
    if not found:
        other_section = [each for each in known if short_name(each) == short_name(wanted)]
        if other_section:
            raise ValueError(f"{where}: no such setting; did you mean {other_section[0]!r}?")
        hint = nearest(wanted, [*map(short_name, known), *known], "expected a setting such as lr or optim.lr")
        raise ValueError(f"{where}: no such setting; {hint}")
    return found[0]


def short_name(setting: str) -> str:
    """Return the last word of a dotted name, which is that of its flag."""
    return setting.rpartition(".")[2]


def nearest(word: str, known: Iterable[str], otherwise: str) -> str:
    """Return the question whether the most similar of ``known`` was meant, or ``otherwise`` where none is similar."""
    close = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {close[0]!r}?" if close else otherwise


def type_of(setting: str) -> Any:
    """Return the type of a setting, by its dotted name, as its field is annotated."""
    hint: Any = RunConfig
    for name in setting.split("."):
        hint = get_type_hints(hint)[name]
    return hint
