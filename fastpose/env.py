"""`python -m fastpose.env`: print what fastpose runs on."""

import argparse
import json
import sys

from fastpose._command import Command


def run() -> None:
    from fastpose.system.environment import describe

    print(json.dumps(describe(), indent=2))


def main(argv: list[str] | None = None) -> int:
    argparse.ArgumentParser(prog="fastpose env", description="Print what fastpose runs on.").parse_args(argv)
    with Command() as command:
        run()
    return command.status


if __name__ == "__main__":
    sys.exit(main())
