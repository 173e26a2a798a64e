"""``fastpose denoise``: keypoints without their noise, in a packed file; or a prior of body motion for it."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from fastpose._command import Command, parse_arguments


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """Filter the noise out of packed clips, all their frames; or, with --fit, learn what body motion looks like."""

    clips: Annotated[Path | None, tyro.conf.Positional] = None
    """Packed file to filter."""
    out: Path
    """File to write: packed clips, or with --fit a prior. Replaced if it exists."""
    prior: Path | None = None
    """What --fit wrote, for these joints; by default each joint is smoothed by as much as its noise asks for."""
    fit: Path | None = None
    """Packed file of clean clips to learn from: its training split, or all clips where it has none."""


def run(arguments: Arguments) -> str:
    from fastpose.data.denoising.denoiser import Denoiser
    from fastpose.data.pack.packed import PackedClips
    from fastpose.data.pack.splits import TRAIN_NAMES
    from fastpose.system.files import check_target

    if (arguments.clips is None) == (arguments.fit is None):
        raise ValueError("name a packed file to filter, or one to learn from by --fit, and not both")
    check_target(arguments.out)
    if arguments.fit is not None:
        if arguments.prior is not None:
            raise ValueError("--fit learns a prior, so it takes none by --prior")
        packed = PackedClips.load(arguments.fit)
        split = next((name for name in TRAIN_NAMES if name in packed.splits), None)
        indices = None if split is None else packed.split(split)
        Denoiser.fit(packed, indices).save(arguments.out)
        learned = "all clips" if split is None else f"split {split!r}"
        count = packed.num_clips if indices is None else len(indices)
        return f"learned from {learned} of {arguments.fit}: {count} clips\nwrote {arguments.out}"
    assert arguments.clips is not None
    denoiser = Denoiser() if arguments.prior is None else Denoiser.load(arguments.prior)
    packed = PackedClips.load(arguments.clips)
    denoiser.filter_clips(packed).save(arguments.out)
    return f"filtered {packed.num_clips} clips\nwrote {arguments.out}"


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status, 2 for what the user can mend."""
    with Command() as command:
        print(run(parse_arguments(Arguments, argv, "denoise")))
    return command.status


if __name__ == "__main__":
    sys.exit(main())
