"""`python -m fastpose COMMAND …`, which is also the console command `fastpose`."""

import sys

from fastpose._command import load_command

COMMANDS = {
    "train": "train, measure the curve of accuracy over noise, compare",
    "evaluate": "measure trained runs at every noise level",
    "predict": "classify the clips in files",
    "export": "write a trained model for other programs",
    "pack": "turn a data set into one packed file",
    "report": "tables and bar charts of a saved benchmark run",
    "env": "print what fastpose runs on",
}


def usage() -> str:
    """Return the list of commands, a line each."""
    lines = [f"  {name:<10}{does}" for name, does in COMMANDS.items()]
    return "\n".join(
        ["usage: fastpose COMMAND …", "", *lines, "", "fastpose COMMAND --help tells its options."]
    )


def main(argv: list[str] | None = None) -> int:
    """Run the command that the first argument names; return the exit status, 2 for one that is unknown."""
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] in ("-h", "--help"):
        print(usage())
        return 0 if argv else 2
    name, *arguments = argv
    if name not in COMMANDS:
        print(f"error: unknown command {name!r}; expected one of {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    return load_command(name).main(arguments)


if __name__ == "__main__":
    sys.exit(main())
