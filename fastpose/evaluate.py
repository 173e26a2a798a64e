"""`python -m fastpose.evaluate RUN [RUN …]`: accuracy of trained runs over the noise level."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from fastpose._command import run_command
from fastpose.config import EvalConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """Measure top-1, top-5 and mean class accuracy of trained runs at every noise level.

    Writes one csv, one plot with a curve for each run, and for each run the confusion matrices as csv and
    picture.
    """

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Folders of finished runs, or folders that hold them."""
    data: str | None = None
    """Packed file to measure on; by default the one each run was trained on."""
    test_split: str | None = None
    """Its split; by default the run's own."""
    limit: int | None = None
    """Measure on this many clips only."""
    out: Path = Path("evaluation")
    """Folder for the results."""
    fuse: bool = False
    """Also measure the late fusion of all runs, such as a joint and a limb model: the mean of their softmax scores."""
    fuse_weights: tuple[float, ...] | None = None
    """Weight of each run in that mean, in the order of the table; equal by default."""
    confusion_alphas: tuple[float, ...] | None = None
    """Noise levels whose confusion matrices are written; by default the first."""
    device: str = "auto"
    precision: str = "auto"
    seed: int = 0
    """Seed of the noise."""
    eval: EvalConfig = field(default_factory=EvalConfig)


def run(arguments: Arguments) -> None:
    from fastpose.evaluation import evaluate_runs, find_runs

    evaluate_runs(
        find_runs(arguments.runs),
        arguments.eval,
        arguments.out,
        data=arguments.data,
        test_split=arguments.test_split,
        limit=arguments.limit,
        confusion_alphas=arguments.confusion_alphas,
        device=arguments.device,
        precision=arguments.precision,
        seed=arguments.seed,
        fuse=arguments.fuse,
        fuse_weights=arguments.fuse_weights,
    )


def main(argv: list[str] | None = None) -> int:
    name, style = "python -m fastpose.evaluate", (tyro.conf.OmitArgPrefixes,)
    return run_command(lambda: run(tyro.cli(Arguments, args=argv, prog=name, config=style)))


if __name__ == "__main__":
    sys.exit(main())
