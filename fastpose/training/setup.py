"""All that training steps of a run need: clips, model, loss, optimiser, where they are, and what fits there."""

import functools
import warnings
from dataclasses import replace
from typing import cast

import numpy as np
import torch
from torch import nn

from fastpose.data.pack.few_labels import labelled_clips
from fastpose.data.pack.fingerprint import fingerprint
from fastpose.data.pack.packed import PackedClips
from fastpose.data.pack.splits import held_out_clips, select_clips
from fastpose.data.sampling.batch import PoseBatch
from fastpose.data.sampling.device import DeviceClipSampler, sampler_on
from fastpose.data.sampling.order import TrainingOrder
from fastpose.data.sampling.sample_prior import SamplePrior
from fastpose.data.sampling.sampler import ClipSampler
from fastpose.models.inputs.protocol import PoseModule
from fastpose.models.recompute import recompute_activations
from fastpose.settings import RunConfig
from fastpose.system.placement import Placement
from fastpose.system.processes import ALONE, Processes
from fastpose.training.averaging import MovingAverage
from fastpose.training.fitting import StepMemory
from fastpose.training.losses import class_weights
from fastpose.training.optimizer import make_optimizer
from fastpose.training.step import TrainingStep, compiles, graphs
from fastpose.training.task import SLOW, PoseTask, Views
from fastpose.weights.card import ModelCard, build_model
from fastpose.weights.loading import CheckpointReport, load_checkpoint
from fastpose.weights.runs import weights_file

NEXT_PASS = 2**20  # epochs from the numbers of a clip to those of its next time in the same epoch


class Setup:
    """The parts of one run as ``config`` says, before its first step.

    Args:
        config: the settings.
        packed: the clips.
        processes: those that train the run together; each has a setup of its own.

    Attributes:
        packed: the clips as the model expects them.
        fingerprint: of the clips as they were given.
        train_indices, test_indices, val_indices: int64, of the clips to train, to be measured and to validate on.
        num_labelled, num_unlabelled: training clips with a label, and those without, whether these are used or not.
        order: of the clips to train on in each epoch.
        report: what was loaded from ``config.model.init``, where weights were.
        average: of the weights, where ``config.optim.ema`` asks for it.

    Raises:
        ValueError: a setting that cannot be used with this data, model or machine.
    """

    def __init__(self, config: RunConfig, packed: PackedClips, processes: Processes = ALONE) -> None:
        optim = config.optim
        if processes.size > 1:
            _check_shared(config, processes)
        if optim.batch_size == "auto":
            raise ValueError("batch_size = 'auto': training needs a number, such as choose_batch_size finds")
        for sentence in config.idle_settings():
            warnings.warn(sentence, stacklevel=2)
        self.config, self.processes = config, processes
        self.fingerprint = fingerprint(packed)
        self.placement = Placement.choose(optim.device, optim.precision)
        if self.placement.device.type == "cuda":
            torch.backends.cudnn.benchmark = True  # shapes are the same in every step
        if config.loss.contrast_precision != "auto" and self.placement.device.type != "cuda":
            warnings.warn(
                f"contrast_precision = {config.loss.contrast_precision!r} has no effect on the CPU",
                stacklevel=2,
            )
        if optim.threads is not None:
            torch.set_num_threads(optim.threads)
        train, self.test_indices = select_clips(packed, config.data)
        self.val_indices = held_out_clips(packed, config.data)
        labelled = labelled_clips(packed, train, config.data, config.seed)
        self.train_indices = train if config.uses_unlabelled else train[labelled]
        self.num_labelled, self.num_unlabelled = int(labelled.sum()), int((~labelled).sum())
        self._labels = np.full(packed.num_clips, -1)  # those that may be known
        self._labels[train[labelled]] = packed.labels[train[labelled]]
        self.order = TrainingOrder(
            train, self._labels[train], optim.batch_size, config.seed, labelled_share=optim.labelled_share,
            balanced=optim.class_order == "balanced", labelled_alone=not config.uses_unlabelled,
        )  # fmt: skip
        weights = class_weights(self._labels[train[labelled]], packed.num_classes, config.loss.class_weights)
        if weights is not None:
            weights = weights.to(self.placement.device)
        self.task = PoseTask(config, self.placement.dtype, weights)
        torch.manual_seed(config.seed)
        max_persons = config.data.sampling.max_persons or packed.max_persons
        card = ModelCard(config, packed.layout, packed.class_names, max_persons)
        self.packed = card.clips(packed)
        self.card = replace(card, prior=self._learned_prior(train))
        model = build_model(self.card)
        self.report = None if config.model.init is None else _load_first_weights(model, config.model.init)
        self.model = self.placement.place(model)
        alone = processes.size == 1
        graphed = alone and graphs(optim, self.placement.device)
        self.optimizer = make_optimizer(self.model, optim, graphed=graphed)
        self.average = MovingAverage(self.model, optim.ema, graphed=graphed) if optim.ema else None
        recompute_activations(self.model, optim.checkpoint_activations)
        if alone and self.placement.device.type == "cuda" and compiles(optim, self.placement.device):
            self.task.join_passes(self.model)  # half the kernels, and the same result
        parts = self.task, self.model, self.optimizer, optim, self.placement
        self.memory = StepMemory(*parts, processes)
        self.step = TrainingStep(*parts, self.average, refuse=self.memory.does_not_fit, processes=processes)

    @property
    def trained_model(self) -> PoseModule:
        """The model to evaluate: the moving average of the weights where there is one."""
        return self.model if self.average is None else cast(PoseModule, self.average.module)

    def _learned_prior(self, train: np.ndarray) -> SamplePrior | None:
        """Return what clips to train on, labelled or not, say of body motion, for the filter in front of the model.

        Raises:
            ValueError: they show fewer than two persons.
        """
        sampling = self.config.data.sampling
        if sampling.motion_filter == "off":
            return None
        try:
            return SamplePrior.fit(self.packed, train, sampling.clip_len)
        except ValueError as error:
            raise ValueError(
                f"motion_filter = {sampling.motion_filter!r}: {error} among the clips to train on; --front-end means "
                "trains without the filter"
            ) from error

    def draw(self, clips: np.ndarray, epoch: int, passes: np.ndarray | None = None) -> Views:
        """Draw the views of some ``clips`` of the pack, without the labels that are not to be known.

        Args:
            clips: int64 [B].
            epoch: from 0.
            passes: int64 [B], how often each clip came before in this epoch; never by default. Clips that come as
                often stand together in the batch.
        """
        rounds = [(epoch, clips)]
        if passes is not None and passes.any():
            rounds = [
                (epoch + NEXT_PASS * number, clips[passes == number]) for number in np.unique(passes).tolist()
            ]
        drawn = [
            {view: self._draw_view(view, part, number) for view in self.task.views} for number, part in rounds
        ]
        if len(drawn) == 1:
            return drawn[0]
        return {view: PoseBatch.cat([views[view] for views in drawn]) for view in drawn[0]}

    def _draw_view(self, view: str, clips: np.ndarray, epoch: int) -> PoseBatch:
        stream, alpha = self.task.views[view]
        sampler = self._slow_sampler if view == SLOW else self._sampler
        batch = sampler.batch(
            clips, epoch=epoch, stream=stream, alpha=alpha, families=self.config.optim.train_families
        )
        if view == SLOW:
            batch = batch.slowed(self.config.data.sampling.clip_len)
        if self.num_labelled < len(self.train_indices):
            known = torch.from_numpy(self._labels[clips])
            batch = replace(batch, labels=known.to(batch.labels.device, non_blocking=True))
        return batch

    @functools.cached_property
    def _sampler(self) -> ClipSampler | DeviceClipSampler:
        return self._sampler_of(train=True)

    @functools.cached_property
    def _slow_sampler(self) -> ClipSampler | DeviceClipSampler:
        """Draws clips at half the frames."""
        return self._sampler_of(train=True, clip_len=-(-self.config.data.sampling.clip_len // 2))

    @functools.cached_property
    def evaluation_sampler(self) -> ClipSampler | DeviceClipSampler:
        """Draws the clips that are not trained on."""
        return self._sampler_of(train=False)

    def _sampler_of(self, *, train: bool, **changes: int) -> ClipSampler | DeviceClipSampler:
        return sampler_on(
            self.placement.device, self.packed, self.config.data.sampling, train=train, seed=self.config.seed,
            max_persons=self.card.max_persons, prior=self.card.prior, **changes,
        )  # fmt: skip


def _check_shared(config: RunConfig, processes: Processes) -> None:
    """Warn of settings that several processes do not have, and refuse those that they cannot have."""
    optim = config.optim
    if optim.batch_size == "auto":
        raise ValueError(
            "batch_size = 'auto': expected a number, of the clips that all processes of a step have together"
        )
    if optim.batch_size < processes.size:
        raise ValueError(
            f"batch_size = {optim.batch_size}: expected at least a clip for each of the {processes.size} processes"
        )
    if optim.compile == "on":
        warnings.warn("compile = 'on' has no effect in several processes", stacklevel=3)


def _load_first_weights(model: nn.Module, init: str) -> CheckpointReport:
    reset_head = getattr(model, "reset_head", None)
    if reset_head is None:
        raise ValueError(
            f"init = {init!r}: {type(model).__name__} has no reset_head(), which makes its classifier anew"
        )
    report = load_checkpoint(model, weights_file(init))
    reset_head()  # equal numbers of classes need not be the same classes
    return report
