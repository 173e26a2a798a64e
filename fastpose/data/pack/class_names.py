"""Names of classes in a text file, one a line."""

from pathlib import Path

from fastpose.data.pack.limits import MOST_CLASSES, MOST_LETTERS


def class_names_in(path: str | Path) -> list[str]:
    """Read class names, one a line.

    A mark of the encoding at the beginning and blank lines at the end, as editors write them, are left out.

    Raises:
        ValueError: no text in UTF-8, a blank line between names, a name met twice, or more names than any set has; the
            text has the line.
        OSError: the file cannot be read.
    """
    path = Path(path)
    if path.exists() and not path.is_file() and not path.is_dir():
        raise ValueError(f"{path}: is no ordinary file; expected class names, one a line")
    if path.is_file() and path.stat().st_size > MOST_CLASSES * MOST_LETTERS:
        raise ValueError(f"{path}: has {path.stat().st_size:,} bytes; expected class names, one a line")
    try:
        lines = path.read_text(encoding="utf-8-sig").rstrip().splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: no text of class names in UTF-8 ({error})") from error
    if len(lines) > MOST_CLASSES:
        raise ValueError(f"{path}: has {len(lines):,} lines, expected at most {MOST_CLASSES:,} class names")
    seen: dict[str, int] = {}
    for line, name in enumerate(map(str.strip, lines), start=1):
        if not name:
            raise ValueError(f"{path}, line {line}: expected a class name, got an empty line")
        if len(name) > MOST_LETTERS or "\0" in name:
            raise ValueError(f"{path}, line {line}: expected a class name, got {name!r:.60}")
        if name in seen:
            raise ValueError(f"{path}, line {line}: {name!r:.60} is the class of line {seen[name]}, too")
        seen[name] = line
    return list(seen)
