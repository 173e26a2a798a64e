"""What body motion looks like: a Gaussian over the low frequencies of all joints, learned from clean clips.

A track in the units of its box is the sum of K cosines for each joint and axis; prior knowledge of their
coefficients tells motion from noise, and where missing joints are.
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastpose.data.denoising.smoothing import noise_variances

FREQUENCIES = 16  # K
VARIANCE_KEPT = 0.995  # of the coefficients; the rest counts as what the prior knows nothing of
FULL = 0.98  # present joints of a track that the first round of fitting takes
ROUNDS = 3
FOLDS = 5
HALF_BOX = 2.4  # deviations of the joints of a person from the centre of the box to its side
LEAST_HALF = 1e-6  # of a box, in the units of its points; a person that is smaller is a point
LEAST_SPREAD = 0.03  # of the measured variance, that is the person's own whatever the noise
LEAST_NOISE = 1e-3  # of the box, squared, while missing joints are filled in

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Box:
    """Where a person is: x = center + half · z, z being about ±1."""

    center: Array  # [D]
    half: float


def box_of(points: Array, present: NDArray[np.bool_], noise: Array) -> Box:
    """Return the box of points [T, V, D], from their spread less that of the noise, variances [D]."""
    if not present.any():
        return Box(np.zeros(points.shape[2]), 1.0)
    known = points[present]
    variance = known.var(axis=0)
    spread = np.maximum(variance - noise, LEAST_SPREAD * variance).max()
    half = HALF_BOX * float(np.sqrt(spread))
    return Box(known.mean(axis=0), half if half > LEAST_HALF else 1.0)


@functools.lru_cache(maxsize=256)
def cosines(length: int) -> Array:
    """Return the first K cosines over ``length`` frames [K, T], of mean square 1; those beyond T are 0."""
    time, order = np.arange(length) + 0.5, np.arange(FREQUENCIES)
    waves = np.cos(np.pi / length * order[:, None] * time) * np.where(order == 0, 1.0, np.sqrt(2))[:, None]
    return np.where(order[:, None] < length, waves, 0.0)


class MotionPrior:
    """The mean and the main directions of the coefficients, joint by joint, axis by axis, frequency by frequency.

    Attributes:
        mean: float64 [V, D, K].
        directions: float64 [V·D·K, R], orthonormal.
        variances: float64 [R], along them, above 0.
    """

    def __init__(self, mean: Array, directions: Array, variances: Array) -> None:
        self.mean, self.directions, self.variances = mean, directions, variances
        self._rows = directions.reshape(*mean.shape, -1)  # [V, D, K, R]
        # What one frame in which all joints are present tells of the directions, by axis.
        self._told = np.stack(
            [np.tensordot(rows, rows, ((0, 1), (0, 1))) for rows in self._rows.swapaxes(0, 1)]
        )

    @classmethod
    def fit(
        cls, tracks: Iterable[tuple[NDArray[np.floating], NDArray[np.bool_]]], mirror: NDArray[np.integer]
    ) -> "MotionPrior":
        """Learn from clean tracks, keypoints [T, V, D] and which joints are present [T, V], and their mirror images.

        Args:
            mirror: the joint that each becomes in a mirror [V]; neighbours in ``tracks`` may be of one recording.

        Raises:
            ValueError: there are fewer than two tracks.
        """
        scaled = []
        for keypoints, present in tracks:
            points = keypoints.astype(np.float64)
            box = box_of(points, present, noise_variances(points, present))
            scaled.append(((points - box.center) / box.half, present))
        return cls.fit_scaled(scaled, mirror)[0]

    @classmethod
    def fit_scaled(
        cls,
        scaled: Sequence[tuple[Array, NDArray[np.bool_]]],
        mirror: NDArray[np.integer],
        fill: "Callable[[MotionPrior, Sequence[tuple[Array, NDArray[np.bool_]]]], Iterable[Array]] | None" = None,
    ) -> tuple["MotionPrior", Array]:
        """Learn from tracks in units of their boxes, as ``fit`` does from pixels; return their coefficients too.

        Args:
            fill: returns the coefficients [V, D, K] of tracks with missing joints; by default what is expected of each.

        Returns:
            The prior, and the coefficients [n, V, D, K] of the tracks with missing joints filled in.
        """
        if len(scaled) < 2:
            raise ValueError(f"a prior of body motion needs two tracks or more, got {len(scaled)}")
        whole = [bool(present.mean() > FULL) for _, present in scaled]
        if sum(whole) < 2:
            whole = [True] * len(scaled)
        coefficients = np.stack([_interpolated(*track) for track in scaled])  # [n, V, D, K]
        known = coefficients[whole]
        gaps = [i for i, (_, present) in enumerate(scaled) if not present.all()]
        for _ in range(ROUNDS):
            samples = _with_mirrors(known, mirror)
            mean, variances, directions = _main_directions(samples)
            prior = cls(mean.reshape(known.shape[1:]), directions, variances)
            for i, filled in zip(gaps, (fill or _expected)(prior, [scaled[i] for i in gaps]), strict=True):
                coefficients[i] = filled
            known = coefficients
        return cls._of_new_people(known, mirror), coefficients

    @classmethod
    def _of_new_people(cls, coefficients: Array, mirror: NDArray[np.integer]) -> "MotionPrior":
        """Return the prior of samples [n, V, D, K], with the variances that recordings outside of them have."""
        groups = [
            _with_mirrors(part, mirror)
            for part in np.array_split(coefficients, min(FOLDS, len(coefficients)))
        ]
        everything = np.concatenate(groups)
        mean, variances, directions = _main_directions(everything)
        held_out = np.zeros_like(variances)
        for i, part in enumerate(groups):
            others = np.concatenate(groups[:i] + groups[i + 1 :])
            center, _, axes = _main_directions(others, len(variances))
            held_out[: axes.shape[1]] += ((part - center) @ axes).var(axis=0) * len(part) / len(everything)
        excess = np.maximum(held_out / variances, 1.0)
        for quarter in np.array_split(np.arange(len(variances)), min(4, len(variances))):
            variances[quarter] *= np.median(excess[quarter])
        return cls(mean.reshape(coefficients.shape[1:]), directions, variances)

    def expected(self, points: Array, present: NDArray[np.bool_], noise: Array) -> Array:
        """Return the coefficients [V, D, K] to be expected, given points [T, V, D] in units of the box.

        Args:
            present: which joints are known [T, V].
            noise: the variance of white noise along each axis [D].
        """
        from scipy.linalg import (  # slow to import, and most who import this module filter nothing
            cho_factor,
            cho_solve,
        )

        waves = cosines(len(points))
        precision = 1 / np.maximum(noise, 1e-8)
        seen = np.tensordot(len(points) * precision, self._told, 1)
        for joint, rows in enumerate(self._rows):
            known = present[:, joint]
            if known.all() and len(points) >= FREQUENCIES:
                continue
            absent = len(points) * np.eye(FREQUENCIES) - (waves * known) @ waves.T
            for axis, scale in enumerate(precision):
                seen -= scale * rows[axis].T @ absent @ rows[axis]
        surprise = np.where(present[..., None], points - self.frames(self.mean, waves), 0) * precision
        told = self.directions.T @ np.einsum("kt,tvd->vdk", waves, surprise).ravel()
        seen[np.diag_indices_from(seen)] += 1 / self.variances
        steps = cho_solve(cho_factor(seen, check_finite=False), told, check_finite=False)
        return self.mean + (self.directions @ steps).reshape(self.mean.shape)

    @staticmethod
    def frames(coefficients: Array, waves: Array) -> Array:
        """Return the points [T, V, D] of coefficients [V, D, K]."""
        return np.einsum("vdk,kt->tvd", coefficients, waves)


def _expected(prior: MotionPrior, tracks: Sequence[tuple[Array, NDArray[np.bool_]]]) -> Iterable[Array]:
    noise = np.full(prior.mean.shape[1], LEAST_NOISE)
    return (prior.expected(points, present, noise) for points, present in tracks)


def _interpolated(points: Array, present: NDArray[np.bool_]) -> Array:
    """Return the coefficients of a track whose missing joints move in straight lines, or are at the centre."""
    filled = np.zeros_like(points)
    time = np.arange(len(points))
    for joint in range(points.shape[1]):
        known = np.flatnonzero(present[:, joint])
        if len(known):
            for axis in range(points.shape[2]):
                filled[:, joint, axis] = np.interp(time, known, points[known, joint, axis])
    return np.einsum("kt,tvd->vdk", cosines(len(points)), filled) / len(points)


def _with_mirrors(coefficients: Array, mirror: NDArray[np.integer]) -> Array:
    mirrored = coefficients[:, mirror].copy()
    mirrored[:, :, 0] *= -1
    return np.concatenate([coefficients, mirrored]).reshape(2 * len(coefficients), -1)


def _main_directions(samples: Array, count: int | None = None) -> tuple[Array, Array, Array]:
    """Return the mean, variances and directions [..., R] of samples [n, ...], the largest first."""
    mean = samples.mean(axis=0)
    if len(samples) < samples.shape[1]:
        _, lengths, axes = np.linalg.svd(samples - mean, full_matrices=False)
        variances, axes = lengths**2 / len(samples), axes.T
    else:
        variances, axes = np.linalg.eigh(np.cov(samples.T, bias=True))
        variances, axes = variances[::-1], axes[:, ::-1]
    if count is None:
        shares = np.cumsum(variances) / max(variances.sum(), 1e-300)
        count = int(np.searchsorted(shares, VARIANCE_KEPT)) + 1
    variances = np.maximum(variances, 1e-12)
    return mean, variances[:count].copy(), axes[:, :count].copy()
