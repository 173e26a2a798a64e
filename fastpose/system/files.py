"""Files that appear whole or not at all, and outputs that are refused before any work is done for them."""

import csv
import errno
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def atomic_path(target: str | Path) -> Iterator[Path]:
    """Yield a path beside ``target``; on success it replaces ``target``, on failure it is removed.

    File and folder are on the disk when this ends: what a name stands for is the old content or the new, whatever
    happens to the machine.

    Raises:
        OSError: the folder is missing, or the disk is full; ``target``, which it names, is then as it was before.
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
        sync_folder(target.parent)
    except BaseException as error:
        _remove(partial)
        if isinstance(error, OSError) and error.filename in (None, str(partial), partial):
            raise _named(error, target) from error
        raise


def sync_folder(folder: Path) -> None:
    """Put the names in ``folder`` on the disk, so that a renamed file keeps its new name.

    Where the file system cannot do this, nothing happens.
    """
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)


def _remove(partial: Path) -> None:
    with suppress(OSError):  # such as of a read-only disk: the error that led here tells
        partial.unlink(missing_ok=True)


def _named(error: OSError, target: Path) -> OSError:
    """Return ``error``, of the writing of a file, with the name of that file."""
    if error.errno is None or error.strerror is None:  # a library's own
        return OSError(errno.EIO, f"writing failed ({error})", str(target))
    return OSError(error.errno, error.strerror, str(target))


def check_target(path: str | Path) -> None:
    """Refuse a file that cannot be written, before any work is done for it.

    Raises:
        OSError: its folder is missing or cannot be written to, the disk is full, or it is a folder or a device.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "the output's folder does not exist", str(path.parent))
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "the output must be a file, not a folder", str(path))
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "the output must be an ordinary file, not a device or pipe", str(path))
    _try_to_write(path.parent, path)


def check_output_folder(folder: str | Path) -> None:
    """Refuse a folder that cannot be made or written to, before any work is done for what is to be in it.

    It is not made; what there is of the path is tried.

    Raises:
        OSError: it, or a part of its path, is a file, or cannot be written to; or the disk is full.
    """
    folder = Path(folder)
    there = next((path for path in (folder, *folder.absolute().parents) if path.exists()), Path("/"))
    if not there.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "the output must be a folder, not a file", str(there))
    _try_to_write(there, folder)


def _try_to_write(folder: Path, target: Path) -> None:
    """Write a file that nobody sees in ``folder``, for the reason why ``target`` could not be written."""
    try:
        with tempfile.TemporaryFile(dir=folder, prefix=".fastpose") as file:
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise OSError(error.errno, f"cannot be written ({error.strerror})", str(target)) from error


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
