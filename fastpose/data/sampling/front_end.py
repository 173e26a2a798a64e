"""What a sampler makes of all frames of a clip: mean frames, the noise they hold, and persons without most of it.

The definition in torch, which csrc/sample/front_end.cpp is tested against; it is also what runs on a GPU. Tensors hold
a batch of clips with absent frames at their ends: B clips, M persons, L frames, V joints. Nothing is known of a clip
but its keypoints. Source: empirical Bayes (Robbins, "An Empirical Bayes Approach to Statistics", 1956) with the Wiener
filter of a Gaussian prior.
"""

import functools
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastpose.data.denoising.motion_prior import FREQUENCIES, HALF_BOX, LEAST_HALF, LEAST_NOISE, LEAST_SPREAD

FILLING_ROUNDS = 3

# What the noise of a clip may be: the share of its second differences' variance that is drift, and how much of a
# frame's drift is left in the next one; and how much more than those of the prior its movements are.
DRIFT_SHARES = (0.05, 0.15, 0.3, 0.5, 0.7, 0.85, 1.0)
PERSISTENCES = (0.6, 0.8, 0.9, 0.95)
AMPLITUDES = (0.5, 1.0, 2.5)


def drift_seen(persistence: float) -> float:
    """Return the share of the variance of such a drift that second differences see."""
    return (6 - 8 * persistence + 2 * persistence**2) / 6


# (share, persistence, logarithm of the prior probability but for a constant); white noise alone comes first
NOISES = [(0.0, PERSISTENCES[0], math.log(len(PERSISTENCES)))] + [
    (share, persistence, 0.0) for share, persistence in itertools.product(DRIFT_SHARES, PERSISTENCES)
]


@dataclass(frozen=True, slots=True)
class SeenClips:
    """What a front end makes of clips.

    Attributes:
        keypoints: [B, M, T, V, 3], pixels of the clip and score; missing joints are all 0.
        presence: [B, M, T, V], the share of frames behind a sampled one in which the joint was seen.
        noise: [B, 2], variances of white noise and of drift, in pixels squared.
        center: [B, 2], the mean of all joints, in pixels.
        deviation: [B], that of the joints from it, along the axis where it is larger, less the noise; in pixels.
    """

    keypoints: Tensor
    presence: Tensor
    noise: Tensor
    center: Tensor
    deviation: Tensor


def see_clips(clips: Tensor, begins: Tensor, ends: Tensor, filter: "MotionFilter | None" = None) -> SeenClips:
    """Look at clips [B, M, L, V, 3] (pixels, score; missing joints all 0) through the frames [begin, end) [B, T].

    Without ``filter`` nothing is filtered.
    """
    points, present = clips[..., :2], clips[..., 2] > 0
    dtype, persons = points.dtype, points.shape[1]
    frame = torch.arange(points.shape[2], device=points.device)
    behind = (frame >= begins[..., None]) & (frame < ends[..., None])  # [B, T, L]
    known = torch.einsum("btl,bmlv->bmtv", behind.to(dtype), present.to(dtype))
    sums = torch.einsum("btl,bmlvc->bmtvc", behind.to(dtype), torch.where(present[..., None], clips, 0))
    means = sums / known.clamp(min=1)[..., None]
    frames = (ends - begins).to(dtype)
    presence = known / frames[:, None, :, None]

    white = white_noise(points, present)  # [B, 2]
    stretch = (frame >= begins.amin(1)[:, None]) & (frame < ends.amax(1)[:, None])
    shown = present & stretch[:, None, :, None]
    noise = torch.stack([white.mean(1), torch.zeros_like(white[:, 0])], dim=1)
    seen_person = shown.flatten(2).any(2)  # [B, M]
    if filter is not None:
        averaging = behind.to(dtype) / frames[..., None]
        filtered, told = filter.filter(
            means[..., :2].flatten(0, 1),
            known.flatten(0, 1) > 0,
            *_spread(points.flatten(0, 1), shown.flatten(0, 1)),
            white.repeat_interleave(persons, 0),
            averaging.repeat_interleave(persons, 0),
        )
        if filter.tells_drift:
            weight = seen_person.to(dtype)[..., None]
            told = (told.unflatten(0, (-1, persons)) * weight).sum(1) / weight.sum(1).clamp(min=1)
            noise, white = told, told.sum(1, keepdim=True).expand(-1, 2)
        # Joints that neither the clip nor the prior has seen stay missing, and so do persons.
        ever = ((known > 0).any(2, keepdim=True) | filter.learned) & seen_person[..., None, None]
        score = sums[..., 2].sum((2, 3)) / known.sum((2, 3)).clamp(min=1)  # of a person, for joints filled in
        scores = torch.where(known > 0, means[..., 2], score[..., None, None])
        means = torch.cat([filtered.unflatten(0, (-1, persons)), scores[..., None]], dim=-1) * ever[..., None]
    center, variance = _spread(points.flatten(1, 2), shown.flatten(1, 2))
    return SeenClips(means, presence, noise, center, own_variance(variance, white).amax(1).sqrt())


def white_noise(points: Tensor, present: Tensor) -> Tensor:
    """Return the variance of white noise along each axis [B, 2] of points [B, M, L, V, 2], in their unit squared.

    Second differences of joints that are present in three frames running hardly see motion; 0 where there are none.
    """
    bends = points[:, :, :-2] - 2 * points[:, :, 1:-1] + points[:, :, 2:]
    known = present[:, :, :-2] & present[:, :, 1:-1] & present[:, :, 2:]
    squares = torch.where(known[..., None], bends**2, 0).sum((1, 2, 3))
    return squares / (6 * known.sum((1, 2, 3)).clamp(min=1))[:, None]


def own_variance(variance: Tensor, noise: Tensor) -> Tensor:
    """Return how much of the variance of joints is not noise, along each axis."""
    return torch.maximum(variance - noise, LEAST_SPREAD * variance)


def _spread(points: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and variance [N, 2] of the present ones of points [N, L, V, 2]."""
    weight = present[..., None].to(points.dtype)
    count = weight.sum((1, 2)).clamp(min=1)
    mean = (points * weight).sum((1, 2)) / count
    return mean, ((points - mean[:, None, None]) ** 2 * weight).sum((1, 2)) / count


class MotionFilter:
    """What a ``SamplePrior`` makes of tracks: N of them, T frames, V joints.

    Args:
        prior: ``SamplePrior.arrays()``.
        tells_drift: tell drift from white noise.
        like: a tensor of the dtype and device to work in.
    """

    def __init__(self, prior: Mapping[str, NDArray[np.float32]], tells_drift: bool, like: Tensor) -> None:
        self.tells_drift = tells_drift
        new = functools.partial(torch.as_tensor, dtype=like.dtype, device=like.device)
        arrays = {name: new(array) for name, array in prior.items()}
        self.mean, self.directions, self.variances = (
            arrays[name] for name in ("mean", "directions", "variances")
        )
        self.joint_variances, self.joint_directions = arrays["joint_variances"], arrays["joint_directions"]
        self.learned = arrays["learned"] > 0
        self.cosines, (self.rest, self.above) = arrays["cosines"], prior["left_out"].tolist()
        shares, persistences, likely = zip(*NOISES, strict=True)
        self.drift = new(
            np.array(shares) / [drift_seen(each) for each in persistences]
        )  # of the white estimate
        self.white, self.likely = 1 - new(shares), new(likely)
        self.persistence = new(PERSISTENCES)
        self.of_persistence = torch.tensor(
            [PERSISTENCES.index(each) for each in persistences], device=like.device
        )

    def filter(
        self,
        points: Tensor,
        known: Tensor,
        center: Tensor,
        variance: Tensor,
        white: Tensor,
        averaging: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Return points [N, T, V, 2] without their noise and with missing ones filled in, and its variances [N, 2].

        Args:
            known: which points are known [N, T, V].
            center, variance: of each person's joints [N, 2], in pixels.
            white: variance of white noise along each axis [N, 2], in pixels squared.
            averaging: the weights of a clip's frames in each of T [N, T, L].
        """
        half = self._half(variance, white)
        level = white.mean(1) / half**2
        waves = self.cosines @ averaging / averaging.shape[1]  # [N, K, L], what coefficients are made with
        white_seen = (waves**2).sum(2)  # [N, K], variance in each coefficient of white noise of variance 1
        noise = level * white_seen.mean(1)
        scaled = _scaled(points, center, half)
        filtered = self._frames(self.mean[None], points.shape[2])
        for _ in range(FILLING_ROUNDS):
            filtered = self._nearer(scaled, known, filtered, noise)
        told = torch.stack([level, 0 * level, noise], dim=1)
        if self.tells_drift:
            filled = torch.where(known[..., None], scaled, filtered)
            told = self._tell(self._coefficients(filled) - self.mean, level, waves, white_seen)
        told = told * (half**2)[:, None]  # white, drift, and their mean in a coefficient; in pixels squared
        if self.tells_drift:
            before, half = half, self._half(variance, told[:, :2].sum(1, keepdim=True))
            scaled, noise = _scaled(points, center, half), told[:, 2] / half**2
            filtered = self._nearer(scaled, known, filtered * (before / half)[:, None, None, None], noise)
        filled = torch.where(known[..., None], scaled, filtered)
        filtered = torch.where(known[..., None], self._wiener(filled, noise), filled)
        return _pixels(filtered, center, half), told[:, :2]

    @staticmethod
    def _half(variance: Tensor, noise: Tensor) -> Tensor:
        spread = HALF_BOX * own_variance(variance, noise).amax(1).sqrt()
        return torch.where(spread > LEAST_HALF, spread, 1)

    def _coefficients(self, scaled: Tensor) -> Tensor:
        return torch.einsum("ntvd,kt->nvdk", scaled, self.cosines).flatten(1) / scaled.shape[1]

    def _frames(self, coefficients: Tensor, joints: int) -> Tensor:
        return torch.einsum("nvdk,kt->ntvd", coefficients.unflatten(1, (joints, 2, -1)), self.cosines)

    def _nearer(self, scaled: Tensor, known: Tensor, filtered: Tensor, noise: Tensor) -> Tensor:
        """Bring what ``filtered`` says of missing points nearer to what is to be expected of them."""
        filled = torch.where(known[..., None], scaled, filtered)
        return self._wiener(filled, noise.clamp(min=LEAST_NOISE / scaled.shape[1]))

    def _wiener(self, scaled: Tensor, noise: Tensor) -> Tensor:
        frames, joints = scaled.shape[1:3]
        coefficients, noise = self._coefficients(scaled), noise[:, None]
        surprise = coefficients - self.mean
        # Fractions with 1 beside the noise: exporters take numbers as small as these variances for 0.
        rest = 1 / (1 + noise / self.rest)
        gain = self.variances / (self.variances + noise)
        expected = (
            self.mean + rest * surprise + ((gain - rest) * (surprise @ self.directions)) @ self.directions.T
        )
        above = 1 / (1 + noise * (max(frames - FREQUENCIES, 0) / self.above))
        beyond = scaled - self._frames(coefficients, joints)
        return self._frames(expected, joints) + above[..., None, None] * beyond

    def _tell(self, surprise: Tensor, level: Tensor, waves: Tensor, white_seen: Tensor) -> Tensor:
        """Return the variances of white noise and of drift, and the mean of both in a coefficient [N, 3]: their
        expectation over ``NOISES`` and ``AMPLITUDES``, given coefficients less their mean [N, V·2·K]."""
        frame = torch.arange(waves.shape[2], device=waves.device)
        apart = (frame[:, None] - frame).abs()
        drift_seen = torch.stack([(waves @ each**apart * waves).sum(2) for each in self.persistence])
        drift, white = level[:, None] * self.drift, level[:, None] * self.white  # [N, noises]
        in_coefficient = white[..., None] * white_seen[:, None]
        in_coefficient = in_coefficient + drift[..., None] * drift_seen[self.of_persistence].transpose(0, 1)
        along = surprise.unflatten(1, (-1, FREQUENCIES)).transpose(1, 2)  # [N, K, V·2]
        squares = torch.einsum("nkj,kji->nki", along, self.joint_directions)[:, None] ** 2
        likelihoods = []
        for amplitude in AMPLITUDES:
            expected = amplitude * self.joint_variances + in_coefficient[..., None]  # [N, noises, K, V·2]
            fit = (expected.log() + squares / expected).sum((2, 3))
            likelihoods.append(self.likely - (fit + math.log(amplitude) ** 2) / 2)
        weights = torch.stack(likelihoods).flatten(2).transpose(0, 1).flatten(1).softmax(1)
        weights = weights.unflatten(1, (len(AMPLITUDES), -1)).sum(1)  # [N, noises]
        return torch.stack(
            [(weights * each).sum(1) for each in (white, drift, in_coefficient.mean(2))], dim=1
        )


def _scaled(points: Tensor, center: Tensor, half: Tensor) -> Tensor:
    return (points - center[:, None, None]) / half[:, None, None, None]


def _pixels(scaled: Tensor, center: Tensor, half: Tensor) -> Tensor:
    return center[:, None, None] + half[:, None, None, None] * scaled


def part_edges(lengths: Tensor, count: int, drawn: Tensor | None, window: float) -> tuple[Tensor, Tensor]:
    """Return the frames [begin, end) [B, T] of the rule "means" in clips of ``lengths`` frames [B], int64.

    Equal parts of the clip, rounded outwards; or of a random stretch of it, with edges inside it moved by up to 0.4 of
    a part.

    Args:
        drawn: uniform numbers [B, T + 1]: of the stretch's length, of its place, and of the edges; None for the whole.
        window: the least share of the clip in a stretch.
    """
    length = lengths.to(torch.float64)
    edges = torch.arange(count + 1, dtype=torch.float64, device=lengths.device).expand(len(lengths), -1)
    start = torch.zeros_like(length)
    shown = length
    if drawn is not None:
        drawn = drawn.to(torch.float64)
        shown = length * (window + drawn[:, 0] * (1 - window))
        start = drawn[:, 1] * (length - shown)
        edges = edges + torch.nn.functional.pad(0.8 * (drawn[:, 2:] - 0.5), (1, 1))
    edges = start[:, None] + edges * (shown / count)[:, None]
    begins = torch.minimum(edges[:, :-1].floor().long(), (lengths - 1)[:, None])
    ends = torch.maximum(torch.minimum(edges[:, 1:].ceil().long(), lengths[:, None]), begins + 1)
    return begins, ends
