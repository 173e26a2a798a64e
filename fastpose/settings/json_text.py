"""JSON of settings, descriptions and facts, read strictly: each name once, and no memory but what it is worth."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

MOST_BYTES = 2**26  # of a file of settings or facts; such files have some thousands
# What Python keeps of what is no number, in bytes: an object, a list, a text that is no name.
OBJECT_COST, LIST_COST, TEXT_COST = 232, 80, 56
NUMBERS_OF_ONE = 2  # that explain the list or object which holds them, as x and y do theirs
FREE_COST = 400 * 2**20


def parse_json(text: str | bytes) -> Any:
    """Return what a JSON text holds.

    Raises:
        ValueError: it is no JSON, gives a name twice, holds NaN or Infinity, is nested too deep, or would take far more
            memory than its text does.
    """
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    check_cost(data)
    try:
        return json.loads(text, object_pairs_hook=unique_names, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def read_json(path: str | Path) -> Any:
    """Return what a JSON file of settings or facts holds, unchecked.

    Raises:
        ValueError: it cannot be read, is no ordinary file of at most 64 MB, or is no JSON that ``parse_json`` reads;
            the text names it.
    """
    path = Path(path)
    try:
        status = path.stat()
        if not path.is_file() and not path.is_dir():
            raise ValueError("it is no ordinary file")
        if status.st_size > MOST_BYTES:
            raise ValueError(f"it has {status.st_size:,} bytes, expected at most {MOST_BYTES:,}")
        return parse_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise ValueError(f"{path}: not a JSON file ({error})") from error


def check_cost(data: bytes) -> None:
    """Refuse JSON of which lists, objects and texts would take more than 3 times its bytes and 400 MB.

    Numbers, and the lists and objects that hold two or more of them, are not counted: keypoints are such.

    Raises:
        ValueError: they would.
    """
    if len(data) * OBJECT_COST <= FREE_COST:
        return
    empty = data.count(b"[]") + data.count(b"{}")
    lists, objects = data.count(b"["), data.count(b"{")
    texts = max(data.count(b'"') // 2 - data.count(b'":'), 0)
    numbers = max(data.count(b",") - empty - texts, 0)  # a comma stands between two values
    of_objects = min(objects, numbers // NUMBERS_OF_ONE)
    of_lists = min(lists, numbers // NUMBERS_OF_ONE - of_objects)
    cost = (objects - of_objects) * OBJECT_COST + (lists - of_lists) * LIST_COST + texts * TEXT_COST
    if cost > 3 * len(data) + FREE_COST:
        raise ValueError(
            f"reading its {len(data) / 1e6:,.0f} MB would take {cost / 1e6:,.0f} MB of memory for what is no number; "
            "divide it into several files"
        )


def unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the object of these names and values; ValueError where a name is given twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the name {twice!r:.80} is given twice")
    return found


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no number of JSON")
