"""Reading JSON, fast where it is plain, and whatever Python's own reader takes where it is not."""

import json
from pathlib import Path
from typing import Any

import orjson


def load_json(path: Path) -> Any:
    """Return the content of a JSON file; NaN and Infinity are taken too.

    Raises:
        ValueError: it is no JSON.
        OSError: it cannot be read.
    """
    data = path.read_bytes()
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:  # NaN, very long numbers, half characters: rare, and known to Python
        pass
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not a JSON file: {error}") from error
