"""The training loop: batches from the sampler, steps of the task, metrics, checkpoints."""

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from fastpose.evaluation.curves import Curve, Families, curve_of
from fastpose.evaluation.scores import GAUSSIAN, ClipScores, count_levels, score_families
from fastpose.models.shared_statistics import average_statistics, running_statistics
from fastpose.settings import EvalConfig
from fastpose.system.memory import begin_peak, peak_memory
from fastpose.system.prefetch import Prefetcher
from fastpose.training.accumulation import random_state, set_random_state
from fastpose.training.checkpoint import CHECKPOINT, has_checkpoint, save_checkpoint, take_checkpoint
from fastpose.training.early_stop import EarlyStop
from fastpose.training.epoch_totals import EpochTotals
from fastpose.training.loggers import RunLog
from fastpose.training.lone_clips import refuse_lone_clips
from fastpose.training.optimizer import restore_optimizer
from fastpose.training.schedules import learning_rate_factor
from fastpose.training.setup import Setup
from fastpose.training.side_stream import SideStream
from fastpose.training.task import Views, labels_of
from fastpose.weights.runs import WEIGHTS, write_weights

SAVE, END = 1.0, 2.0  # what a process may ask of all: a checkpoint after the step in hand, and to end with it

OnEpoch = Callable[[dict[str, float | int]], object]


def _summary(row: dict[str, float | int]) -> dict[str, str]:
    """Return what the progress bar shows of a row of the log."""
    shown = {
        "epoch": f"{row['epoch'] + 1}",
        "loss": f"{row['loss']:.3f}",
        "top1": f"{row['train_top1_percent']:.1f}",
    }
    return shown | ({"val": f"{row['val_top1_percent']:.1f}"} if "val_top1_percent" in row else {})


def _refuse_divergence(totals: EpochTotals, epoch: int) -> None:
    """Raise ValueError where the loss was not finite, before a checkpoint keeps such weights."""
    if not math.isfinite(loss := float(totals.sums["loss"])):
        raise ValueError(f"the loss of epoch {epoch} is {loss}: training diverged; try a smaller --lr")


class _ToldToEndError(Exception):
    """Ends scoring."""


class Trainer:
    """Trains the model of ``setup``, writing its run folder.

    Each step depends only on the seed, its number and the state before it, so that a resumed run ends with the same
    weights as an uninterrupted one. Of several processes (``setup.processes``) each has a trainer, and calls the same
    methods; the first one writes and speaks.

    Args:
        setup: the parts of the run.
        folder: where it is written.
        title: of its progress bars.
        quiet: show and say nothing.
        bar: makes a progress bar, from arguments of ``tqdm``.
        echo: is given what there is to say.
        told_to_end: once it is set, training ends after the step in hand, with a checkpoint and KeyboardInterrupt.
        on_epoch: is given the row of metrics of each epoch once it is done and written; what it raises ends training.

    Raises:
        ValueError: batches of one clip, for a model that cannot be trained on them.
    """

    def __init__(
        self,
        setup: Setup,
        folder: Path,
        *,
        title: str = "",
        quiet: bool = False,
        bar: Callable[..., Any] = tqdm,
        echo: Callable[[str], object] = tqdm.write,
        told_to_end: threading.Event | None = None,
        on_epoch: OnEpoch = lambda row: None,
    ) -> None:
        self.setup, self.config, self.processes = setup, setup.config, setup.processes
        self.folder, self.title = folder, title
        self.quiet = quiet or not self.processes.leads
        self._make_bar, self._say, self._on_epoch = bar, echo, on_epoch
        self.told_to_end = told_to_end or threading.Event()
        if setup.step.shared is not None:
            setup.step.shared.asks = self._ask
        self.early_stop = EarlyStop(self.config.optim.patience) if self.config.optim.patience else None
        self._device = setup.placement.device
        self._side_stream = SideStream(self._device) if self._device.type == "cuda" else None
        self._fits = False  # whether a batch was found to fit in memory
        refuse_lone_clips(setup)
        if setup.report is not None:
            self._echo(str(setup.report))

    def fit(self, *, resume: bool = False) -> None:
        """Train, logging every epoch, and write the final weights: those after the last epoch.

        With ``optim.patience``, training may end earlier, and the weights are those of the best validation.
        With ``resume``, go on from the folder's checkpoint where there is one.

        Raises:
            ValueError: the loss is not finite, or the checkpoint is damaged.
        """
        first, totals = self._restore() if resume else (0, EpochTotals())
        epochs = self.config.optim.epochs
        log = RunLog(self.folder, first, writes=self.processes.leads)
        begin_peak(self._device)  # not in every epoch: steps that are replayed allocate nothing
        self._saved_at = time.monotonic()
        steps = len(self.setup.order.batches)
        with self._make_bar(total=epochs * steps, initial=first * steps + totals.steps, desc=self.title, unit="step",
                            disable=self.quiet, mininterval=0.5) as bar:  # fmt: skip
            for epoch in range(first, epochs):
                if self._stopped:  # before the interruption
                    break
                row = self._train_epoch(epoch, steps, bar, totals) | self._validate(epoch)
                totals = EpochTotals()
                log.write(row)
                bar.set_postfix(_summary(row), refresh=False)
                if epoch + 1 == epochs or self._stopped or self._save_is_due:
                    self._save(epoch + 1)
                self._on_epoch(row)
        log.close()
        self._take_best()
        if self.processes.leads:
            write_weights(self.folder / WEIGHTS, self.setup.trained_model.state_dict(), self.setup.card)

    @property
    def _save_is_due(self) -> bool:
        return time.monotonic() - self._saved_at >= 60 * self.config.optim.checkpoint_minutes

    def _ask(self) -> float:
        """Return what this process wants after the step in hand: 0, SAVE or END."""
        if self.told_to_end.is_set():
            return END
        return SAVE if self.processes.leads and self._save_is_due else 0.0

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
        """Score clips, of several processes each its part of them where there are as many; all return the same."""
        setup, processes = self.setup, self.processes
        shares = processes.size > 1 and len(indices) >= processes.size
        mine = indices[processes.parts(len(indices))[processes.rank]] if shares else indices

        def go_on(clips: int) -> None:
            if self.told_to_end.is_set():
                raise _ToldToEndError
            on_batch(clips * len(indices) // len(mine))

        scores: dict[str, ClipScores] = {}
        with suppress(_ToldToEndError):
            scores = score_families(
                setup.trained_model, setup.packed, mine, settings=settings, placement=setup.placement,
                sampler=setup.evaluation_sampler, on_batch=go_on,
            )  # fmt: skip
        told = torch.tensor(int(not scores), device=self._device)
        processes.add(told)  # so that all end where one is told to, and none waits for counts
        if told:
            raise KeyboardInterrupt
        add_up = processes.add if shares else None
        return {family: curve_of(scored, add_up) for family, scored in scores.items()}

    def batches(self, epoch: int, begin: int = 0) -> Iterator[Views]:
        """Draw the views of an epoch's batches from step ``begin`` on; of several processes, this one's parts of them.

        Where a batch has no clip for this process, its first one stands in.
        """
        order = self.setup.order.epoch(epoch)
        for part in self.setup.order.batches[begin:]:
            clips = self.processes.part_of(part)
            yield self.setup.draw(order.clips[clips], epoch, order.passes[clips])

    def _train_epoch(self, epoch: int, steps: int, bar: Any, begun: EpochTotals) -> dict[str, float | int]:
        """Take the steps of an epoch that are not done, and return its row of the log."""
        if begun.steps == 0:
            self._seed(epoch)
        self.setup.model.train()
        started = time.perf_counter()
        totals = begun.to(self._device)
        source, side = self.batches(epoch, begun.steps), self._side_stream
        with Prefetcher[Any](source if side is None else side.draw(source)) as prefetcher:
            for drawn in prefetcher:
                batches: Views = drawn if side is None else side.take(drawn)
                if not self._fits:
                    self.setup.memory.check(batches, epoch)
                    self._fits = True
                part = self.setup.order.batches[totals.steps]
                clips = part.stop - part.start
                result = self.setup.step(batches, epoch, self._rate(epoch, totals.steps, steps), clips)
                totals.add(result, labels_of(batches), clips)
                totals.seconds = begun.seconds + time.perf_counter() - started
                totals.waited = begun.waited + prefetcher.wait_seconds
                shared = self.setup.step.shared
                wanted = self._ask() if shared is None else shared.answer()
                if wanted == END or (wanted == SAVE and totals.steps < steps):
                    _refuse_divergence(totals, epoch)
                    self._save(epoch, totals)
                if wanted == END:
                    raise KeyboardInterrupt
                bar.update()
        average_statistics(self.setup.model, self.processes)
        if self.setup.average is not None:
            self.setup.average.take_buffers(self.setup.model)
        self.processes.add(totals.correct, totals.known)
        _refuse_divergence(totals, epoch)
        count = len(self.setup.order)
        means = {name: float(value) / count for name, value in totals.sums.items()}
        seconds = begun.seconds + time.perf_counter() - started
        return {
            "epoch": epoch,
            **means,
            "train_top1_percent": 100 * float(totals.correct) / float(totals.known),
            "lr": self._rate(epoch, steps - 1, steps),
            "epoch_s": seconds,
            "clips_per_s": count / seconds,
            "wait_s": totals.waited,
            "wait_share": totals.waited / seconds,
            "peak_memory_mb": peak_memory(self._device) / 2**20,
        }

    def _rate(self, epoch: int, step: int, steps: int) -> float:
        optim = self.config.optim
        return optim.lr * learning_rate_factor(epoch * steps + step, steps, optim)

    def _seed(self, epoch: int, step: int = 0) -> None:
        """Let dropout depend on the seed, the step and the process alone."""
        apart = 2_654_435_761 * self.processes.rank + 40_503 * step
        torch.manual_seed((self.config.seed * 1_000_003 + epoch + apart) % 2**63)

    def _save(self, epochs_done: int, totals: EpochTotals | None = None) -> None:
        """Write a checkpoint after so many epochs, and the steps of the next one that ``totals`` are of."""
        state: dict[str, Any] = {
            "epochs_done": epochs_done,
            "model": self.setup.model.state_dict(),
            "optimizer": self.setup.optimizer.state_dict(),
        }
        if self.setup.average is not None:
            state["average"] = self.setup.average.state_dict()
        if self.early_stop is not None:
            state["early_stop"] = self.early_stop.state_dict()
        if totals is not None:
            state["epoch"] = totals.to(torch.device("cpu")).state_dict()
            statistics = running_statistics(self.setup.model)
            own = {
                "random": random_state(self._device),
                "statistics": {name: value.cpu() for name, value in statistics.items()},
                "correct": totals.correct.cpu(),
                "known": totals.known.cpu(),
            }
            state["processes"] = self.processes.collect(own)
        if self.processes.leads:
            save_checkpoint(self.folder, state)
        self._saved_at = time.monotonic()

    def _restore(self) -> tuple[int, EpochTotals]:
        """Go on from the folder's checkpoint; return the epochs that are done, and the begun one's totals."""
        folder, epochs = self.folder, self.config.optim.epochs
        state = self.processes.first(lambda: take_checkpoint(folder) if has_checkpoint(folder) else None)
        if state is None:
            return 0, EpochTotals()
        totals = EpochTotals()
        try:
            self.setup.model.load_state_dict(state["model"])
            restore_optimizer(self.setup.optimizer, state["optimizer"])
            if self.setup.average is not None:
                self.setup.average.load_state_dict(state["average"])
            if self.early_stop is not None:
                self.early_stop.load_state_dict(state["early_stop"], self.setup.trained_model)
            if "epoch" in state:
                totals = self._go_on_within(state)
        except (KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
            raise ValueError(
                f"{self.folder / CHECKPOINT}: is of another run, its weights or optimiser state do not fit this one"
            ) from error
        done, steps = state["epochs_done"], len(self.setup.order.batches)
        if type(done) is not int or not 0 <= done <= epochs or (done == 0 and totals.steps == 0):
            raise ValueError(
                f"{self.folder / CHECKPOINT}: is of another run, after {done!r} epochs where this one has {epochs}"
            )
        if totals.steps > (steps if done < epochs else 0):
            raise ValueError(
                f"{self.folder / CHECKPOINT}: is of another run, {totals.steps} steps into an epoch of {steps} here"
            )
        return done, totals

    def _go_on_within(self, state: dict[str, Any]) -> EpochTotals:
        """Go on within an epoch, with the random numbers and running statistics of each process.

        Of another number of processes, each begins with the mean of these statistics and random numbers of its own.
        """
        totals, parts = EpochTotals.from_state(state["epoch"]), state["processes"]
        statistics = running_statistics(self.setup.model)
        if len(parts) == self.processes.size:
            own = parts[self.processes.rank]
            found = own["statistics"]
            set_random_state(self._device, own["random"])
            totals.correct, totals.known = own["correct"], own["known"]
        else:
            found = {
                name: torch.stack([part["statistics"][name] for part in parts]).mean(0) for name in statistics
            }
            self._seed(state["epochs_done"], totals.steps)
            none = torch.zeros((), dtype=torch.int64)
            for name in ("correct", "known"):  # which are added up
                of_all = sum((part[name] for part in parts), none)
                setattr(totals, name, of_all if self.processes.leads else none)
        for name, statistic in statistics.items():
            statistic.copy_(found[name])
        return totals

    def _echo(self, text: str) -> None:
        if not self.quiet:
            self._say(text)
