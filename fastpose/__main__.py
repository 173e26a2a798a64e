"""`fastpose COMMAND …`, which is also `python -m fastpose COMMAND …`."""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Union

from fastpose import __version__
from fastpose._command import Command, list_commands, load_command, reject_command

COMMANDS = {
    "train": "train, measure the curve of accuracy over noise, compare",
    "evaluate": "measure trained runs at every noise level",
    "predict": "classify the clips in files",
    "export": "write a trained model for other programs",
    "pack": "turn a data set into one packed file",
    "show": "draw a clip, clean and noisy, as image, animation or page",
    "denoise": "filter the noise out of packed clips",
    "sweep": "train a grid of settings, or search in one, here or on SLURM",
    "reproduce": "the report's tables, and fastpose's own, on your data",
    "verify": "read files to their end: are they what was written?",
    "report": "tables of finished runs, or of a saved benchmark run",
    "env": "print what fastpose runs on",
}
COMPLETION = ("--tyro-print-completion", "--tyro-write-completion")


def usage() -> str:
    """Return the list of commands, a line each."""
    more = (
        "fastpose COMMAND --help lists its options, fastpose --version prints the version, and\n"
        "fastpose --tyro-print-completion bash (or zsh, fish) prints a completion script."
    )
    return list_commands(
        "fastpose", "Pose-based action recognition, robust to noisy keypoints.", COMMANDS, more
    )


def write_completion(argv: Sequence[str]) -> None:
    """Print or write the completion script of all commands, as tyro's flag ``argv[0]`` says."""
    import tyro

    def choice(commands: Mapping[str, Callable[..., Any]]) -> Any:
        named = [
            Annotated[Any, tyro.conf.subcommand(name=name, constructor=command)]
            for name, command in commands.items()
        ]
        alone = Annotated[None, tyro.conf.Suppress]  # without which one command would not be a subcommand
        return Union[(*named, alone)]

    kinds: dict[str, Any] = {}
    for name in COMMANDS:
        module = load_command(name)
        kinds[name] = module.Arguments if hasattr(module, "Arguments") else choice(module.COMMANDS)
    tyro.cli(choice(kinds), args=argv, prog="fastpose", config=(tyro.conf.OmitArgPrefixes,))


def main(argv: list[str] | None = None) -> int:
    """Run the command that the first argument names; return the exit status, 2 for one that is unknown."""
    argv = sys.argv[1:] if argv is None else argv
    if argv and argv[0] in COMMANDS:
        return load_command(argv[0]).main(argv[1:])
    with Command() as command:
        if not argv or argv[0] in ("-h", "--help"):
            print(usage())
            command.status = 0 if argv else 2
        elif argv[0] == "--version":
            print(__version__)
        elif argv[0] in COMPLETION:
            write_completion(argv)
        else:
            reject_command(argv[0], COMMANDS)
    return command.status


if __name__ == "__main__":
    sys.exit(main())
