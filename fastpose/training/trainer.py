"""The training loop: batches from the sampler, steps of the task, metrics, checkpoints."""

import functools
import math
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from fastpose.data.pack.packed import PackedClips
from fastpose.data.pack.splits import held_out_clips, select_clips
from fastpose.data.sampling.device import DeviceClipSampler, sampler_on
from fastpose.data.sampling.loader import Prefetcher
from fastpose.data.sampling.sampler import ClipSampler
from fastpose.evaluation.curves import Curve, measure_curve
from fastpose.evaluation.scores import evaluation_sampler
from fastpose.models.inputs.input_maker import memory_format_for
from fastpose.models.inputs.motionbert_published import match_clips
from fastpose.models.recompute import recompute_activations
from fastpose.settings.config import EvalConfig, OptimConfig, RunConfig
from fastpose.system.allocator import keep_freed_memory
from fastpose.system.memory import begin_peak, peak_memory
from fastpose.system.precision import autocast_for, choose_device, choose_precision
from fastpose.training.averaging import MovingAverage
from fastpose.training.early_stop import EarlyStop
from fastpose.training.loggers import CsvLog, TensorBoardLog
from fastpose.training.schedules import learning_rate_factor
from fastpose.training.step import TrainingStep, make_optimizer, restore_optimizer
from fastpose.training.task import PoseTask, Views
from fastpose.weights.checkpoint import (
    CHECKPOINT,
    ModelCard,
    build_model,
    read_checkpoint,
    save_checkpoint,
    save_weights,
    weights_file,
)
from fastpose.weights.loading import load_checkpoint


def parameter_groups(model: nn.Module, optim: OptimConfig) -> list[dict[str, Any]]:
    """Return the optimiser's groups: one, or the backbone's and the head's where the head has its own rate.

    The head's ``lr_scale`` is its learning rate over ``optim.lr``.
    """
    if optim.head_lr is None:
        return [{"params": list(model.parameters())}]
    backbone, head = [], []
    for name, parameter in model.named_parameters():
        (head if name.startswith(model.head_prefix) else backbone).append(parameter)
    return [{"params": backbone}, {"params": head, "lr_scale": optim.head_lr / optim.lr}]


def epoch_order(indices: np.ndarray, seed: int, epoch: int) -> np.ndarray:
    """Return ``indices`` in the random order of one epoch, which depends on nothing else."""
    return np.random.Generator(np.random.Philox(key=[seed, epoch])).permutation(indices)


def _summary(row: dict[str, float | int]) -> dict[str, str]:
    """What the progress bar shows of a row of the log."""
    shown = {
        "epoch": f"{row['epoch'] + 1}",
        "loss": f"{row['loss']:.3f}",
        "top1": f"{row['train_top1_percent']:.1f}",
    }
    return shown | ({"val": f"{row['val_top1_percent']:.1f}"} if "val_top1_percent" in row else {})


class Trainer:
    """Trains one model as ``config`` says, writing its run folder.

    Each epoch depends only on the seed, its number and the state before it, so that a resumed run ends with
    the same weights as an uninterrupted one.
    """

    def __init__(
        self,
        config: RunConfig,
        packed: PackedClips,
        folder: Path,
        *,
        title: str = "",
        checkpoint_seconds: float = 30.0,
        quiet: bool = False,
    ) -> None:
        if config.optim.batch_size == "auto":
            raise ValueError("batch_size = 'auto': a Trainer needs a number, such as choose_batch_size finds")
        for sentence in config.idle_settings():
            warnings.warn(sentence, stacklevel=2)
        self.packed = match_clips(packed) if config.model.published else packed
        self.config, self.folder, self.title = config, folder, title
        self.checkpoint_seconds, self.quiet = checkpoint_seconds, quiet
        self.device = choose_device(config.optim.device)
        self.dtype = choose_precision(config.optim.precision, self.device)
        self.autocast = autocast_for(self.device, config.optim.precision)
        if config.loss.contrast_precision != "auto" and self.device.type != "cuda":
            warnings.warn(
                f"contrast_precision = {config.loss.contrast_precision!r} has no effect on the CPU",
                stacklevel=2,
            )
        if self.device.type == "cpu":
            keep_freed_memory()
        if config.optim.threads is not None:
            torch.set_num_threads(config.optim.threads)
        self.train_indices, self.test_indices = select_clips(packed, config.data)
        self.val_indices = held_out_clips(packed, config.data)
        self.task = PoseTask(config, self.dtype)
        torch.manual_seed(config.seed)
        max_persons = config.data.max_persons or packed.max_persons
        self.card = ModelCard(config, packed.layout, packed.class_names, max_persons)
        model = build_model(self.card)
        if config.model.init is not None:
            report = load_checkpoint(model, weights_file(config.model.init))
            model.reset_head()  # equal numbers of classes need not be the same classes
            self._echo(str(report))
        self.model = model.to(self.device, memory_format=memory_format_for(model, self.dtype))
        groups = parameter_groups(self.model, config.optim)
        self.optimizer = make_optimizer(groups, config.optim, self.device)
        self.average = MovingAverage(self.model, config.optim.ema) if config.optim.ema else None
        self.early_stop = EarlyStop(config.optim.patience) if config.optim.patience else None
        recompute_activations(self.model, config.optim.checkpoint_activations)
        self.step = TrainingStep(
            self.task, self.model, self.optimizer, config.optim, self.autocast, self.average
        )

    @property
    def trained_model(self) -> nn.Module:
        """The model to evaluate: the moving average of the weights where there is one."""
        return self.model if self.average is None else self.average.module

    def fit(self, *, resume: bool = False) -> None:
        """Train, logging every epoch, and write the final weights: those after the last epoch.

        With ``optim.patience``, training may end earlier, and the weights are those of the best validation.
        With ``resume``, go on from the folder's checkpoint where there is one.

        Raises:
            ValueError: the loss is not finite, or the checkpoint is damaged.
        """
        first = self._restore() if resume and (self.folder / CHECKPOINT).exists() else 0
        epochs = self.config.optim.epochs
        csv = CsvLog(self.folder / "metrics.csv", first)
        board = TensorBoardLog(self.folder, first)
        begin_peak(self.device)  # not in every epoch: steps that are replayed allocate nothing
        saved_at = time.monotonic()
        steps = math.ceil(len(self.train_indices) / self.config.optim.batch_size)
        with tqdm(total=epochs * steps, initial=first * steps, desc=self.title, unit="step",
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
        save_weights(self.folder, self.trained_model.state_dict(), self.card)

    @property
    def _stopped(self) -> bool:
        return self.early_stop is not None and self.early_stop.exhausted

    def _take_best(self) -> None:
        if self.early_stop is None:
            return
        best = self.early_stop
        best.restore_best(self.trained_model)
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
        """Return the accuracy at every noise level on the clips to be measured on."""
        settings = self.config.eval
        total = len(self.test_indices) * len(settings.alphas)
        with tqdm(total=total, desc=f"{self.title} α grid", unit="clip", disable=self.quiet) as bar:
            return self._score(self.test_indices, settings, bar.update)

    def _validate(self, epoch: int) -> dict[str, float]:
        """Score the held-out clips where it is time to; return the columns of the log, times in seconds."""
        optim = self.config.optim
        if not optim.val_every or ((epoch + 1) % optim.val_every and epoch + 1 < optim.epochs):
            return {}
        started = time.perf_counter()
        settings = replace(self.config.eval, alphas=optim.val_alphas, num_clips=1, flip_test=False)
        curve = self._score(self.val_indices, settings)
        top1 = {alpha: accuracy.top1_percent for alpha, accuracy in curve.items()}
        seconds = time.perf_counter() - started
        mean = sum(top1.values()) / len(top1)
        if self.early_stop is not None:
            self.early_stop.update(mean, epoch + 1, self.trained_model)
        return {
            "val_top1_percent": mean,
            **{f"val_top1_percent_at_{alpha:g}": value for alpha, value in top1.items()},
            "val_s": seconds,
            "val_clips_per_s": len(self.val_indices) * len(top1) / seconds,
        }

    def _score(
        self, indices: np.ndarray, settings: EvalConfig, on_batch: Callable[[int], None] = lambda clips: None
    ) -> Curve:
        return measure_curve(
            self.trained_model, self.packed, indices, self.config.data, settings, device=self.device,
            autocast=self.autocast, sampler=self._evaluation_sampler, on_batch=on_batch,
        )  # fmt: skip

    @functools.cached_property
    def _evaluation_sampler(self) -> ClipSampler | DeviceClipSampler:
        return evaluation_sampler(
            self.packed, self.config.data, seed=self.config.seed, max_persons=self.card.max_persons,
            device=self.device,
        )  # fmt: skip

    def batches(self, epoch: int, steps: int) -> Iterator[Views]:
        """Draw the views of one epoch's batches."""
        order = epoch_order(self.train_indices, self.config.seed, epoch)
        size = self.config.optim.batch_size
        return (self.draw(order[step * size : (step + 1) * size], epoch) for step in range(steps))

    def draw(self, clips: np.ndarray, epoch: int) -> Views:
        """Draw the views of some ``clips`` of the pack."""
        return {
            view: self._sampler.batch(clips, epoch=epoch, stream=stream, alpha=alpha)
            for view, (stream, alpha) in self.task.views.items()
        }

    @functools.cached_property
    def _sampler(self) -> ClipSampler | DeviceClipSampler:
        data = self.config.data
        return sampler_on(
            self.device, self.packed, data.clip_len, data.size, train=True, seed=self.config.seed,
            max_persons=self.card.max_persons, frame_rule=data.frame_rule, crop=data.crop,
            crop_padding=data.crop_padding, min_box=data.min_box, crop_area=data.crop_area,
            crop_aspect=data.crop_aspect, flip_probability=data.flip_probability,
        )  # fmt: skip

    def _train_epoch(self, epoch: int, steps: int, bar: tqdm) -> dict[str, float | int]:
        optim = self.config.optim
        torch.manual_seed((self.config.seed * 1_000_003 + epoch) % 2**63)  # dropout: by seed and epoch alone
        self.model.train()
        started = time.perf_counter()
        sums: dict[str, Tensor] = {}
        correct = torch.zeros((), device=self.device)
        with Prefetcher(self.batches(epoch, steps)) as prefetcher:
            for step, batches in enumerate(prefetcher):
                rate = optim.lr * learning_rate_factor(epoch * steps + step, steps, optim)
                batches = {view: batch.to(self.device) for view, batch in batches.items()}
                result = self.step(batches, epoch, rate)
                labels = next(iter(batches.values())).labels
                correct += (result.pop("output").argmax(dim=1) == labels).sum()
                for name, value in result.items():
                    sums[name] = sums.get(name, 0) + value * len(labels)
                bar.update()
        count = len(self.train_indices)
        means = {name: float(value) / count for name, value in sums.items()}
        if not math.isfinite(means["loss"]):
            raise ValueError(
                f"the loss of epoch {epoch} is {means['loss']}: training diverged; try a smaller --lr"
            )
        seconds = time.perf_counter() - started
        return {
            "epoch": epoch,
            **means,
            "train_top1_percent": 100 * float(correct) / count,
            "lr": rate,
            "epoch_s": seconds,
            "clips_per_s": count / seconds,
            "wait_s": prefetcher.wait_seconds,
            "wait_share": prefetcher.wait_seconds / seconds,
            "peak_memory_mb": peak_memory(self.device) / 2**20,
        }

    def _save(self, epochs_done: int) -> None:
        state = {
            "epochs_done": epochs_done,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        if self.average is not None:
            state["average"] = self.average.state_dict()
        if self.early_stop is not None:
            state["early_stop"] = self.early_stop.state_dict()
        save_checkpoint(self.folder, state)

    def _restore(self) -> int:
        state = read_checkpoint(self.folder)
        try:
            self.model.load_state_dict(state["model"])
            restore_optimizer(self.optimizer, state["optimizer"])
            if self.average is not None:
                self.average.load_state_dict(state["average"])
            if self.early_stop is not None:
                self.early_stop.load_state_dict(state["early_stop"], self.trained_model)
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
            tqdm.write(text)
