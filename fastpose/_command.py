"""What commands share: how each reads its options, prints its help, and ends."""

import argparse
import difflib
import importlib
import inspect
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, NoReturn, TypeVar

import fastpose
from fastpose.system.errors import error_sentence
from fastpose.system.openmp import keep_blas_alone, share_processors

T = TypeVar("T")
SHARED = ("train",)  # commands that several processes do together


def program_name(command: str) -> str:
    """Return what a command such as "train" or "pack ntu" was called by.

    That is "fastpose train", "python -m fastpose train" or "python -m fastpose.train".
    """
    started = Path(sys.argv[0]).name
    if started == f"{command.split()[0]}.py":
        return f"python -m fastpose.{command}"
    return f"python -m fastpose {command}" if started == "__main__.py" else f"fastpose {command}"


def read_first(argv: Sequence[str] | None, *flags: str) -> argparse.Namespace:
    """Return the values of some ``flags`` such as "--preset", None where absent; the rest is not looked at."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for flag in flags:
        parser.add_argument(flag)
    return parser.parse_known_args(argv)[0]


def help_topic(argv: Sequence[str]) -> str | None:
    """Return what help is asked for: "" by a bare --help or -h, "data" by --help data, None if there is no --help."""
    for i, argument in enumerate(argv):
        if argument == "--help-all":
            return "all"
        if argument in ("-h", "--help"):
            following = argv[i + 1] if i + 1 < len(argv) else ""
            return "" if following.startswith("-") else following
    return None


def parse_arguments(
    kind: Callable[..., T],
    argv: Sequence[str] | None,
    command: str,
    *,
    default: T | None = None,
    common: Sequence[str] = (),
) -> T:
    """Read a command line into a dataclass; print the help of the command and exit where it is asked for.

    Args:
        kind: The dataclass; the fields of dataclasses in it are flags beside its own. Or a function, to call with
            its parameters read in the same way.
        argv: The arguments; by default those of the process.
        command: The command's name, "train".
        default: Instance that holds the defaults; by default those of the dataclass.
        common: Nested fields that bare --help lists in full, the others by name only; none to list all.

    Raises:
        ValueError: This is one of several processes, which would each do the whole of the command.
    """
    import tyro

    from fastpose._help import format_help

    argv = sys.argv[1:] if argv is None else argv
    program = program_name(command)
    topic = help_topic(argv)
    if topic is not None:
        print(format_help(kind, program, default=default, common=common, topic=topic or None))
        sys.exit(0)
    if _rank() and command not in SHARED:
        raise ValueError(
            f"WORLD_SIZE = {os.environ['WORLD_SIZE']}: {command} runs in one process; only {', '.join(SHARED)} is for "
            "torchrun"
        )
    given: dict[str, Any] = {} if default is None else {"default": default}
    return tyro.cli(kind, args=argv, prog=program, config=(tyro.conf.OmitArgPrefixes,), **given)


def list_commands(program: str, text: str, commands: Mapping[str, str], more: str) -> str:
    """Return the help of a program that does one of several things, a line for each of ``commands``."""
    column = max(map(len, commands)) + 2
    lines = [f"  {name:<{column}}{does}" for name, does in commands.items()]
    return "\n".join([f"usage: {program} COMMAND ...", "", text, "", "commands:", *lines, "", more])


def reject_command(name: str, commands: Iterable[str]) -> NoReturn:
    """Raise ValueError that ``name`` is none of ``commands``, with the nearest of them."""
    known = list(commands)
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"expected one of {', '.join(known)}"
    raise ValueError(f"unknown command {name!r}; {hint}")


def run_one_of(
    commands: Mapping[str, Callable[..., T]], argv: Sequence[str] | None, command: str, text: str
) -> T:
    """Call the function that the first argument names, with the rest of a command line as its arguments.

    Args:
        commands: Functions by name; their parameters are the options.
        argv: The arguments; by default those of the process.
        command: The command's name, "pack".
        text: What it does, for its help.

    Raises:
        ValueError: There is no such function.
    """
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] in ("-h", "--help", "--help-all"):
        listed = {name: (inspect.getdoc(run) or "").partition("\n")[0] for name, run in commands.items()}
        program = program_name(command)
        print(list_commands(program, text, listed, f"{program} COMMAND --help lists its options."))
        sys.exit(0 if argv else 2)
    name, *arguments = argv
    if name not in commands:
        reject_command(name, commands)
    return parse_arguments(commands[name], arguments, f"{command} {name}")


class Command:
    """What happens in the body of ``with Command() as command:``, and ``command.status``, its exit status.

    The status is 0 unless the body sets it. A ``ValueError``, ``OSError`` or ``MemoryError``, or an output that cannot
    be written, is printed as one line "error: …" (2), Ctrl-C as ``interrupted`` (130), which the body may set, or empty
    for nothing; any other error is a fault of the program and keeps its traceback. A warning is printed as one line
    "warning: …".
    """

    def __init__(self) -> None:
        self.status = 0
        self.interrupted = "stopped"
        self._format_warning = warnings.formatwarning

    def __enter__(self) -> "Command":
        share_processors()
        keep_blas_alone()
        warnings.formatwarning = self._short_warning
        return self

    def _short_warning(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        line: str | None = None,
    ) -> str:
        """Return a warning for the user without the place in the code; others as Python shows them."""
        if issubclass(category, UserWarning):
            return f"warning: {message}\n"
        return self._format_warning(message, category, filename, lineno, line)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        warnings.formatwarning = self._format_warning
        lost = _flush_output()
        error = lost if error is None else error
        if isinstance(error, MemoryError):
            print(
                f"error: {_rank()}not enough memory ({error or 'the system gives no more'})", file=sys.stderr
            )
            self.status = 2
        elif isinstance(error, ValueError | OSError):
            print(f"error: {_rank()}{error_sentence(error)}", file=sys.stderr)
            self.status = 2
        elif isinstance(error, KeyboardInterrupt):
            if self.interrupted:
                print(f"\n{self.interrupted}", file=sys.stderr)
            self.status = 130
        elif error is not None:
            return False
        return True


def _rank() -> str:
    """Return "rank 1: " in one of several processes, as a launcher such as torchrun numbers them; else nothing."""
    several = os.environ.get("WORLD_SIZE", "1") not in ("", "1")
    return f"rank {os.environ.get('RANK', '?')}: " if several else ""


def _flush_output() -> OSError | None:
    """Write what was printed, and return why it cannot be; Python would tell so with a traceback, at its end."""
    try:
        sys.stdout.flush()
    except OSError as error:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())  # what is left of it
        return OSError(error.errno, error.strerror, "standard output")
    return None


def load_command(name: str) -> ModuleType:
    """Import the module of a command such as "predict".

    The attribute ``fastpose.predict`` stays the function of that name, where importing a submodule would set it.
    """
    module = importlib.import_module(f"fastpose.{name}")
    fastpose.__dict__.pop(name, None)
    return module
