"""The training loop: batches from the sampler, steps of the task, metrics, checkpoints."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from fastpose.evaluation.curves import Curve, Families, measure_families
from fastpose.evaluation.scores import GAUSSIAN, count_levels
from fastpose.models.recompute import kept_statistics
from fastpose.settings import EvalConfig
from fastpose.system.memory import begin_peak, peak_memory
from fastpose.system.prefetch import Prefetcher
from fastpose.training.checkpoint import CHECKPOINT, read_checkpoint, save_checkpoint
from fastpose.training.early_stop import EarlyStop
from fastpose.training.loggers import CsvLog, TensorBoardLog
from fastpose.training.optimizer import restore_optimizer
from fastpose.training.schedules import learning_rate_factor
from fastpose.training.setup import Setup
from fastpose.training.side_stream import SideStream
from fastpose.training.task import Views
from fastpose.weights.runs import METRICS, WEIGHTS, write_weights


def _summary(row: dict[str, float | int]) -> dict[str, str]:
    """Return what the progress bar shows of a row of the log."""
    shown = {
        "epoch": f"{row['epoch'] + 1}",
        "loss": f"{row['loss']:.3f}",
        "top1": f"{row['train_top1_percent']:.1f}",
    }
    return shown | ({"val": f"{row['val_top1_percent']:.1f}"} if "val_top1_percent" in row else {})


class Trainer:
    """Trains the model of ``setup``, writing its run folder.

    Each epoch depends only on the seed, its number and the state before it, so that a resumed run ends with
    the same weights as an uninterrupted one.

    Args:
        setup: the parts of the run.
        folder: where it is written.
        title: of its progress bars.
        checkpoint_seconds: from one checkpoint to the next, at least.
        quiet: show and say nothing.
        bar: makes a progress bar, from arguments of ``tqdm``.
        echo: is given what there is to say.

    Raises:
        ValueError: batches of one clip, for a model that cannot be trained on them.
    """

    def __init__(
        self,
        setup: Setup,
        folder: Path,
        *,
        title: str = "",
        checkpoint_seconds: float = 30.0,
        quiet: bool = False,
        bar: Callable[..., Any] = tqdm,
        echo: Callable[[str], object] = tqdm.write,
    ) -> None:
        self.setup, self.config = setup, setup.config
        self.folder, self.title = folder, title
        self.checkpoint_seconds, self.quiet = checkpoint_seconds, quiet
        self._make_bar, self._say = bar, echo
        self.early_stop = EarlyStop(self.config.optim.patience) if self.config.optim.patience else None
        self._device = setup.placement.device
        self._side_stream = SideStream(self._device) if self._device.type == "cuda" else None
        self._fits = False  # whether a batch was found to fit in memory
        self._refuse_lone_clips()
        if setup.report is not None:
            self._echo(str(setup.report))

    def fit(self, *, resume: bool = False) -> None:
        """Train, logging every epoch, and write the final weights: those after the last epoch.

        With ``optim.patience``, training may end earlier, and the weights are those of the best validation.
        With ``resume``, go on from the folder's checkpoint where there is one.

        Raises:
            ValueError: the loss is not finite, or the checkpoint is damaged.
        """
        first = self._restore() if resume and (self.folder / CHECKPOINT).exists() else 0
        epochs = self.config.optim.epochs
        csv = CsvLog(self.folder / METRICS, first)
        board = TensorBoardLog(self.folder, first)
        begin_peak(self._device)  # not in every epoch: steps that are replayed allocate nothing
        saved_at = time.monotonic()
        steps = len(self.setup.order.batches)
        with self._make_bar(total=epochs * steps, initial=first * steps, desc=self.title, unit="step",
                            disable=self.quiet, mininterval=0.5) as bar:  # fmt: skip
            for epoch in range(first, epochs):
                if self._stopped:  # before the interruption
                    break
                row = self._train_epoch(epoch, steps, bar) | self._validate(epoch)
                csv.write(row)
                board.write(row)
                bar.set_postfix(_summary(row), refresh=False)
                last = epoch + 1 == epochs or self._stopped
                if last or time.monotonic() - saved_at >= self.checkpoint_seconds:
                    self._save(epoch + 1)
                    saved_at = time.monotonic()
        board.close()
        self._take_best()
        write_weights(self.folder / WEIGHTS, self.setup.trained_model.state_dict(), self.setup.card)

    @property
    def _stopped(self) -> bool:
        return self.early_stop is not None and self.early_stop.exhausted

    def _take_best(self) -> None:
        if self.early_stop is None:
            return
        best = self.early_stop
        best.restore_best(self.setup.trained_model)
        why = (
            f"stopped after {best.stale} validations without a better one"
            if self._stopped
            else "all epochs done"
        )
        self._echo(
            f"{self.folder.name}: {why}; its weights are those after epoch {best.best_epoch}, with a mean top-1 of "
            f"{best.best_score:.1f} % on the held-out clips"
        )

    def measure(self) -> Curve:
        """Return the accuracy at every level of Gaussian noise on the clips to be measured on."""
        return self._measure((GAUSSIAN,))[GAUSSIAN]

    def measure_families(self) -> Families:
        """Return the curve of Gaussian noise, and of each noise family of the settings' evaluation."""
        return self._measure(tuple(dict.fromkeys((GAUSSIAN, *self.config.eval.families))))

    def _measure(self, families: tuple[str, ...]) -> Families:
        settings = replace(self.config.eval, families=families)
        total = len(self.setup.test_indices) * count_levels(settings.alphas, families)
        with self._make_bar(total=total, desc=f"{self.title} α grid", unit="clip", disable=self.quiet) as bar:
            return self._score(self.setup.test_indices, settings, bar.update)

    def _validate(self, epoch: int) -> dict[str, float]:
        """Score the held-out clips where it is time to; return the columns of the log, times in seconds."""
        optim = self.config.optim
        if not optim.val_every or ((epoch + 1) % optim.val_every and epoch + 1 < optim.epochs):
            return {}
        started = time.perf_counter()
        gaussian = replace(self.config.eval, alphas=optim.val_alphas, families=(GAUSSIAN,))
        settings = replace(gaussian, num_clips=1, flip_test=False)
        curve = self._score(self.setup.val_indices, settings)[GAUSSIAN]
        top1 = {alpha: accuracy.top1_percent for alpha, accuracy in curve.items()}
        seconds = time.perf_counter() - started
        mean = sum(top1.values()) / len(top1)
        if self.early_stop is not None:
            self.early_stop.update(mean, epoch + 1, self.setup.trained_model)
        return {
            "val_top1_percent": mean,
            **{f"val_top1_percent_at_{alpha:g}": value for alpha, value in top1.items()},
            "val_s": seconds,
            "val_clips_per_s": len(self.setup.val_indices) * len(top1) / seconds,
        }

    def _score(
        self,
        indices: np.ndarray,
        settings: EvalConfig,
        on_batch: Callable[[int], object] = lambda clips: None,
    ) -> Families:
        setup = self.setup
        return measure_families(
            setup.trained_model, setup.packed, indices, settings=settings, placement=setup.placement,
            sampler=setup.evaluation_sampler, on_batch=on_batch,
        )  # fmt: skip

    def batches(self, epoch: int, steps: int) -> Iterator[Views]:
        """Draw the views of one epoch's batches."""
        order = self.setup.order.epoch(epoch)
        return (
            self.setup.draw(order.clips[part], epoch, order.passes[part])
            for part in self.setup.order.batches[:steps]
        )

    def _refuse_lone_clips(self) -> None:
        """Raise ValueError where a single clip passes through a model that cannot train on one."""
        setup, most = self.setup, self.config.optim.micro_batch
        sizes = [part.stop - part.start for part in self.setup.order.batches]
        if min(size // (1 if most is None else math.ceil(size / most)) for size in sizes) > 1:
            return
        views = setup.draw(setup.train_indices[:1], 0)
        views = {view: batch.to(self._device) for view, batch in views.items()}
        setup.model.train()
        devices = [self._device] if self._device.type == "cuda" else []
        try:
            with (
                torch.no_grad(),
                torch.random.fork_rng(devices),
                kept_statistics(setup.model),
                setup.placement.autocast(),
            ):
                setup.task.forward(setup.model, views)
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise ValueError(
                f"{self.config.model.model} cannot be trained on one clip at a time, since it normalises features over "
                "clips; expected two training clips or more, and a --batch-size and --micro-batch of 2 or more"
            ) from error

    def _train_epoch(self, epoch: int, steps: int, bar: Any) -> dict[str, float | int]:
        optim = self.config.optim
        torch.manual_seed((self.config.seed * 1_000_003 + epoch) % 2**63)  # dropout: by seed and epoch alone
        self.setup.model.train()
        started = time.perf_counter()
        sums: dict[str, Tensor] = {}
        correct, known = torch.zeros((), device=self._device), torch.zeros((), device=self._device)
        source, side = self.batches(epoch, steps), self._side_stream
        with Prefetcher[Any](source if side is None else side.draw(source)) as prefetcher:
            for step, drawn in enumerate(prefetcher):
                rate = optim.lr * learning_rate_factor(epoch * steps + step, steps, optim)
                batches: Views = drawn if side is None else side.take(drawn)
                if not self._fits:
                    self.setup.memory.check(batches, epoch)
                    self._fits = True
                result = self.setup.step(batches, epoch, rate)
                labels = next(iter(batches.values())).labels
                correct += (result.pop("output").argmax(dim=1) == labels).sum()
                known += (labels >= 0).sum()
                for name, value in result.items():
                    sums[name] = sums.get(name, 0) + value * len(labels)
                bar.update()
        count = len(self.setup.order)
        means = {name: float(value) / count for name, value in sums.items()}
        if not math.isfinite(means["loss"]):
            raise ValueError(
                f"the loss of epoch {epoch} is {means['loss']}: training diverged; try a smaller --lr"
            )
        seconds = time.perf_counter() - started
        return {
            "epoch": epoch,
            **means,
            "train_top1_percent": 100 * float(correct) / float(known),
            "lr": rate,
            "epoch_s": seconds,
            "clips_per_s": count / seconds,
            "wait_s": prefetcher.wait_seconds,
            "wait_share": prefetcher.wait_seconds / seconds,
            "peak_memory_mb": peak_memory(self._device) / 2**20,
        }

    def _save(self, epochs_done: int) -> None:
        state = {
            "epochs_done": epochs_done,
            "model": self.setup.model.state_dict(),
            "optimizer": self.setup.optimizer.state_dict(),
        }
        if self.setup.average is not None:
            state["average"] = self.setup.average.state_dict()
        if self.early_stop is not None:
            state["early_stop"] = self.early_stop.state_dict()
        save_checkpoint(self.folder, state)

    def _restore(self) -> int:
        state = read_checkpoint(self.folder)
        try:
            self.setup.model.load_state_dict(state["model"])
            restore_optimizer(self.setup.optimizer, state["optimizer"])
            if self.setup.average is not None:
                self.setup.average.load_state_dict(state["average"])
            if self.early_stop is not None:
                self.early_stop.load_state_dict(state["early_stop"], self.setup.trained_model)
        except (KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
            raise ValueError(
                f"{self.folder / CHECKPOINT}: is of another run, its weights or optimiser state do not fit this one"
            ) from error
        done, epochs = state["epochs_done"], self.config.optim.epochs
        if not isinstance(done, int) or not 0 < done <= epochs:
            raise ValueError(
                f"{self.folder / CHECKPOINT}: is of another run, after {done!r} epochs where this one has {epochs}"
            )
        return done

    def _echo(self, text: str) -> None:
        if not self.quiet:
            self._say(text)
