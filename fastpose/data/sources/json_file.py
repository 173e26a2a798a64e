"""Reading JSON, fast where it is plain, and whatever Python's own reader takes where it is not."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from fastpose.settings.json_text import check_cost, unique_names

_MOST_SLOW = 2**26  # bytes of a file that Python's reader is given on any error
_CONSTANTS = (b"NaN", b"Infinity")


def load_json(path: Path, unique: Sequence[str] = ()) -> Any:
    """Return the content of a JSON file; NaN and Infinity are taken too.

    Args:
        unique: names that no object may give twice, where the file is an object with the first of them, or a list.

    Raises:
        ValueError: it is no JSON, gives such a name twice, or holds little more than empty lists and objects, which
            would fill the memory.
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        head = file.read(1024)
        if head and not head.strip(b"\0"):
            raise ValueError("not a JSON file: it begins with zeros, as files do whose content was lost")
        file.seek(0)
        data = file.read()
    check_cost(data)
    try:
        content = orjson.loads(data)
        if not _may_repeat(data, content, unique):
            return content
    except (
        orjson.JSONDecodeError
    ) as error:  # NaN, very long numbers, half characters: rare, and known to Python
        if len(data) > _MOST_SLOW and not any(constant in data for constant in _CONSTANTS):
            raise ValueError(f"not a JSON file: {error}") from error
    try:
        return json.loads(data, object_pairs_hook=partial(_once, unique))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not a JSON file: {error}") from error


def _once(names: Sequence[str], pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the object of these names and values; ValueError where one of ``names`` is given twice."""
    found = dict(pairs)
    return (
        found
        if len(found) == len(pairs)
        else found | unique_names([pair for pair in pairs if pair[0] in names])
    )


def _may_repeat(data: bytes, content: Any, names: Sequence[str]) -> bool:
    """Return whether some object may give one of ``names`` twice, of which orjson takes the last."""
    objects = content if isinstance(content, list) else [content]
    if not names or not objects or not isinstance(objects[0], dict) or names[0] not in objects[0]:
        return False
    objects = [each for each in objects if isinstance(each, dict)]
    return any(data.count(f'"{name}"'.encode()) > sum(name in each for each in objects) for name in names)
