"""Softmax scores of clips at every noise level, and their late fusion over several models."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from fastpose.data.denoising.denoiser import Denoiser
from fastpose.data.pack.packed import PackedClips
from fastpose.data.sampling.batch import PoseBatch
from fastpose.data.sampling.device import DeviceClipSampler, sampler_on
from fastpose.data.sampling.noised import noised_clips
from fastpose.data.sampling.sample_prior import SamplePrior
from fastpose.data.sampling.sampler import ClipSampler
from fastpose.models.inputs.protocol import PoseModel
from fastpose.settings import EvalConfig, SamplingConfig
from fastpose.system.placement import Placement
from fastpose.system.prefetch import Prefetcher

EVALUATION_STREAM = 3
GAUSSIAN = "gaussian"


@dataclass(frozen=True, slots=True)
class ClipScores:
    """Scores of the same clips at every noise level."""

    labels: Tensor  # int64 [N]
    by_alpha: dict[float, Tensor]  # α → float32 [N, K], softmax


@torch.inference_mode()
def score_clips(
    model: nn.Module,
    packed: PackedClips,
    indices: np.ndarray | None = None,
    sampling: SamplingConfig | None = None,
    settings: EvalConfig | None = None,
    *,
    seed: int = 0,
    placement: Placement | None = None,
    prior: SamplePrior | None = None,
    sampler: ClipSampler | DeviceClipSampler | None = None,
    on_batch: Callable[[int], object] = lambda clips: None,
    family: str = GAUSSIAN,
) -> ClipScores:
    """Score clips at every noise level of ``settings``, in one pass over them.

    A batch holds clips at all of their levels, ``settings.eval_batch_size`` of clips × levels in all, and the
    next one is sampled while it is scored.

    A clip has one noise: the same normals serve every level, every sampling of it, and every model that is given the
    same clips and seed. With one clip, frames are the centres of equal parts; with more, each is a seeded draw and
    the softmax scores are averaged, over mirrored clips too where ``settings`` asks for them.

    Args:
        model: takes what its ``prepare_input`` makes (``fastpose.models.PoseModel``); it runs in evaluation mode,
            and is left in its own.
        packed: the clips; their labels are the model's classes.
        indices: of the clips to score, int64 [N]; all by default.
        sampling: frames, size, crop and persons; by default those of ``SamplingConfig``.
        settings: noise levels, samplings of a clip, clips × levels of a batch. Its families are for
            ``score_families``.
        seed: of the noise.
        placement: where the model is, and the dtype of its matrix products; by default float32 where it is.
        prior: of the filter in front of the model, where ``sampling`` asks for it (``ModelCard.prior``).
        sampler: one made of ``packed`` for evaluation, where it is at hand, whose settings, seed and prior take the
            place of ``sampling``, ``seed`` and ``prior``.
        on_batch: is called with the number of clips × levels scored, batch by batch.
        family: of the noise, one of ``fastpose.settings.families.FAMILIES``.

    Raises:
        ValueError: there are no clips to score, or no noise is called ``family``.
    """
    indices = np.arange(packed.num_clips) if indices is None else indices
    settings = settings or EvalConfig()
    placement = placement or Placement.of(model)
    if len(indices) == 0:
        raise ValueError("no clip to score: the accuracy of an empty set is undefined")
    if (denoiser := Denoiser.open(settings.denoise)) is not None:
        if sampler is not None:
            sampling, seed, prior = sampler.settings, sampler.seed, sampler.prior
        sampling = sampling or SamplingConfig()
        return _score_filtered(
            denoiser,
            model,
            packed.subset(indices),
            sampling,
            settings,
            seed,
            placement,
            prior,
            on_batch,
            family,
        )
    if sampler is None:
        sampling = sampling or SamplingConfig()
        sampler = sampler_on(placement.device, packed, sampling, train=False, seed=seed, prior=prior)
    levels = list(settings.alphas)
    scored: list[Tensor] = []  # [b, K], of clips × levels
    was_training = model.training
    model.eval()
    try:
        with Prefetcher(_sample_batches(sampler, indices, levels, settings, family)) as batches:
            for views in batches:
                scored.append(mean_scores(cast(PoseModel, model), views, placement)[0])
                on_batch(len(scored[-1]))
    finally:
        model.train(was_training)
    scores = torch.cat(scored).unflatten(0, (len(indices), len(levels)))  # [N, levels, K]
    labels = torch.from_numpy(packed.labels[indices]).to(scores.device)
    return ClipScores(labels, dict(zip(levels, scores.unbind(1), strict=True)))


def score_families(
    model: nn.Module,
    packed: PackedClips,
    indices: np.ndarray | None = None,
    sampling: SamplingConfig | None = None,
    settings: EvalConfig | None = None,
    *,
    families: Sequence[str] | None = None,
    **named: Any,
) -> dict[str, ClipScores]:
    """Score clips with noise of each family at every level of ``settings``; arguments are those of ``score_clips``.

    ``families`` are by default those of ``settings``; the one word "all" stands for all. At α = 0 clips are as they
    are, whatever the family, and are scored once.

    Raises:
        ValueError: as ``score_clips``.
    """
    settings = settings or EvalConfig()
    if families is not None:
        settings = replace(settings, families=(families,) if isinstance(families, str) else tuple(families))
    scores: dict[str, ClipScores] = {}
    clean: dict[float, Tensor] = {}
    for family, levels in _levels_to_score(settings.alphas, settings.families).items():
        by_alpha = clean
        if levels:
            of_levels = replace(settings, alphas=levels)
            found = score_clips(model, packed, indices, sampling, of_levels, family=family, **named)
            labels, by_alpha = found.labels, clean | found.by_alpha
        scores[family] = ClipScores(labels, {alpha: by_alpha[alpha] for alpha in settings.alphas})
        clean = {alpha: level for alpha, level in by_alpha.items() if alpha == 0}
    return scores


def count_levels(alphas: Sequence[float], families: Iterable[str]) -> int:
    """Return how often ``score_families`` scores each clip."""
    return sum(map(len, _levels_to_score(alphas, families).values()))


def _levels_to_score(alphas: Sequence[float], families: Iterable[str]) -> dict[str, tuple[float, ...]]:
    """Return the noise levels to score with each family: α = 0 with the first alone."""
    first, *others = dict.fromkeys(families)
    noisy = tuple(alpha for alpha in alphas if alpha != 0)
    return {first: tuple(alphas), **dict.fromkeys(others, noisy)}


def _score_filtered(
    denoiser: Denoiser,
    model: nn.Module,
    clips: PackedClips,
    sampling: SamplingConfig,
    settings: EvalConfig,
    seed: int,
    placement: Placement,
    prior: SamplePrior | None,
    on_batch: Callable[[int], object],
    family: str,
) -> ClipScores:
    """Score clips that are noised, filtered and then sampled, level by level."""
    as_they_are = replace(settings, alphas=(0.0,), denoise="off")
    levels: list[ClipScores] = []
    for alpha in settings.alphas:
        noised = noised_clips(clips, alpha, seed=seed, stream=EVALUATION_STREAM, family=family)
        filtered = denoiser.filter_clips(noised)
        levels.append(
            score_clips(
                model,
                filtered,
                None,
                sampling,
                as_they_are,
                seed=seed,
                placement=placement,
                prior=prior,
                on_batch=on_batch,
            )
        )
    by_alpha = {alpha: level.by_alpha[0.0] for alpha, level in zip(settings.alphas, levels, strict=True)}
    return ClipScores(levels[0].labels, by_alpha)


def _sample_batches(
    sampler: ClipSampler | DeviceClipSampler,
    indices: np.ndarray,
    levels: list[float],
    settings: EvalConfig,
    family: str,
) -> Iterator[list[PoseBatch]]:
    """Yield samplings of the same clips × levels, clip by clip."""
    clips, noise = np.repeat(indices, len(levels)), np.tile(levels, len(indices))
    for begin in range(0, len(clips), settings.eval_batch_size):
        rows = slice(begin, begin + settings.eval_batch_size)
        yield evaluation_views(
            sampler, clips[rows], alpha=noise[rows], num_clips=settings.num_clips, flip=settings.flip_test,
            family=family,
        )  # fmt: skip


def evaluation_views(
    sampler: ClipSampler | DeviceClipSampler,
    clips: np.ndarray,
    alpha: np.ndarray | float = 0.0,
    *,
    num_clips: int = 1,
    flip: bool = False,
    family: str = GAUSSIAN,
) -> list[PoseBatch]:
    """Return the samplings of ``clips`` whose scores are averaged: one of middle frames, or ``num_clips`` drawn.

    With ``flip``, each is followed by its mirror image. ``alpha`` is the strength of noise of ``family``.
    """
    return [
        sampler.batch(clips, epoch=draw, stream=EVALUATION_STREAM, alpha=alpha,
                      draw_frames=num_clips > 1, flip=mirrored, families=(family,))
        for draw in range(num_clips)
        for mirrored in ((False, True) if flip else (False,))
    ]  # fmt: skip


def mean_scores(model: PoseModel, views: list[PoseBatch], placement: Placement) -> tuple[Tensor, Tensor]:
    """Return mean softmax [B, K] and mean features [B, D], float32, over samplings of the same clips."""
    total: tuple[Tensor, Tensor] | None = None
    for view in views:
        with placement.autocast():
            output = model(model.prepare_input(view.to(placement.device)))
        scores, features = output.logits.float().softmax(dim=1), output.features.float()
        total = (scores, features) if total is None else (total[0] + scores, total[1] + features)
    assert total is not None
    return total[0] / len(views), total[1] / len(views)


def format_speed(num_clips: int, num_levels: int, seconds: float) -> str:
    """Say how long the scoring of clips at every noise level took, and how many clips a second that is."""
    rate = num_clips * num_levels / seconds
    return f"{num_clips} clips × {num_levels} noise levels in {seconds:.1f} s ({rate:.0f} clips/s)"


def fuse_scores(members: Sequence[ClipScores], weights: Sequence[float] | None = None) -> ClipScores:
    """Return the late fusion of several models for the same clips: the weighted mean of their softmax scores.

    Args:
        members: two or more, of equal clips, classes and noise levels.
        weights: one for each member, ≥ 0 and not all 0; equal by default.

    Raises:
        ValueError: one member only, members that do not match, or unusable weights.
    """
    if len(members) < 2:
        raise ValueError(f"fusion needs two or more models, got {len(members)}")
    weights = [1.0] * len(members) if weights is None else list(weights)
    check_weights(weights, len(members))
    first = members[0]
    for other in members[1:]:
        if list(other.by_alpha) != list(first.by_alpha):
            raise ValueError(
                f"noise levels differ between the models: {list(first.by_alpha)} and {list(other.by_alpha)}"
            )
        if not torch.equal(other.labels, first.labels):
            raise ValueError("the models were not scored on the same clips: their labels differ")
        classes = {next(iter(member.by_alpha.values())).shape[1] for member in (first, other)}
        if len(classes) > 1:
            raise ValueError(f"the models have different numbers of classes: {sorted(classes)}")
    fused = {}
    for alpha in first.by_alpha:
        total: Any = sum(
            weight * member.by_alpha[alpha] for weight, member in zip(weights, members, strict=True) if weight
        )
        fused[alpha] = total / sum(weights)
    return ClipScores(first.labels, fused)


def check_weights(weights: Sequence[float], count: int) -> None:
    """Raise ValueError unless there are ``count`` weights to fuse by: finite, ≥ 0, not all 0."""
    if len(weights) != count:
        raise ValueError(f"{len(weights)} fusion weights for {count} models: expected one for each")
    if not all(0 <= weight < math.inf for weight in weights) or sum(weights) == 0:
        raise ValueError(f"fusion weights must be numbers ≥ 0, not all 0, got {list(weights)}")
