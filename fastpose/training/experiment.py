"""Several training runs that differ in arm and seed, measured side by side."""

import dataclasses
import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from fastpose.data.denoising.denoiser import Denoiser
from fastpose.data.pack.packed import PackedClips
from fastpose.evaluation.curves import (
    Curve,
    format_spread,
    format_table,
    plot_curves,
    read_curves,
    sampling_error,
    write_curve,
)
from fastpose.evaluation.families import compare_families, read_families, write_families
from fastpose.evaluation.scores import GAUSSIAN, count_levels, format_speed
from fastpose.settings import Arm, OptimConfig, RunConfig
from fastpose.settings.checks import is_changed
from fastpose.settings.families import FAMILIES
from fastpose.settings.files import from_file, to_json
from fastpose.system.environment import describe
from fastpose.system.files import write_text
from fastpose.system.placement import Placement
from fastpose.training.batch_size import choose_batch_size
from fastpose.training.leave_one_out import join_left_out
from fastpose.training.setup import Setup
from fastpose.training.trainer import Trainer

CONFIG = "config.json"
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


def check_folder(folder: Path, config: RunConfig, *, resume: bool, overwrite: bool) -> None:
    """Refuse a run folder that exists, unless it is to be overwritten, or resumed with the same settings.

    Raises:
        ValueError: it exists, its settings are not ``config``, or they cannot be read.
    """
    if overwrite or not folder.exists():
        return
    if not resume:
        raise ValueError(
            f"{folder} exists; use --resume to go on, --overwrite to start anew, or another --out"
        )
    if not (folder / CONFIG).exists():
        return
    written, wanted = _settings(from_file(folder / CONFIG)), _settings(config)
    changed = [f"{name} ({written[name]!r} there)" for name in wanted if written[name] != wanted[name]]
    if changed:
        raise ValueError(
            f"{folder}: its settings differ in {', '.join(changed)}; --resume needs the same ones"
        )


def with_written_batch_size(folder: Path, config: RunConfig) -> RunConfig:
    """Return ``config``, and where its batch size is to be found, that which the run in ``folder`` was begun with."""
    if config.optim.batch_size != "auto" or not (folder / CONFIG).exists():
        return config
    written = from_file(folder / CONFIG).optim.batch_size
    return replace(config, optim=replace(config.optim, batch_size=written))


def _settings(config: RunConfig) -> dict[str, object]:
    """Return all settings by their dotted names."""
    return dict(_flattened(dataclasses.asdict(config)))


def _flattened(values: dict[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flattened(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def make_folder(folder: Path, config: RunConfig, *, overwrite: bool) -> None:
    """Make the folder of a run, with its settings and environment; what it held goes if ``overwrite``."""
    if folder.exists() and overwrite:
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / CONFIG, to_json(config))
    placement = Placement.choose(config.optim.device, config.optim.precision)
    environment = {**describe(), "placement": str(placement)}
    write_text(folder / "environment.json", json.dumps(environment, indent=2) + "\n")


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
        ValueError: a run's folder exists, or resuming with other settings.
    """
    if resume and not overwrite:
        plan = {name: with_written_batch_size(out / name, config) for name, config in plan.items()}
    for name, config in plan.items():  # refuse before the first run, not hours later
        check_folder(out / name, config, resume=resume, overwrite=overwrite)
        if (denoiser := Denoiser.open(config.eval.denoise)) is not None:
            denoiser.check_layout(packed.layout)
    curves: dict[str, Curve] = {}
    for name, config in plan.items():
        folder = out / name
        started = time.perf_counter()
        if config.optim.batch_size == "auto":
            config, reason = choose_batch_size(config, packed)
            echo(f"{name}: {reason}")
        trainer = Trainer(
            Setup(config, packed), folder, title=name
        )  # settings that do not work leave no folder
        make_folder(folder, config, overwrite=overwrite)
        trainer.fit(resume=resume)
        trained = time.perf_counter()
        measured = trainer.measure_families()
        curves[name] = measured[GAUSSIAN]
        scored = time.perf_counter()
        if is_changed(config.eval, "families"):
            families = {family: measured[family] for family in config.eval.families}
            write_families(folder / BY_FAMILY, {name: families})
        write_curve(folder / COMPLETE, {name: curves[name]})
        plot_curves(folder / "robustness.png", {name: curves[name]}, title=packed.source)
        num_levels = count_levels(config.eval.alphas, measured)
        speed = format_speed(len(trainer.setup.test_indices), num_levels, scored - trained)
        spent = f"{trained - started:.0f} s ({trainer.setup.placement})"
        echo(f"{name}: trained in {spent}, {speed}, in {folder}")
    earlier = {
        name: curve for name, curve in finished(out, COMPLETE, read_curves, echo).items() if name not in plan
    }
    compare(earlier | curves, out, title=packed.source, echo=echo)
    by_family = finished(out, BY_FAMILY, read_families, echo)
    whole, joined = join_left_out(by_family, earlier | curves)
    if whole:
        compare_families(whole, out / "families", group=without_seed, title=packed.source, echo=echo)
    if joined:
        echo("\nnoise families that were left out of training, each measured by the run without it")
        compare_families(joined, out / "leave_one_out", group=without_seed, title=packed.source, echo=echo)
    first = next(iter(next(iter(curves.values())).values()))
    echo(
        f"\n{first.num_clips} clips: the sampling error of {first.top1_percent:.1f} % is "
        f"±{sampling_error(first):.2f} points"
    )
    echo(f"curves: {out / COMPLETE}, {out / 'robustness.png'}")
    return curves


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


def without_seed(name: str) -> str:
    """Return the part of a run's name that its seeds share."""
    return name.rsplit("-s", 1)[0]


def compare(curves: dict[str, Curve], out: Path, *, title: str, echo: Callable[[str], None]) -> None:
    """Write ``curves`` to ``out`` as csv and plot; echo them, and the spread over the seeds of each arm."""
    write_curve(out / COMPLETE, curves)
    plot_curves(out / "robustness.png", curves, title=title)
    echo("\n" + format_table(curves))
    groups: dict[str, list[Curve]] = {}
    for name, curve in curves.items():
        groups.setdefault(without_seed(name), []).append(curve)
    repeated = {name: group for name, group in groups.items() if len(group) > 1}
    if repeated:
        echo("\n" + format_spread(repeated))
