"""Softmax scores of clips at every noise level, and their late fusion over several models."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from fastpose.data.pack.packed import PackedClips
from fastpose.data.sampling.device import DeviceClipSampler, sampler_on
from fastpose.data.sampling.loader import Prefetcher
from fastpose.data.sampling.sampler import ClipSampler, PoseBatch
from fastpose.models.inputs.input_maker import InputMaker
from fastpose.settings.config import DataConfig, EvalConfig
from fastpose.system.precision import Autocast

EVALUATION_STREAM = 3


@dataclass(frozen=True, slots=True)
class ClipScores:
    """Scores of the same clips at every noise level."""

    labels: Tensor  # int64 [N]
    by_alpha: dict[float, Tensor]  # α → float32 [N, K], softmax


def evaluation_sampler(
    packed: PackedClips,
    data: DataConfig,
    *,
    seed: int = 0,
    max_persons: int | None = None,
    device: torch.device | str = "cpu",
) -> ClipSampler | DeviceClipSampler:
    """The sampler of clips that are not trained on, as ``data`` says; by default all persons of every clip."""
    return sampler_on(
        torch.device(device), packed, data.clip_len, data.size, train=False, seed=seed,
        max_persons=max_persons, frame_rule=data.frame_rule, crop=data.crop,
        crop_padding=data.crop_padding, min_box=data.min_box,
    )  # fmt: skip


@torch.inference_mode()
def score_clips(
    model: nn.Module,
    packed: PackedClips,
    indices: np.ndarray,
    data: DataConfig,
    settings: EvalConfig,
    *,
    seed: int = 0,
    max_persons: int | None = None,
    device: torch.device | str = "cpu",
    autocast: Autocast,
    sampler: ClipSampler | DeviceClipSampler | None = None,
    on_batch: Callable[[int], None] = lambda clips: None,
) -> ClipScores:
    """Score the clips ``indices`` of ``packed`` at every noise level of ``settings``, in one pass over them.

    A batch holds clips at all of their levels, ``settings.eval_batch_size`` of clips × levels in all, and the
    next one is sampled while it is scored.

    The same normals serve every level, and every model that is given the same clips, seed and clip length.
    With one clip, frames are the centres of equal parts; with more, each is a seeded draw and the softmax
    scores are averaged, over mirrored clips too where ``settings`` asks for them.

    Args:
        model: takes what its ``prepare_input`` makes; runs in evaluation mode, and is left in its own.
        data: how clips are sampled (length, size, crop).
        seed: of the noise.
        max_persons: persons of each clip; by default as many as any clip has.
        device: where the model is.
        autocast: the context the model runs in.
        sampler: what ``evaluation_sampler`` made of these settings, where it is at hand.
        on_batch: told the number of clips × levels scored, batch by batch.

    Raises:
        ValueError: there are no clips to score.
    """
    if len(indices) == 0:
        raise ValueError("no clip to score: the accuracy of an empty set is undefined")
    if sampler is None:
        sampler = evaluation_sampler(packed, data, seed=seed, max_persons=max_persons, device=device)
    inputs = InputMaker(autocast.dtype)
    levels = list(dict.fromkeys(settings.alphas))
    parts: list[Tensor] = []  # [b, K], of clips × levels
    was_training = model.training
    model.eval()
    try:
        with Prefetcher(_sample_batches(sampler, indices, levels, settings)) as batches:
            for views in batches:
                parts.append(_mean_softmax(model, [view.to(device) for view in views], autocast, inputs))
                on_batch(len(parts[-1]))
    finally:
        model.train(was_training)
    scores = torch.cat(parts).unflatten(0, (len(indices), len(levels)))  # [N, levels, K]
    labels = torch.from_numpy(packed.labels[indices]).to(device)
    return ClipScores(labels, dict(zip(levels, scores.unbind(1), strict=True)))


def _sample_batches(
    sampler: ClipSampler | DeviceClipSampler, indices: np.ndarray, levels: list[float], settings: EvalConfig
) -> Iterator[list[PoseBatch]]:
    """Yield samplings of the same clips × levels, clip by clip."""
    clips, noise = np.repeat(indices, len(levels)), np.tile(levels, len(indices))
    flips = (False, True) if settings.flip_test else (False,)
    for begin in range(0, len(clips), settings.eval_batch_size):
        rows = slice(begin, begin + settings.eval_batch_size)
        yield [
            sampler.batch(clips[rows], epoch=draw, stream=EVALUATION_STREAM, alpha=noise[rows],
                          draw_frames=settings.num_clips > 1, flip=flip)
            for draw in range(settings.num_clips)
            for flip in flips
        ]  # fmt: skip


def _mean_softmax(model: nn.Module, views: list[PoseBatch], autocast: Autocast, inputs: InputMaker) -> Tensor:
    total = None
    for view in views:  # several samplings of the same clips
        with autocast():
            logits = model(inputs.make(model, [view])).logits  # [B, K]
        scores = logits.float().softmax(dim=1)
        total = scores if total is None else total + scores
    return total / len(views)


def format_speed(num_clips: int, num_levels: int, seconds: float) -> str:
    """Say how long the scoring of clips at every noise level took, and how many clips a second that is."""
    rate = num_clips * num_levels / seconds
    return f"{num_clips} clips × {num_levels} noise levels in {seconds:.1f} s ({rate:.0f} clips/s)"


def fuse_scores(members: Sequence[ClipScores], weights: Sequence[float] | None = None) -> ClipScores:
    """Late fusion: the weighted mean of the softmax scores of several models for the same clips.

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
            raise ValueError(f"the models tell different numbers of classes apart: {sorted(classes)}")
    fused = {}
    for alpha in first.by_alpha:
        total = sum(
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
