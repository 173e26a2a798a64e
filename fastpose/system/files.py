"""Files that appear whole or not at all, and whose bytes follow from their content."""

import csv
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_path(target: str | Path) -> Iterator[Path]:
    """Yield a path beside ``target``; on success it replaces ``target``, on failure it is removed.

    Raises:
        OSError: the folder is missing, or the disk is full; ``target`` is then as it was before.
    """
    target = Path(target)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        partial.touch()
        permissions = partial.stat().st_mode & 0o777  # by the umask; some writers make private files
        yield partial
        partial.chmod(permissions)
        with open(partial, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(partial, target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_text(target: str | Path, text: str) -> None:
    """Write ``text`` to ``target`` as UTF-8, atomically."""
    with atomic_path(target) as partial:
        partial.write_text(text, encoding="utf-8")


def write_csv(
    path: str | Path, rows: Sequence[Mapping[str, object]], columns: Sequence[str] | None = None
) -> None:
    """Write dictionaries as a csv table, atomically: a column for every key, empty where a row lacks it.

    ``columns`` name them where there may be no row.
    """
    names = list(dict.fromkeys(key for row in rows for key in row)) if columns is None else list(columns)
    with atomic_path(path) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def sort_metadata(path: Path) -> None:
    """Put the metadata of a safetensors file in the order of its keys; the library's order is random."""
    with open(path, "rb+") as file:
        size = int.from_bytes(file.read(8), "little")
        text = _sorted_header(file.read(size))
        file.seek(8)
        file.write(text)


def with_sorted_metadata(content: bytes) -> bytes:
    """Return what such a file holds after ``sort_metadata``."""
    end = 8 + int.from_bytes(content[:8], "little")
    return content[:8] + _sorted_header(content[8:end]) + content[end:]


def _sorted_header(text: bytes) -> bytes:
    header = json.loads(text)
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    ordered = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode().ljust(len(text))
    assert len(ordered) == len(text), "the arrays begin where the header ends"
    return ordered
