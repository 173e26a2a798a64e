"""A folder that one process uses at a time."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK = ".lock"


class FolderInUseError(ValueError):
    """Another process is at work in a folder."""


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Keep other processes out of ``folder`` while the body runs.

    The lock is the system's, on a small file that stays: it ends with the process, however that ends. Where the file
    system knows no locks there is none.

    Raises:
        FolderInUseError: another process has it.
    """
    with open(folder / LOCK, "a+", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = f"process {file.read().strip()}".strip()
            raise FolderInUseError(
                f"{folder}: {holder} is at work in it; wait for its end, or name another folder"
            ) from None
        except OSError:  # no locks here
            pass
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
