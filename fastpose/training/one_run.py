"""One run of an experiment: trained, measured, and written to its folder."""

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fastpose.data.synthetic.builtin import open_clips
from fastpose.evaluation.confusion import write_pairs
from fastpose.evaluation.curve_plot import curve_title, plot_curves
from fastpose.evaluation.curves import Curve, write_curve
from fastpose.evaluation.families import write_families
from fastpose.evaluation.scores import GAUSSIAN, count_levels, format_speed
from fastpose.models.inputs.protocol import PoseModule
from fastpose.models.registry import MODELS, register_model
from fastpose.settings import RunConfig
from fastpose.settings.checks import is_changed
from fastpose.training.run_folder import FINGERPRINT, open_folder
from fastpose.training.setup import Setup
from fastpose.training.trainer import OnEpoch, Trainer
from fastpose.weights.runs import BY_FAMILY, COMPLETE, CONFUSED


def train_run(
    trainer: Trainer, chance: float, *, resume: bool, overwrite: bool, echo: Callable[[str], object]
) -> Curve:
    """Train a run and measure it, write what was measured to its folder, and return its curve.

    Of several processes each calls it with its trainer, and the first one writes.

    Args:
        trainer: of the run.
        chance: what always answering the largest class would reach, in percent.
        resume: go on from the folder's checkpoint.
        overwrite: delete first what is in the folder.
        echo: is told how long it took.

    Raises:
        ValueError: as ``open_folder`` and ``Trainer.fit``.
    """
    config, folder, processes = trainer.config, trainer.folder, trainer.processes
    facts = {"world_size": processes.size, FINGERPRINT: trainer.setup.fingerprint}
    with ExitStack() as held:
        processes.first(lambda: held.enter_context(
            open_folder(folder, config, resume=resume, overwrite=overwrite, facts=facts)
        ))  # fmt: skip
        started = time.perf_counter()
        trainer.fit(resume=resume)
        trained = time.perf_counter()
        measured = trainer.measure_families()
        scored = time.perf_counter()
        if not processes.leads:
            return measured[GAUSSIAN]
        curve = {folder.name: measured[GAUSSIAN]}
        if is_changed(config.eval, "families"):
            families = {family: measured[family] for family in config.eval.families}
            write_families(folder / BY_FAMILY, {folder.name: families})
        least_noisy = measured[GAUSSIAN][min(config.eval.alphas)]
        write_pairs(folder / CONFUSED, least_noisy, trainer.setup.packed.class_names)
        title = curve_title(trainer.setup.packed.source, curve)
        plot_curves(folder / "robustness.png", curve, title, [chance])
        write_curve(folder / COMPLETE, curve)  # the last: it tells that the run is finished
    num_levels = count_levels(config.eval.alphas, measured)
    speed = format_speed(len(trainer.setup.test_indices), num_levels, scored - trained)
    spent = f"{trained - started:.0f} s ({trainer.setup.placement})"
    echo(f"{folder.name}: trained in {spent}, {speed}, in {folder}")
    return measured[GAUSSIAN]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTask:
    """A run that another process can be told to train; it opens the clips, which are mapped, by itself.

    Attributes:
        folder: of the run, whose name is the run's.
        threads: CPU threads for torch.
        factory: makes the model where it is one of a user's own.
        chance, resume, overwrite: as in ``train_run``.
    """

    config: RunConfig
    folder: Path
    threads: int
    factory: Callable[..., PoseModule] | None
    chance: float
    resume: bool
    overwrite: bool

    def __call__(
        self,
        bar: Callable[..., Any],
        echo: Callable[[str], object],
        told_to_end: threading.Event,
        on_epoch: OnEpoch = lambda row: None,
    ) -> Curve:
        """Train and measure; the arguments are those of ``Trainer``."""
        torch.set_num_threads(self.threads)
        if self.factory is not None and self.config.model.model not in MODELS:
            register_model(self.config.model.model, self.factory)
        packed = open_clips(self.config.data.data)
        trainer = Trainer(
            Setup(self.config, packed), self.folder, title=self.folder.name, bar=bar, echo=echo,
            told_to_end=told_to_end, on_epoch=on_epoch,
        )  # fmt: skip
        return train_run(trainer, self.chance, resume=self.resume, overwrite=self.overwrite, echo=echo)
