"""Settings from named presets, and from and to JSON files."""

import dataclasses
import difflib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_type_hints

from fastpose.settings.checks import is_text, require
from fastpose.settings.json_text import read_json
from fastpose.settings.presets import PRESETS
from fastpose.settings.run import RunConfig
from fastpose.settings.short_text import short


def from_dict(values: dict[str, Any], base: RunConfig | None = None, source: str = "config") -> RunConfig:
    """Return ``base`` with nested ``values`` put in place; unknown keys and wrong types are errors."""
    return _merge(base or RunConfig(), values, source)


def _merge(base: Any, values: Any, where: str) -> Any:
    require(isinstance(values, dict), f"{where}: expected an object of settings, got {short(values)}")
    hints = get_type_hints(type(base))
    changes: dict[str, Any] = {}
    for key, value in values.items():
        section = _section_of(base, key) if key not in hints else key
        if section is None:
            close = difflib.get_close_matches(key[:100], hints, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(hints)}"
            raise ValueError(f"{where}: unknown setting {short(key)}{hint}")
        current = changes.get(section, getattr(base, section))
        if section != key:
            changes[section] = _merge(current, {key: value}, where)
        elif dataclasses.is_dataclass(current):
            changes[key] = _merge(current, value, f"{where}: {key}")
        else:
            changes[key] = _coerce(value, hints[key], f"{where}: {key}")
    return dataclasses.replace(base, **changes)


def _section_of(base: Any, key: str) -> str | None:
    """Return the section that settings of files from before it stand beside: sampling's, among those of the data."""
    sampling = getattr(base, "sampling", None)
    return "sampling" if sampling is not None and hasattr(sampling, key) else None


def _coerce(value: Any, hint: Any, where: str) -> Any:
    """Check ``value`` from JSON against the field's type, turning lists to tuples and alphas to text."""
    args: tuple[Any, ...] = getattr(hint, "__args__", ())
    shown = short(value)
    origin = getattr(hint, "__origin__", None)
    if origin is Literal:
        require(value in args, f"{where} = {shown}: expected one of {', '.join(map(repr, args))}")
        return value
    if origin is tuple:
        require(isinstance(value, list | tuple), f"{where} = {shown}: expected a list")
        require(
            Ellipsis in args or len(value) == len(args), f"{where} = {shown}: expected {len(args)} numbers"
        )
        return tuple(_coerce(item, args[0], where) for item in value)
    if args:  # a union with None
        if value is None and type(None) in args:
            return None
        words = [word for arg in args for word in getattr(arg, "__args__", ())]  # a word among numbers
        require(
            not words or value in words or type(value) is args[0],
            f"{where} = {shown}: expected {args[0].__name__} or {' or '.join(map(repr, words))}",
        )
        return value if words else _coerce(value, args[0], where)
    if hint is str and where.endswith("alpha") and isinstance(value, int | float | list):
        return ":".join(map(str, value)) if isinstance(value, list) else str(value)
    if hint is float and type(value) is int:
        require(abs(value) < 2**63, f"{where} = {shown}: expected a number of the usual size")
        return float(value)
    require(type(value) is hint, f"{where} = {shown}: expected {hint.__name__}")
    require(
        hint is not str or is_text(value),
        f"{where} = {shown}: expected text, no half characters and no NUL",
    )
    return value


def from_preset(name: str) -> RunConfig:
    """Return the settings of a named preset; ValueError lists the names there are."""
    require(name in PRESETS, f"unknown preset {name!r}; expected one of {', '.join(PRESETS)}")
    return from_dict(PRESETS[name], source=f"preset {name}")


def from_file(path: str | Path, base: RunConfig | None = None) -> RunConfig:
    """Read settings from a JSON file over ``base``."""
    return from_dict(read_values(path), base, source=str(path))


def read_values(path: str | Path) -> Any:
    """Return what a JSON file of settings holds, unchecked.

    Raises:
        ValueError: it cannot be read, is no JSON, or names something twice, of which JSON would keep the last.
    """
    return read_json(path)


def by_name(values: Any) -> dict[str, Any]:
    """Return nested ``values`` by the names of the settings alone, without their sections."""
    found: dict[str, Any] = {}
    for name, value in values.items() if isinstance(values, dict) else ():
        found |= by_name(value) if isinstance(value, dict) else {name: value}
    return found


def by_dotted_name(config: RunConfig) -> dict[str, object]:
    """Return all settings by their names with those of their sections, such as "optim.lr"."""
    return dict(_flattened(dataclasses.asdict(config)))


def _flattened(values: dict[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flattened(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def to_json(config: RunConfig) -> str:
    """Return all settings as JSON text that `from_file` reads."""
    return json.dumps(dataclasses.asdict(config), indent=2) + "\n"
