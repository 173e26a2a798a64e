"""What commands share: flags that others take their defaults from, and how every command ends."""

import argparse
import importlib
import sys
from collections.abc import Sequence
from types import ModuleType, TracebackType

import fastpose
from fastpose.system.openmp import share_processors


def read_first(argv: Sequence[str] | None, *flags: str) -> argparse.Namespace:
    """Return the values of some ``flags`` such as "--preset", None where absent; the rest is not looked at."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for flag in flags:
        parser.add_argument(flag)
    return parser.parse_known_args(argv)[0]


class Command:
    """What happens in the body of ``with Command() as command:``, and ``command.status``, its exit status.

    The status is 0 unless the body sets it. A ``ValueError`` or ``OSError`` is printed as one line "error: …" (2),
    Ctrl-C as ``interrupted`` (130); any other error is a fault of the program and keeps its traceback.
    """

    def __init__(self, *, interrupted: str = "stopped") -> None:
        self.status = 0
        self._interrupted = interrupted

    def __enter__(self) -> "Command":
        share_processors()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if isinstance(error, ValueError | OSError):
            name, reason = getattr(error, "filename", None), getattr(error, "strerror", None)
            print(f"error: {name}: {reason}" if name and reason else f"error: {error}", file=sys.stderr)
            self.status = 2
        elif isinstance(error, KeyboardInterrupt):
            print(f"\n{self._interrupted}", file=sys.stderr)
            self.status = 130
        else:
            return False
        return True


def load_command(name: str) -> ModuleType:
    """Import the module of a command such as "predict".

    The attribute ``fastpose.predict`` stays the function of that name, where importing a submodule would set it.
    """
    module = importlib.import_module(f"fastpose.{name}")
    vars(fastpose).pop(name, None)
    return module
