"""`fastpose evaluate RUN [RUN …]`: accuracy of trained runs over the noise level."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from fastpose._command import Command, parse_arguments, read_first
from fastpose.settings import EvalConfig
from fastpose.settings.files import from_preset
from fastpose.settings.presets import PRESETS


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """Measure top-1, top-5 and mean class accuracy of trained runs at every noise level.

    Writes one csv, one plot with a curve for each run, and for each run the confusion matrices as csv and
    picture; with --families also the accuracy by noise family and level, as csv and picture.
    """

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Folders of finished runs, folders that hold them, weights files, penn-robust (comes with fastpose), or
    hf://user/repo."""
    data: str | None = None
    """Packed file to measure on, by default the one each run was trained on; of another, clips of the same names."""
    test_split: str | None = None
    """A split of it; by default the run's own test clips, matched by name."""
    limit: int | Literal["all"] | None = None
    """Measure on this many clips only, or on all; by default on as many as the run itself."""
    preset: str | None = None
    """Test settings of a preset of training: pyskl-test is 48 frames of 64×64, 10 clips and flips."""
    clip_len: int | None = None
    """Frames sampled from each clip; by default as in training."""
    size: tuple[int, int] | None = None
    """Input height and width in pixels; by default as in training."""
    out: Path = Path("evaluation")
    """Folder for the results."""
    fuse: bool = False
    """Also measure the late fusion of all runs, such as a joint and a limb model: the mean of their softmax scores."""
    fuse_weights: tuple[float, ...] | None = None
    """Weight of each run in that mean, in the order of the table; equal by default."""
    confusion_alphas: tuple[float, ...] | None = None
    """Noise levels whose confusion matrices are written; by default the first."""
    model: str | None = None
    """package.module:Class of your own network, for runs that were trained with it."""
    device: str = "auto"
    precision: str = "auto"
    """auto, bf16, fp32 or int8, of the matrix products."""
    seed: int = 0
    """Seed of the noise."""
    jobs: int | None = None
    """Processes that score clips, each on one thread, equally but for rounding; by default as many as there are
    threads, where that is faster: on the CPU, from fifteen seconds on."""
    eval: EvalConfig = field(default_factory=EvalConfig)


def parse(argv: list[str] | None = None) -> Arguments:
    """Read the command line; what --preset says of tests becomes the defaults of the flags."""
    preset = read_first(argv, "--preset").preset or "report"
    tested = from_preset(preset).eval
    sampled = PRESETS[preset].get("data", {}).get("sampling", {})
    sampled = {name: sampled.get(name) for name in ("clip_len", "size")}
    default = Arguments(runs=tyro.MISSING, eval=tested, **sampled)
    return parse_arguments(Arguments, argv, "evaluate", default=default)


def run(arguments: Arguments) -> None:
    from fastpose.evaluation.runs import evaluate_runs
    from fastpose.models.registry import import_model
    from fastpose.weights.runs import find_runs

    if arguments.model is not None:
        import_model(arguments.model)
    evaluate_runs(
        find_runs(arguments.runs),
        arguments.eval,
        arguments.out,
        data=arguments.data,
        test_split=arguments.test_split,
        limit=arguments.limit,
        clip_len=arguments.clip_len,
        size=arguments.size,
        confusion_alphas=arguments.confusion_alphas,
        device=arguments.device,
        precision=arguments.precision,
        seed=arguments.seed,
        fuse=arguments.fuse,
        fuse_weights=arguments.fuse_weights,
        processes=arguments.jobs,
    )


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    with Command() as command:
        run(parse(argv))
    return command.status


if __name__ == "__main__":
    sys.exit(main())
