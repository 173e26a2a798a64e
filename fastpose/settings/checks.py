"""What settings check of themselves."""

import functools
import math
import os
import warnings
from collections.abc import Callable
from numbers import Real
from typing import Any, Literal, get_args, get_origin, get_type_hints

from fastpose.settings.families import FAMILIES, check_families
from fastpose.settings.short_text import short

MOST_EPOCHS = 1_000_000
MOST_CLIPS = 2**31 - 1  # of a set, or of a batch
MOST_THREADS = 4096


def require(condition: bool, message: str) -> None:
    """Raise ValueError with ``message`` unless ``condition`` holds."""
    if not condition:
        raise ValueError(message)


def check(config: Any, expected: str, holds: Callable[[Any], object], *names: str) -> None:
    """Raise ValueError unless each setting of ``names`` ``holds``; a value that cannot even be asked does not."""
    for name in names:
        value = getattr(config, name)
        try:
            good = bool(holds(value))
        except (TypeError, ValueError, IndexError, OverflowError):
            good = False
        require(good, f"{name} = {short(value)}: expected {expected}")


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def check_words(config: Any) -> None:
    """Raise ValueError unless each setting that is one of a few words is one of them."""
    for name, hint in _hints(config.__class__).items():
        words = get_args(hint)
        if get_origin(hint) is Literal:
            check(config, f"one of {', '.join(words)}", words.__contains__, name)


def settle_levels(config: Any, name: str) -> None:
    """Sort the noise levels of ``name`` and keep each once, with a warning where one is repeated.

    Raises:
        ValueError: ``name`` is not one noise level or more.
    """
    check(config, "one noise level or more", len, name)
    check(config, "noise levels ≥ 0", lambda grid: all(0 <= a < math.inf for a in grid), name)
    named = list(getattr(config, name))
    levels = tuple(sorted(set(named)))
    repeated = ", ".join(f"{level:g}" for level in levels if named.count(level) > 1)
    if repeated:
        warnings.warn(f"{name}: {repeated} is named more than once, and is measured once", stacklevel=4)
    object.__setattr__(config, name, levels)  # of a frozen dataclass, by its own __post_init__


def settle_families(config: Any, name: str) -> None:
    """Put all noise families in place of the single word "all"; raise ValueError unless ``name`` is some families."""
    chosen = getattr(config, name)
    try:
        families = FAMILIES if chosen == "all" or list(chosen) == ["all"] else check_families(chosen)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    object.__setattr__(config, name, families)  # as above


def is_whole(value: Any, low: int, high: int) -> bool:
    """Return whether ``value`` is an integer of [low, high]; True and False are none."""
    return not isinstance(value, bool) and hasattr(value, "__index__") and low <= value.__index__() <= high


def is_text(value: str) -> bool:
    """Return whether ``value`` is text that can be printed or name a file: no half characters, and no NUL."""
    try:
        return b"\0" not in os.fsencode(value)
    except UnicodeEncodeError:
        return False


def is_range(value: Any, low: float, high: float) -> bool:
    """Return whether ``value`` is a pair (a, b) of numbers with low ≤ a ≤ b ≤ high."""
    first, last = value
    return all(isinstance(end, Real) for end in (first, last)) and low <= first <= last <= high


def is_changed(config: Any, name: str) -> bool:
    """Return whether the setting differs from its default."""
    return getattr(config, name) != getattr(type(config)(), name)
