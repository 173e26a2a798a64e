"""Several training runs that differ in arm and seed, measured side by side."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from fastpose.data.denoising.denoiser import Denoiser
from fastpose.data.pack.packed import PackedClips
from fastpose.data.pack.split_checks import odd_splits
from fastpose.data.pack.splits import select_clips
from fastpose.evaluation.curve_plot import curve_title, plot_curves
from fastpose.evaluation.curves import (
    Curve,
    format_spread,
    format_table,
    read_curves,
    without_seed,
    write_curve,
)
from fastpose.evaluation.families import compare_families, read_families, write_families
from fastpose.evaluation.metrics import format_interval, majority_percent, tell_chances
from fastpose.evaluation.scores import GAUSSIAN, count_levels, format_speed
from fastpose.settings import Arm, OptimConfig, RunConfig
from fastpose.settings.checks import is_changed
from fastpose.settings.families import FAMILIES
from fastpose.training.batch_size import choose_batch_size
from fastpose.training.header import experiment_header
from fastpose.training.leave_one_out import join_left_out
from fastpose.training.run_folder import CONFIG, check_folder, continued, open_folder
from fastpose.training.setup import Setup
from fastpose.training.trainer import Trainer

COMPLETE = "robustness.csv"
BY_FAMILY = "families.csv"  # where other noise than Gaussian was measured
T = TypeVar("T")


def plan_runs(base: RunConfig, arms: Sequence[Arm], seeds: Sequence[int]) -> dict[str, RunConfig]:
    """Return one configuration for each arm and seed, by the name of its folder."""
    if not arms or not seeds:
        raise ValueError(f"arms = {list(arms)}, seeds = {list(seeds)}: expected at least one of each")
    plan = {}
    for arm in dict.fromkeys(arms):
        for seed in dict.fromkeys(seeds):
            plan["-".join([arm, *_noise_words(arm, base.optim), f"s{seed}"])] = replace(
                base, arm=arm, seed=seed
            )
    return plan


def _noise_words(arm: Arm, optim: OptimConfig) -> tuple[str, ...]:
    """Return what a run's name says of the noise that it is trained on."""
    if arm == "supervised":
        return ()
    families = {(GAUSSIAN,): (), FAMILIES: ("all",)}.get(optim.train_families, optim.train_families)
    return optim.alpha.replace(":", "-"), *families


def new_folder(base: RunConfig) -> Path:
    """Return a folder under runs/ that does not exist yet, named after the data and the model."""
    stem = f"{Path(base.data.data).stem}-{base.model.model}-{base.model.input}"
    number = 1
    while (folder := Path("runs") / f"{stem}-{number}").exists():
        number += 1
    return folder


def run_experiment(
    packed: PackedClips,
    plan: dict[str, RunConfig],
    out: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    echo: Callable[[str], None] = print,
) -> dict[str, Curve]:
    """Train and measure every run of ``plan`` in a folder of its own under ``out``; return their curves.

    The comparison written to ``out`` is of all finished runs there, those of earlier calls too.

    Raises:
        ValueError: a run's folder exists, or another process is at work in it; there is nothing to resume, or not with
            these settings; or the clips have no joints.
    """
    if resume and not overwrite:
        plan = _continued(plan, out, echo)
    for name, config in plan.items():  # refuse before the first run, not hours later
        check_folder(out / name, config, resume=resume, overwrite=overwrite)
        if (denoiser := Denoiser.open(config.eval.denoise)) is not None:
            denoiser.check_layout(packed.layout)
    train, measured = select_clips(packed, next(iter(plan.values())).data)
    for sentence in odd_splits(packed, train, measured):
        echo(f"note: {sentence}")
    chance = majority_percent(packed.labels[measured])
    curves: dict[str, Curve] = {}
    for name, config in plan.items():
        if config.optim.batch_size == "auto":
            config, reason = choose_batch_size(config, packed)
            echo(f"{name}: {reason}")
        # Settings that do not work leave no folder.
        trainer = Trainer(Setup(config, packed), out / name, title=name)
        if not curves:
            echo(experiment_header(trainer.setup, plan, out, resume=resume and not overwrite))
        with open_folder(out / name, config, resume=resume, overwrite=overwrite):
            curves[name] = _train(trainer, name, chance, resume=resume, echo=echo)
    earlier = {
        name: curve for name, curve in finished(out, COMPLETE, read_curves, echo).items() if name not in plan
    }
    title = curve_title(packed.source, earlier | curves)
    compare(earlier | curves, out, title=title, chance=chance, echo=echo)
    by_family = finished(out, BY_FAMILY, read_families, echo)
    whole, joined = join_left_out(by_family, earlier | curves)
    if whole:
        compare_families(whole, out / "families", group=without_seed, title=title, echo=echo)
    if joined:
        echo("\nnoise families that were left out of training, each measured by the run without it")
        compare_families(joined, out / "leave_one_out", group=without_seed, title=title, echo=echo)
    name, curve = next(iter(curves.items()))
    alpha, accuracy = next(iter(curve.items()))
    echo(f"\n{name}, α = {alpha:g}: {format_interval(accuracy)}")
    echo(f"curves: {out / COMPLETE}, {out / 'robustness.png'}")
    return curves


def _continued(plan: dict[str, RunConfig], out: Path, echo: Callable[[str], None]) -> dict[str, RunConfig]:
    """Return ``plan`` as its runs in ``out`` go on with it; ValueError where none of them was begun there."""
    if not any((out / name).exists() for name in plan):
        there = sorted(path.parent.name for path in out.glob(f"*/{CONFIG}"))
        found = f"; there are: {', '.join(there)}" if there else ""
        raise ValueError(f"--resume: none of {', '.join(plan)} is in {out}{found}")
    settled = {}
    for name, config in plan.items():
        settled[name], said = continued(out / name, config)
        for sentence in said:
            echo(f"{name}: {sentence}")
    return settled


def _train(trainer: Trainer, name: str, chance: float, *, resume: bool, echo: Callable[[str], None]) -> Curve:
    """Train a run and measure it, write what was measured to its folder, and return its curve."""
    config, folder = trainer.config, trainer.folder
    started = time.perf_counter()
    trainer.fit(resume=resume)
    trained = time.perf_counter()
    measured = trainer.measure_families()
    scored = time.perf_counter()
    curve = {name: measured[GAUSSIAN]}
    if is_changed(config.eval, "families"):
        families = {family: measured[family] for family in config.eval.families}
        write_families(folder / BY_FAMILY, {name: families})
    write_curve(folder / COMPLETE, curve)
    title = curve_title(trainer.setup.packed.source, curve)
    plot_curves(folder / "robustness.png", curve, title, [chance])
    num_levels = count_levels(config.eval.alphas, measured)
    speed = format_speed(len(trainer.setup.test_indices), num_levels, scored - trained)
    spent = f"{trained - started:.0f} s ({trainer.setup.placement})"
    echo(f"{name}: trained in {spent}, {speed}, in {folder}")
    return measured[GAUSSIAN]


def finished(
    out: Path, file: str, read: Callable[[Path], dict[str, T]], echo: Callable[[str], None]
) -> dict[str, T]:
    """Return what ``read`` finds in the ``file`` of each finished run in ``out``, by the names of their folders."""
    found = {}
    for path in sorted(out.glob(f"*/{file}")):
        if not (path.parent / CONFIG).exists():
            continue  # such as the results of an evaluation
        try:
            runs = read(path)
        except ValueError as error:
            echo(f"left out of the comparison: {error}")
            continue
        if len(runs) == 1:
            found[path.parent.name] = next(iter(runs.values()))
    return found


def compare(
    curves: dict[str, Curve], out: Path, *, title: str, chance: float, echo: Callable[[str], None]
) -> None:
    """Write ``curves`` to ``out`` as csv and plot; echo them, and the spread over the seeds of each arm.

    ``chance`` is what always answering the largest class would reach, in percent.
    """
    write_curve(out / COMPLETE, curves)
    plot_curves(out / "robustness.png", curves, title, [chance])
    echo("\n" + format_table(curves))
    groups: dict[str, list[Curve]] = {}
    for name, curve in curves.items():
        groups.setdefault(without_seed(name), []).append(curve)
    repeated = {name: group for name, group in groups.items() if len(group) > 1}
    if repeated:
        echo("\n" + format_spread(repeated))
    echo(tell_chances([chance]))
