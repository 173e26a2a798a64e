"""`fastpose env`: print what fastpose runs on."""

import json
import sys
from dataclasses import dataclass

from fastpose._command import Command, parse_arguments


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """Print what fastpose runs on, as JSON: versions, processor, threads and GPU."""


def run(arguments: Arguments) -> None:
    from fastpose.system.environment import describe

    print(json.dumps(describe(), indent=2))


def main(argv: list[str] | None = None) -> int:
    with Command() as command:
        run(parse_arguments(Arguments, argv, "env"))
    return command.status


if __name__ == "__main__":
    sys.exit(main())
