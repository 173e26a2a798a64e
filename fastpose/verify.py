"""`fastpose verify FILE …`: whether files are what was written to them."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from fastpose._command import Command, parse_arguments
from fastpose.system.errors import error_sentence

WITHOUT_CHECKSUMS = "made before there were checksums: read to its end, and no damage seen"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """Read files to their end, and compare them with the checksums that they carry.

    Prints a line for each file; the exit status is 1 where one is damaged. Packed clips and priors, weights,
    checkpoints, and the settings and tables of runs are known.
    """

    files: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Files, run folders, or folders that hold them at any depth; or the name of a starter model."""


def _tensors(path: Path) -> str:
    """Verify a safetensors file of any kind that fastpose writes."""
    from safetensors import SafetensorError, safe_open

    from fastpose.data.denoising import prior_file
    from fastpose.data.pack import packed_file
    from fastpose.data.pack.verified import verify_pack
    from fastpose.weights import card
    from fastpose.weights.runs import verify_weights

    try:
        with safe_open(path, framework="pt") as file:
            kind = (file.metadata() or {}).get("format")
    except SafetensorError as error:
        raise ValueError(f"{path}: damaged file, or no safetensors ({error})") from error
    verifying: dict[str | None, tuple[str, Callable[[Path], bool]]] = {
        packed_file.FORMAT: ("packed clips", verify_pack),
        card.FORMAT: ("weights", verify_weights),
        prior_file.FORMAT: ("prior of body motion", prior_file.verify_prior),
    }
    if kind not in verifying:
        raise ValueError(f"{path}: is of no kind that fastpose writes")
    name, verify = verifying[kind]
    return f"{name}, all checksums right" if verify(path) else f"{name}, {WITHOUT_CHECKSUMS}"


def _settings(path: Path) -> str:
    from fastpose.settings.files import from_file

    from_file(path)
    return "settings"


def _environment(path: Path) -> str:
    from fastpose.settings.json_text import read_json

    if not isinstance(read_json(path), dict):
        raise ValueError(f"{path}: is no description of a machine")
    return "what a run depended on"


def _curve(path: Path) -> str:
    from fastpose.evaluation.curves import read_curves

    return f"accuracy over noise, {len(read_curves(path))} runs"


def _families(path: Path) -> str:
    from fastpose.evaluation.families import read_families

    return f"accuracy by noise family, {len(read_families(path))} runs"


def _pairs(path: Path) -> str:
    from fastpose.evaluation.confusion import read_pairs

    return f"confused classes, {len(read_pairs(path))} pairs"


def _checkpoint(path: Path) -> str:
    from fastpose.training.checkpoint import read_file

    return f"checkpoint after {read_file(path)['epochs_done']} epochs, all checksums right"


# What a file is known by, the end of its name, and what reads it to its end and says what it holds.
KINDS: dict[str, Callable[[Path], str]] = {
    ".safetensors": _tensors,
    "config.json": _settings,
    "environment.json": _environment,
    "checkpoint.pt": _checkpoint,
    "checkpoint-before.pt": _checkpoint,
    "robustness.csv": _curve,
    "families.csv": _families,
    "confused-pairs.csv": _pairs,
}


def kind_of(path: Path) -> Callable[[Path], str] | None:
    """Return what verifies a file, None for one of another kind."""
    return next((verify for ending, verify in KINDS.items() if path.name.endswith(ending)), None)


def find_files(path: Path) -> Iterator[Path]:
    """Yield a file, or the files of known kinds in a folder, at any depth, in the order of their names.

    Raises:
        ValueError: the folder holds none.
    """
    if not path.is_dir():
        yield path
        return
    found = sorted(file for file in path.rglob("*") if file.is_file() and kind_of(file))
    if not found:
        raise ValueError(f"{path}: holds no file that can be verified ({', '.join(KINDS)})")
    yield from found


def verify(path: Path) -> tuple[bool, str]:
    """Return whether a file is whole, and a line that says so, or what is wrong."""
    check = kind_of(path)
    try:
        if not path.exists():
            raise ValueError("no such file")
        if not path.is_file():
            raise ValueError("is no ordinary file")
        if check is None:
            raise ValueError(f"cannot be verified; expected a file that ends in {', '.join(KINDS)}")
        return True, f"{path}: whole: {check(path)}"
    except (ValueError, OSError) as error:
        return False, f"{path}: {error_sentence(error).removeprefix(f'{path}: ')}"


def run(arguments: Arguments) -> int:
    from fastpose.weights.named import locate

    if not arguments.files:
        raise ValueError("no file is named; expected packed files, weights files or folders of runs")
    all_whole = True
    for named in arguments.files:
        for file in find_files(locate(named)):
            whole, line = verify(file)
            print(line)
            all_whole &= whole
    return 0 if all_whole else 1


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status, 1 where a file is damaged, 2 for a wrong command."""
    with Command() as command:
        command.status = run(parse_arguments(Arguments, argv, "verify"))
    return command.status


if __name__ == "__main__":
    sys.exit(main())
