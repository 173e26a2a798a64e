"""What commands share: flags that others take their defaults from, and how every command ends."""

import argparse
import importlib
import sys
from collections.abc import Callable, Sequence
from types import ModuleType

import fastpose
from fastpose.system.openmp import share_processors


def read_first(argv: Sequence[str] | None, *flags: str) -> argparse.Namespace:
    """Return the values of some ``flags`` such as "--preset", None where absent; the rest is not looked at."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for flag in flags:
        parser.add_argument(flag)
    return parser.parse_known_args(argv)[0]


def run_command(run: Callable[[], int | None], *, interrupted: str = "stopped") -> int:
    """Call ``run``, and return the exit status of its command: what it returns, None being 0.

    A ``ValueError`` or ``OSError`` is printed as one line "error: …" (2), Ctrl-C as ``interrupted`` (130);
    any other error is a fault of the program and keeps its traceback.
    """
    share_processors()
    try:
        return run() or 0
    except (ValueError, OSError) as error:
        name, reason = getattr(error, "filename", None), getattr(error, "strerror", None)
        print(f"error: {name}: {reason}" if name and reason else f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\n{interrupted}", file=sys.stderr)
        return 130


def load_command(name: str) -> ModuleType:
    """Import the module of a command such as "predict".

    The attribute ``fastpose.predict`` stays the function of that name, where importing a submodule would set it.
    """
    module = importlib.import_module(f"fastpose.{name}")
    vars(fastpose).pop(name, None)
    return module
