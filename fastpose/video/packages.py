"""The packages of the extra `video`, imported where they are first needed."""

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

INSTALL = "pip install 'fastpose-action[video]'"


def video_package(name: str) -> Any:
    """Import one of the packages of the extra `video`, such as "av".

    Raises:
        ValueError: it is not installed, or cannot be imported; the text says how to install it.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        if isinstance(error, ModuleNotFoundError) and error.name == package:
            raise ValueError(f"{package} is needed to read videos: {INSTALL}") from error
        raise ValueError(f"{package} cannot be imported ({error}); it belongs to {INSTALL}") from error


def first_line(error: Exception) -> str:
    """Return the first line of what an error of a package says, which may go on with traces of native code."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


@contextmanager
def quiet_native_code() -> Iterator[None]:
    """Send to nowhere what native code writes to this process's error stream; what Python raises stays."""
    try:
        before = os.dup(2)
    except OSError:  # the stream is closed
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)
        os.close(nowhere)
