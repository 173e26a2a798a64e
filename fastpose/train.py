"""`fastpose train`: train, measure the curve of accuracy over noise, compare.

Without arguments it makes the built-in synthetic data set, trains a supervised and a contrastive skeleton
model on it, and compares their robustness.
"""

import os
import shlex
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from fastpose._command import Command, parse_arguments, program_name, read_first
from fastpose.settings import Arm, DataConfig, EvalConfig, LossConfig, ModelConfig, OptimConfig, RunConfig
from fastpose.settings.adapting import ADAPTED_BY
from fastpose.settings.checks import is_changed
from fastpose.settings.families import FAMILIES
from fastpose.settings.front_ends import AUTO
from fastpose.settings.starting import starting_settings

if TYPE_CHECKING:  # it imports torch, for which --help need not wait
    from fastpose.data.pack.packed import PackedClips

SECTIONS = ("data", "model", "loss", "optim", "eval")
# The settings that --help explains; it only names the others.
COMMON = ("data", "model", "input", "epochs", "batch_size", "alpha", "device")


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """Train, measure the curve of accuracy over noise, compare.

    Settings come from --preset, then --config, then the flags. With --data the default is --preset robust, and its
    three arms; --preset report is the report's. Alone, it is a first run of minutes.
    """

    preset: str | None = None
    """robust (for --data), report, dct_mlp, pyskl-test, motionbert, or another. first-run; reference-code: the report's
    own; pyskl-test: 48 frames of 64×64, tested on 10 clips and flips; motionbert-published: 243 frames, as its
    published weights expect them."""
    config: Path | None = None
    """JSON file of settings, such as the config.json of a run."""
    front_end: str | None = None
    """Look through noise: off, auto (by held-out clips), means, filter, full. Each but off and auto stands for settings
    of --help data; filter-windows and full-windows also show random stretches of the clips. Default: as --preset."""
    arms: tuple[Arm, ...] = ("contrastive",)
    """One run each: clean, noisy, both clips; supervised is trained on clean ones, augmented on noisy ones, and
    contrastive contrasts both."""
    seeds: tuple[int, ...] = (0,)
    """One run of each arm for each seed."""
    leave_one_out: bool = False
    """Train without each of --train-families in turn, and measure on that one."""
    jobs: int | None = None
    """Runs at a time, each a process of one thread, or of --threads. By default as many as there are cores, which they
    share where there are fewer runs; on a GPU 1. One run alone has all cores."""
    out: Path | None = None
    """Folder for the runs; by default a new one under runs/."""
    resume: bool = False
    """Go on with the runs in --out. They may have more --epochs than before, or be measured at other --alphas."""
    overwrite: bool = False
    """Delete the runs of the same names in --out first."""
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)


def parse(argv: list[str] | None = None) -> Arguments:
    """Read the command line; settings named by --preset and --config become the defaults of the flags.

    Warns of what of the preset gives way to what the user chose.
    """
    known = read_first(argv, "--preset", "--config", "--data", "--front-end")
    typed = vars(read_first(argv, "--data", *ADAPTED_BY.values()))
    start = starting_settings(
        known.preset,
        known.config and Path(known.config),
        None if known.front_end == AUTO else known.front_end,
        {name: value for name, value in typed.items() if value is not None},
    )
    for sentence in start.said:
        warnings.warn(sentence, stacklevel=2)
    base = start.config
    default = Arguments(
        arms=start.arms, seeds=(base.seed,), **{name: getattr(base, name) for name in SECTIONS}
    )
    return parse_arguments(Arguments, argv, "train", default=default, common=COMMON)


def resume_command(argv: Sequence[str] | None, out: Path) -> str:
    """Return the command that goes on with the runs in ``out``, for a shell: this one, to resume."""
    given = sys.argv[1:] if argv is None else argv
    words = [
        word for word in given if word not in ("--overwrite", "--no-overwrite", "--resume", "--no-resume")
    ]
    if read_first(argv, "--out").out is None:
        words += ["--out", str(out)]
    program = program_name("train").split()
    if os.environ.get("WORLD_SIZE", "1") != "1":
        program = [
            "torchrun",
            "--nproc-per-node",
            os.environ.get("LOCAL_WORLD_SIZE", "…"),
            "-m",
            "fastpose.train",
        ]
    return shlex.join([*program, *words, "--resume"])


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit status. Of several processes the first one plans, writes and speaks."""
    with Command() as command:
        arguments = parse(argv)
        if arguments.out is None and (arguments.resume or arguments.overwrite):
            raise ValueError("--resume and --overwrite need --out, the folder they are about")
        from fastpose.data.synthetic.builtin import open_clips
        from fastpose.models.registry import import_model
        from fastpose.system.processes import joined_processes
        from fastpose.training.experiment import run_experiment

        import_model(read_first(argv, "--model").model or "")  # a --config file alone imports nothing
        with joined_processes(arguments.optim.device) as processes:
            if not processes.leads:
                command.interrupted = ""
                warnings.simplefilter("ignore", UserWarning)  # the first process warns
            processes.first(
                lambda: open_clips(arguments.data.data) and None
            )  # which makes the built-in set once
            packed = open_clips(arguments.data.data)
            plan, out = processes.first(lambda: _plan(arguments, packed))
            try:
                run_experiment(
                    packed, plan, out, resume=arguments.resume, overwrite=arguments.overwrite,
                    jobs=arguments.jobs, processes=processes,
                )  # fmt: skip
            except KeyboardInterrupt:
                if processes.leads and any((out / name).exists() for name in plan):
                    command.interrupted = (
                        f"stopped; to go on from the last checkpoint:\n{resume_command(argv, out)}"
                    )
                raise
    return command.status


def _plan(arguments: Arguments, packed: "PackedClips") -> tuple[dict[str, RunConfig], Path]:
    """Return the settings of each run by the name of its folder, and the folder that holds those; print notes."""
    from fastpose.data.pack.fingerprint import fingerprint
    from fastpose.system.files import check_output_folder
    from fastpose.training.experiment import new_folder, plan_runs
    from fastpose.training.front_end_choice import choose_front_end
    from fastpose.training.leave_one_out import leave_one_out
    from fastpose.training.run_folder import told_apart

    base = RunConfig(**{name: getattr(arguments, name) for name in SECTIONS})
    check_output_folder(arguments.out or Path("runs"))
    if arguments.leave_one_out and not is_changed(base.optim, "train_families"):
        base = replace(base, optim=replace(base.optim, train_families=FAMILIES))
    if arguments.front_end == AUTO:
        base = choose_front_end(base, packed)
    plan = plan_runs(base, arguments.arms, arguments.seeds)
    if arguments.leave_one_out:
        plan = leave_one_out(plan)
    out = arguments.out or new_folder(base)
    if not arguments.overwrite:
        plan, said = told_apart(plan, out, fingerprint(packed), resume=arguments.resume)
        for sentence in said:
            print(f"note: {sentence}")
    return plan, out


if __name__ == "__main__":
    sys.exit(main())
