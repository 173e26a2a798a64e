"""The training loop: batches from the sampler, steps of the task, metrics, checkpoints."""

import functools
import math
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from fastpose.averaging import MovingAverage
from fastpose.checkpoint import (
    CHECKPOINT,
    ModelCard,
    build_model,
    read_checkpoint,
    save_checkpoint,
    save_weights,
    weights_file,
)
from fastpose.config import OptimConfig, RunConfig
from fastpose.data.holdout import select_clips
from fastpose.data.loader import Prefetcher
from fastpose.data.motionbert import match_clips
from fastpose.data.packed import PackedClips
from fastpose.data.sampling import ClipSampler
from fastpose.loggers import CsvLog, TensorBoardLog
from fastpose.memory import begin_peak, peak_memory
from fastpose.models.checkpoints import load_checkpoint
from fastpose.models.input_maker import memory_format_for
from fastpose.models.recompute import recompute_activations
from fastpose.ops.sampling import DeviceClipSampler, sampler_on
from fastpose.precision import autocast_for, choose_device, choose_precision
from fastpose.robustness import Curve, measure_curve
from fastpose.tasks import PoseTask, Views
from fastpose.training_step import TrainingStep


def learning_rate_factor(progress: float, optim: OptimConfig) -> float:
    """Return the factor on the learning rate after ``progress`` epochs."""
    if progress < optim.warmup_epochs:
        return progress / optim.warmup_epochs
    if optim.schedule == "constant":
        return 1.0
    if optim.schedule == "step":
        return optim.lr_decay ** int(progress)
    rest = (progress - optim.warmup_epochs) / max(optim.epochs - optim.warmup_epochs, 1e-9)
    return 0.5 * (1 + math.cos(math.pi * min(rest, 1.0)))


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
        if config.optim.threads is not None:
            torch.set_num_threads(config.optim.threads)
        self.train_indices, self.test_indices = select_clips(packed, config.data)
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
        self.optimizer = torch.optim.AdamW(
            parameter_groups(self.model, config.optim),
            lr=config.optim.lr, weight_decay=config.optim.weight_decay, fused=True,
        )  # fmt: skip
        self.average = MovingAverage(self.model, config.optim.ema) if config.optim.ema else None
        recompute_activations(self.model, config.optim.checkpoint_activations)
        self.step = TrainingStep(
            self.task, self.model, self.optimizer, config.optim, self.autocast, self.average
        )

    @property
    def trained_model(self) -> nn.Module:
        """The model to evaluate: the moving average of the weights where there is one."""
        return self.model if self.average is None else self.average.module

    def fit(self, *, resume: bool = False) -> None:
        """Train to the last epoch, logging every epoch, and write the final weights.

        With ``resume``, go on from the folder's checkpoint where there is one.

        Raises:
            ValueError: the loss is not finite, or the checkpoint is damaged.
        """
        first = self._restore() if resume and (self.folder / CHECKPOINT).exists() else 0
        epochs = self.config.optim.epochs
        csv = CsvLog(self.folder / "metrics.csv", first)
        board = TensorBoardLog(self.folder, first)
        saved_at = time.monotonic()
        steps = math.ceil(len(self.train_indices) / self.config.optim.batch_size)
        with tqdm(total=epochs * steps, initial=first * steps, desc=self.title, unit="step",
                  disable=self.quiet, mininterval=0.5) as bar:  # fmt: skip
            for epoch in range(first, epochs):
                row = self._train_epoch(epoch, steps, bar)
                csv.write(row)
                board.write(row)
                if epoch + 1 == epochs or time.monotonic() - saved_at >= self.checkpoint_seconds:
                    self._save(epoch + 1)
                    saved_at = time.monotonic()
        board.close()
        save_weights(self.folder, self.trained_model.state_dict(), self.card)

    def measure(self) -> Curve:
        """Return the accuracy at every noise level on the clips to be measured on."""
        config = self.config
        total = len(self.test_indices) * len(config.eval.alphas)
        with tqdm(total=total, desc=f"{self.title} α grid", unit="clip", disable=self.quiet) as bar:
            return measure_curve(
                self.trained_model, self.packed, self.test_indices, config.data, config.eval,
                seed=config.seed, max_persons=self.card.max_persons, device=self.device,
                autocast=self.autocast, on_batch=bar.update,
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
        begin_peak(self.device)
        started = time.perf_counter()
        sums: dict[str, Tensor] = {}
        correct = torch.zeros((), device=self.device)
        with Prefetcher(self.batches(epoch, steps)) as prefetcher:
            for step, batches in enumerate(prefetcher):
                rate = optim.lr * learning_rate_factor(epoch + step / steps, optim)
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
        top1 = 100 * float(correct) / count
        bar.set_postfix(epoch=epoch + 1, loss=f"{means['loss']:.3f}", top1=f"{top1:.1f}", refresh=False)
        return {
            "epoch": epoch,
            **means,
            "train_top1_percent": top1,
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
        save_checkpoint(self.folder, state)

    def _restore(self) -> int:
        state = read_checkpoint(self.folder)
        try:
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            if self.average is not None:
                self.average.load_state_dict(state["average"])
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
