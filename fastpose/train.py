"""`fastpose train`: train, measure the curve of accuracy over noise, compare.

Without arguments it makes the built-in synthetic data set, trains a supervised and a contrastive skeleton
model on it, and compares their robustness.
"""

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

from fastpose._command import Command, parse_arguments, read_first
from fastpose.settings import Arm, DataConfig, EvalConfig, LossConfig, ModelConfig, OptimConfig, RunConfig
from fastpose.settings import files as settings
from fastpose.settings.checks import is_changed
from fastpose.settings.families import FAMILIES
from fastpose.settings.front_ends import AUTO, with_front_end
from fastpose.settings.presets import PRESET_ARMS

SECTIONS = ("data", "model", "loss", "optim", "eval")
# The settings that --help explains; it only names the others.
COMMON = ("data", "model", "input", "epochs", "batch_size", "alpha", "device")


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """Train, measure the curve of accuracy over noise, compare.

    Settings come from --preset, then --config, then the flags below. Without --data, --preset and --config
    the built-in synthetic data set is used with settings for a first run of a few minutes.
    """

    preset: str | None = None
    """report, robust, dct_mlp, first-run, pyskl-test, motionbert, or another. reference-code: the report's own;
    pyskl-test: 48 frames of 64×64, tested on 10 clips and flips; motionbert-published: 243 frames, as its published
    weights expect them."""
    config: Path | None = None
    """JSON file of settings, such as the config.json of a run."""
    front_end: str | None = None
    """Look through noise: off, auto (by held-out clips), means, filter, full. Each but off and auto stands for settings
    of --help data; filter-windows and full-windows also show random stretches of the clips. Default: as --preset."""
    arms: tuple[Arm, ...] = ("contrastive",)
    """One run for each: supervised (clean clips), augmented (noisy clips), contrastive (both, contrasted)."""
    seeds: tuple[int, ...] = (0,)
    """One run of each arm for each seed."""
    leave_one_out: bool = False
    """Train without each of --train-families in turn, and measure on that one."""
    out: Path | None = None
    """Folder for the runs; by default a new one under runs/."""
    resume: bool = False
    """Go on with the unfinished runs in --out."""
    overwrite: bool = False
    """Delete the runs of the same names in --out first."""
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)


def parse(argv: list[str] | None = None) -> Arguments:
    """Read the command line; settings named by --preset and --config become the defaults of the flags."""
    known = read_first(argv, "--preset", "--config", "--data", "--front-end")
    bare = known.data is None and known.config is None
    preset = known.preset or ("first-run" if bare else "report")
    base = settings.from_preset(preset)
    arms: tuple[Arm, ...] = PRESET_ARMS.get(preset, ("contrastive",))
    if known.config:
        base = settings.from_file(known.config, base)
        arms = (base.arm,)
    if known.front_end is not None and known.front_end != AUTO:
        sampling = with_front_end(base.data.sampling, known.front_end)
        base = replace(base, data=replace(base.data, sampling=sampling))
    default = Arguments(arms=arms, seeds=(base.seed,), **{name: getattr(base, name) for name in SECTIONS})
    return parse_arguments(Arguments, argv, "train", default=default, common=COMMON)


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    with Command(
        interrupted="stopped; --resume with the same --out goes on from the last checkpoint"
    ) as command:
        arguments = parse(argv)
        if arguments.out is None and (arguments.resume or arguments.overwrite):
            raise ValueError("--resume and --overwrite need --out, the folder they are about")
        from fastpose.data.synthetic.builtin import open_clips
        from fastpose.models.registry import import_model
        from fastpose.training.experiment import new_folder, plan_runs, run_experiment
        from fastpose.training.front_end_choice import choose_front_end
        from fastpose.training.leave_one_out import leave_one_out

        base = RunConfig(**{name: getattr(arguments, name) for name in SECTIONS})
        if arguments.leave_one_out and not is_changed(base.optim, "train_families"):
            base = replace(base, optim=replace(base.optim, train_families=FAMILIES))
        typed = read_first(argv, "--model").model  # a --config file alone imports nothing
        import_model(typed or "")
        packed = open_clips(base.data.data)
        if arguments.front_end == AUTO:
            base = choose_front_end(base, packed)
        plan = plan_runs(base, arguments.arms, arguments.seeds)
        if arguments.leave_one_out:
            plan = leave_one_out(plan)
        out = arguments.out or new_folder(base)
        run_experiment(packed, plan, out, resume=arguments.resume, overwrite=arguments.overwrite)
    return command.status


if __name__ == "__main__":
    sys.exit(main())
