"""The noise families written plainly in NumPy, a whole clip in, a whole clip out: what native code is tested against.

Arrays hold a clip: M persons, L frames, V joints; those of ``normals`` a batch, B clips of T frames.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastpose.data.sampling.philox import HITS, LOSSES, NOISE, BatchRandom, below, uniform

DRIFT = 0.9  # correlation of drift in neighbouring frames
OUTLIERS = 0.1  # share of the joints that are hit
LEAST_SCORE = 1e-6  # of a score that is left


class NoisedClip(NamedTuple):
    """A clip with its noise: points float32 [M, L, V, 2], scores float32 [M, L, V], 0 where missing, and the places
    of its frames in the video, int64 [L]."""

    points: NDArray[np.float32]
    scores: NDArray[np.float32]
    places: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class ClipNoise:
    """How much of which noise a clip gets.

    Attributes:
        family: one of ``FAMILIES``.
        alpha: severity, at least 0; at 0 nothing changes.
        deviation: float32 [2], σ in x and y, pixels.
        random: the words of this clip alone.
        flipped_joint: int64 [V], the joint that each becomes in a mirror.
        limb_joints: [V, V], row v true for the joints of a limb round joint v.
    """

    family: str
    alpha: float
    deviation: NDArray[np.float32]
    random: BatchRandom
    flipped_joint: NDArray[np.int64]
    limb_joints: NDArray[np.uint8]

    @property
    def share(self) -> float:
        """How much is lost, of the families that lose something."""
        return min(1.0, 2 * self.alpha)

    def applied(self, points: NDArray[np.float32], scores: NDArray[np.float32]) -> NoisedClip:
        """Return the clip of points [M, L, V, 2] in pixels and scores [M, L, V], 0 where missing, with its noise."""
        places = self.kept_frames(points.shape[1])
        if self.alpha > 0:
            if self.family in OFFSETS:
                draw = OFFSETS[self.family]
                offsets = draw(self.random, scores.shape).astype(np.float32)
                points = np.add(points, self.deviation * offsets)
            elif self.family in CHANGES:
                change = CHANGES[self.family]
                points, scores = change(self, points, scores)
        points = np.where(scores[..., None] > 0, points, np.float32(0))
        return NoisedClip(points[:, places], scores[:, places], places)

    def kept_frames(self, length: int) -> NDArray[np.int64]:
        """Return the frames that are left of ``length``, in order."""
        everything = np.arange(length)
        if self.family not in KEPT or self.alpha == 0:
            return everything
        count = max(1, rounded((1 - self.share) * length))
        keep = KEPT[self.family]
        return everything if count == length else keep(self.random, length, count)


def rounded(number: float) -> int:
    """Return the nearest integer of a number at least 0, halves up."""
    return math.floor(number + 0.5)


def normals(
    random: BatchRandom, frames: NDArray[np.integer], persons: int, joints: int
) -> NDArray[np.float32]:
    """Return float32 [B, M, T, V, 2] for ``frames`` [B, T] by Box-Muller: the exact functions, rounded once."""
    words = random.words(NOISE, 2 * persons * joints, frames)
    return _box_muller(words.reshape(*frames.shape, persons, joints, 2).swapaxes(1, 2)).astype(np.float32)


def _box_muller(words: NDArray[np.uint32]) -> NDArray[np.float64]:
    radius = np.sqrt(-2 * np.log(_above_zero(words[..., 0] >> 8, 24)))
    return radius[..., None] * _cos_sin(words[..., 1])


def _laplace(words: NDArray[np.uint32]) -> NDArray[np.float64]:
    size = -np.log(_above_zero(words >> 8 & 2**23 - 1, 23)) / math.sqrt(2)
    return np.where(words >> 31, -size, size)


def _uniform(words: NDArray[np.uint32]) -> NDArray[np.float64]:
    return math.sqrt(3) * (2 * _above_zero(words >> 8, 24) - 1 - 2**-24)


def _student(words: NDArray[np.uint32]) -> NDArray[np.float64]:
    """Return pairs of Student's t by the polar method (Bailey, Mathematics of Computation 62, 1994)."""
    radius = np.sqrt(np.expm1(-2 / 3 * np.log(_above_zero(words[..., 0] >> 8, 24))))
    return radius[..., None] * _cos_sin(words[..., 1])


def _above_zero(numbers: NDArray[np.integer], bits: int) -> NDArray[np.float64]:
    """Return numbers of ``bits`` bits as multiples of 2^-bits in (0, 1]."""
    return (numbers + 1).astype(np.float64) * 2.0**-bits


def _cos_sin(words: NDArray[np.uint32]) -> NDArray[np.float64]:
    angle = 2 * np.pi * ((words >> 8).astype(np.float64) * 2.0**-24)
    return np.stack([np.cos(angle), np.sin(angle)], axis=-1)


Shape = tuple[int, int, int]  # M, L, V


def _of_clip(
    transform: Callable[[NDArray[np.uint32]], NDArray[np.float64]], random: BatchRandom, shape: Shape
) -> NDArray[np.float64]:
    """Return [M, L, V, 2] of the same words as the normals have."""
    persons, length, joints = shape
    words = random.words(NOISE, 2 * persons * joints, np.arange(length)[None])[0]
    return transform(words.reshape(length, persons, joints, 2).swapaxes(0, 1))


def _hits(random: BatchRandom, shape: Shape) -> NDArray[np.float32]:
    """Return a number of [0, 1) for each joint of each person in each frame [M, L, V]."""
    persons, length, joints = shape
    words = random.words(HITS, persons * joints, np.arange(length)[None])[0]
    return uniform(words).reshape(length, persons, joints).swapaxes(0, 1)


def _drift(random: BatchRandom, shape: Shape) -> NDArray[np.float64]:
    drift = _of_clip(_box_muller, random, shape)
    for frame in range(1, shape[1]):
        drift[:, frame] = DRIFT * drift[:, frame - 1] + math.sqrt(1 - DRIFT**2) * drift[:, frame]
    return drift


def _outliers(random: BatchRandom, shape: Shape) -> NDArray[np.float64]:
    hit = _hits(random, shape).astype(np.float64) < OUTLIERS
    return np.where(hit[..., None], math.sqrt(1 / OUTLIERS) * _of_clip(_box_muller, random, shape), 0)


# Families that displace joints: offsets [M, L, V, 2] of unit variance.
OFFSETS: dict[str, Callable[[BatchRandom, Shape], NDArray[np.float64]]] = {
    "gaussian": partial(_of_clip, _box_muller),
    "laplace": partial(_of_clip, _laplace),
    "uniform": partial(_of_clip, _uniform),
    "student": partial(_of_clip, _student),
    "drift": _drift,
    "outliers": _outliers,
}

Joints = tuple[NDArray[np.float32], NDArray[np.float32]]  # points and scores


def _dropout(noise: ClipNoise, points: NDArray[np.float32], scores: NDArray[np.float32]) -> Joints:
    missing = _hits(noise.random, scores.shape).astype(np.float64) < noise.share
    return points, np.where(missing, np.float32(0), scores)


def _occlusion(noise: ClipNoise, points: NDArray[np.float32], scores: NDArray[np.float32]) -> Joints:
    persons, length, joints = scores.shape
    words = noise.random.words(LOSSES, 2 * persons)[0].reshape(persons, 2)
    count = rounded(noise.share * length)
    scores = scores.copy()
    for person, (joint, start) in enumerate(
        zip(below(words[:, 0], joints), below(words[:, 1], length - count + 1), strict=True)
    ):
        scores[person, start : start + count, noise.limb_joints[joint] != 0] = 0
    return points, scores


def _swap(noise: ClipNoise, points: NDArray[np.float32], scores: NDArray[np.float32]) -> Joints:
    persons, length, _ = scores.shape
    drawn = uniform(noise.random.words(HITS, persons, np.arange(length)[None])[0]).T  # [M, L]
    swapped = drawn.astype(np.float64) < min(0.5, noise.alpha)
    points, scores = points.copy(), scores.copy()
    points[swapped] = points[swapped][:, noise.flipped_joint]
    scores[swapped] = scores[swapped][:, noise.flipped_joint]
    return points, scores


def _scores(noise: ClipNoise, points: NDArray[np.float32], scores: NDArray[np.float32]) -> Joints:
    left = np.maximum(1 - noise.share * _hits(noise.random, scores.shape).astype(np.float64), LEAST_SCORE)
    lowered = scores * left.astype(np.float32)
    return points, np.where(lowered > 0, lowered, scores)  # the least of numbers stays as it is


CHANGES: dict[str, Callable[[ClipNoise, NDArray[np.float32], NDArray[np.float32]], Joints]] = {
    "dropout": _dropout,
    "occlusion": _occlusion,
    "swap": _swap,
    "scores": _scores,
}


def _kept_evenly(random: BatchRandom, length: int, count: int) -> NDArray[np.int64]:
    return (2 * np.arange(count) + 1) * length // (2 * count)


def _kept_at_random(random: BatchRandom, length: int, count: int) -> NDArray[np.int64]:
    """Return ``count`` frames, every choice equally likely (selection sampling)."""
    words = random.words(LOSSES, length)[0]
    kept: list[int] = []
    for frame in range(length):
        if int(below(words[frame], length - frame)) < count - len(kept):
            kept.append(frame)
    return np.array(kept, np.int64)


def _kept_around_a_block(random: BatchRandom, length: int, count: int) -> NDArray[np.int64]:
    start = int(below(random.words(LOSSES, 1)[0, 0], count + 1))
    frames = np.arange(count)
    return np.where(frames < start, frames, frames + length - count)


KEPT: dict[str, Callable[[BatchRandom, int, int], NDArray[np.int64]]] = {
    "drop_uniform": _kept_evenly,
    "drop_random": _kept_at_random,
    "drop_block": _kept_around_a_block,
}
