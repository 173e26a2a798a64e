"""Several training runs that differ in arm and seed, measured side by side."""

import threading
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from fastpose.data.denoising.denoiser import Denoiser
from fastpose.data.pack.fingerprint import fingerprint
from fastpose.data.pack.packed import PackedClips
from fastpose.data.pack.split_checks import odd_splits
from fastpose.data.pack.splits import select_clips
from fastpose.data.synthetic.builtin import open_clips
from fastpose.evaluation.curve_plot import curve_title, plot_curves
from fastpose.evaluation.curves import (
    Curve,
    format_spread,
    format_table,
    read_curves,
    without_seed,
    write_curve,
)
from fastpose.evaluation.families import compare_families, read_families
from fastpose.evaluation.metrics import format_interval, majority_percent, tell_chances
from fastpose.evaluation.scores import GAUSSIAN
from fastpose.models.registry import MODELS
from fastpose.settings import Arm, DataConfig, OptimConfig, RunConfig
from fastpose.settings.families import FAMILIES
from fastpose.system.processes import ALONE, Processes
from fastpose.system.signals import end_requested
from fastpose.training.batch_size import choose_batch_size
from fastpose.training.header import experiment_header, views_by_run
from fastpose.training.jobs import Outcome, settle_jobs, train_at_once
from fastpose.training.leave_one_out import join_left_out
from fastpose.training.one_run import RunTask, train_run
from fastpose.training.run_folder import check_folder, continued
from fastpose.training.setup import Setup
from fastpose.training.task import PoseTask
from fastpose.training.trainer import Trainer
from fastpose.weights.runs import BY_FAMILY, COMPLETE, CONFIG

T = TypeVar("T")


def plan_runs(base: RunConfig, arms: Sequence[Arm], seeds: Sequence[int]) -> dict[str, RunConfig]:
    """Return one configuration for each arm and seed, by the name of its folder."""
    if not arms or not seeds:
        raise ValueError(f"arms = {list(arms)}, seeds = {list(seeds)}: expected at least one of each")
    plan = {}
    for arm in dict.fromkeys(arms):
        for seed in dict.fromkeys(seeds):
            words = [arm, *_noise_words(arm, base.optim), *_label_words(base.data)]
            plan["-".join([*words, f"s{seed}"])] = replace(base, arm=arm, seed=seed)
    return plan


def _noise_words(arm: Arm, optim: OptimConfig) -> tuple[str, ...]:
    """Return what a run's name says of the noise that it is trained on."""
    if arm == "supervised":
        return ()
    if arm == "contrastive" and optim.views == "tempo":
        return ("tempo",)
    families = {(GAUSSIAN,): (), FAMILIES: ("all",)}.get(optim.train_families, optim.train_families)
    second = ("tempo",) if arm == "contrastive" and optim.views == "both" else ()
    return *second, optim.alpha.replace(":", "-"), *families


def _label_words(data: DataConfig) -> tuple[str, ...]:
    """Return what a run's name says of the labels that it is trained on."""
    if not data.few_labels:
        return ()
    share = (
        f"{data.label_fraction:g}" if data.labels_per_class is None else f"{data.labels_per_class}-a-class"
    )
    draw = () if data.label_seed is None else (f"draw-{data.label_seed}",)
    return "labels", share, *draw


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
    jobs: int | None = 1,
    echo: Callable[[str], None] = print,
    processes: Processes = ALONE,
) -> dict[str, Curve]:
    """Train and measure every run of ``plan`` in a folder of its own under ``out``; return their curves.

    The comparison written to ``out`` is of all finished runs there, those of earlier calls too.

    Args:
        packed: the clips; with several ``jobs`` those that the runs' settings name.
        plan: settings by the names of folders.
        out: holds the folders.
        resume: go on with runs that were begun there.
        overwrite: delete them first.
        jobs: runs at a time, several in processes of their own, with equal results on equal numbers of threads; None
            for as many as ``settle_jobs`` finds. A script that asks for several keeps what it does under
            ``if __name__ == "__main__"``.
        echo: is given what there is to say.
        processes: those that train each run together, and all call this; the first one writes and speaks.

    Raises:
        ValueError: a run's folder exists, or another process is at work in it; there is nothing to resume, or not with
            these settings; or the clips have no joints. Of several at a time, some failed; the others were compared.
    """
    resumed = resume and not overwrite
    if not processes.leads:
        echo = _say_nothing
    if processes.size > 1 and jobs not in (None, 1):
        raise ValueError(f"jobs = {jobs}: expected 1 where several processes train each run together")

    def settle() -> tuple[dict[str, RunConfig], int, int]:
        settled = _continued(plan, out, echo) if resumed else plan
        begun = [name for name in settled if resumed and (out / name / CONFIG).exists()]
        settled, at_once, threads = settle_jobs(settled, 1 if processes.size > 1 else jobs, begun)
        clips = fingerprint(packed)
        for name, config in settled.items():  # refuse before the first run, not hours later
            check_folder(out / name, config, resume=resume, overwrite=overwrite, clips=clips)
            if (denoiser := Denoiser.open(config.eval.denoise)) is not None:
                denoiser.check_layout(packed.layout)
        return settled, at_once, threads

    plan, jobs, threads = processes.first(settle)
    train, measured = select_clips(packed, next(iter(plan.values())).data)
    for sentence in odd_splits(packed, train, measured):
        echo(f"note: {sentence}")
    chance = majority_percent(packed.labels[measured])
    if jobs > 1:
        outcome = _train_at_once(
            packed, plan, out, jobs, threads, chance=chance, resume=resume, overwrite=overwrite, echo=echo
        )
    else:
        outcome = Outcome()
        for name, config in plan.items():
            if config.optim.batch_size == "auto" and processes.size == 1:
                config, reason = choose_batch_size(config, packed)
                echo(f"{name}: {reason}")
            # Settings that do not work leave no folder.
            told = threading.Event()
            trainer = Trainer(Setup(config, packed, processes), out / name, title=name, told_to_end=told)
            if not outcome.curves and processes.leads:
                echo(experiment_header(trainer.setup, plan, out, resume=resumed))
            with end_requested(told, insists=processes.size == 1):
                outcome.curves[name] = train_run(
                    trainer, chance, resume=resume, overwrite=overwrite, echo=echo
                )
            if told.is_set():
                raise KeyboardInterrupt
    if processes.leads:
        _compare_all(packed, plan, out, outcome.curves, chance, echo)
    outcome.raise_failures()
    return {name: outcome.curves[name] for name in plan}


def _say_nothing(text: str) -> None:
    pass


def _train_at_once(
    packed: PackedClips,
    plan: dict[str, RunConfig],
    out: Path,
    jobs: int,
    threads: int,
    *,
    chance: float,
    resume: bool,
    overwrite: bool,
    echo: Callable[[str], None],
) -> Outcome:
    """Train in ``jobs`` processes of ``threads`` threads, which open the clips that the settings name."""
    name, config = max(plan.items(), key=lambda run: len(PoseTask(run[1]).views))  # takes the most memory
    _check_named(packed, config.data.data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the run itself warns
        setup = Trainer(Setup(config, packed), out / name, quiet=True).setup  # or refused
    if (fitting := jobs_that_fit(setup, jobs)) < jobs:
        echo(f"note: {fitting} of {jobs} runs at a time, for which there is memory")
        jobs = fitting
    resumed = resume and not overwrite
    echo(experiment_header(setup, plan, out, resume=resumed, jobs=jobs))
    views = views_by_run(setup, plan, out if resumed else None)
    del setup  # and its memory
    tasks = [
        RunTask(
            config=config,
            folder=out / name,
            threads=config.optim.threads or threads,
            factory=MODELS.get(config.model.model),
            chance=chance,
            resume=resume,
            overwrite=overwrite,
        )
        for name, config in plan.items()
    ]
    tasks.sort(key=lambda task: -sum(views[task.folder.name]))  # the longest first, so that none is left over
    return train_at_once(tasks, jobs, threads, views, echo)


def jobs_that_fit(setup: Setup, jobs: int) -> int:
    """Return how many of ``jobs`` processes the memory holds; on a GPU, whose memory refuses by itself, all."""
    if setup.placement.device.type != "cpu":
        return jobs
    config, clips = setup.config, setup.train_indices
    batch_size = config.optim.batch_size
    assert isinstance(batch_size, int)  # several jobs take no other
    size = min(batch_size, config.optim.micro_batch or batch_size, len(clips))
    epoch = min(config.loss.sup_thresh, config.optim.epochs - 1)  # with all terms of the loss
    return setup.memory.steps_at_once(
        lambda count: setup.draw(np.resize(clips, count), epoch), epoch, size, jobs
    )


def _check_named(packed: PackedClips, data: str) -> None:
    """Raise ValueError unless ``packed`` holds the clips that ``data`` names."""
    named = open_clips(data)
    for column in ("name_hashes", "labels", "num_frames", "total_difference"):
        if not np.array_equal(getattr(packed, column), getattr(named, column)):
            raise ValueError(
                f"data = {data!r}: holds other clips than those given; several jobs open the clips that it names"
            )


def _compare_all(
    packed: PackedClips,
    plan: dict[str, RunConfig],
    out: Path,
    curves: dict[str, Curve],
    chance: float,
    echo: Callable[[str], None],
) -> None:
    """Compare the runs of ``plan`` that have curves, and those that were finished in ``out`` before."""
    if not curves:
        return
    curves = {name: curves[name] for name in plan if name in curves}
    failed = plan.keys() - curves.keys()  # whose folders may hold results of before
    earlier = {
        name: curve for name, curve in finished(out, COMPLETE, read_curves, echo).items() if name not in plan
    }
    title = curve_title(packed.source, earlier | curves)
    compare(earlier | curves, out, title=title, chance=chance, echo=echo)
    by_family = {
        name: families
        for name, families in finished(out, BY_FAMILY, read_families, echo).items()
        if name not in failed
    }
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
