"""What body motion looks like in the frames of a sample, learned from clean clips: the prior of a sampler's filter.

It is a ``MotionPrior`` of sampled frames that also knows how much it leaves out, so that a clean sample passes through
the filter unharmed.
"""

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastpose.data.denoising.motion_prior import (
    FREQUENCIES,
    LEAST_NOISE,
    ROUNDS,
    MotionPrior,
    box_of,
    cosines,
)
from fastpose.data.denoising.smoothing import noise_variances
from fastpose.data.pack.packed import PackedClips
from fastpose.data.pack.presence import present_joints
from fastpose.settings.sampling import MAX_SAMPLE_JOINTS
from fastpose.settings.short_text import short

LEAST_VARIANCE = 1e-9  # of the box, squared: what float32 can tell from nothing beside a variance of 1
LEAST_KNOWN = 1e-6  # of the box, squared: a joint that is always at its very centre was never seen
MOST_CLIPS = 4096  # more teach the prior little, and take minutes

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SamplePrior:
    """A Gaussian over the coefficients of persons' tracks, in units of their boxes.

    Attributes:
        clip_len: frames T of the samples that it was learned from; others have nearly the same coefficients.
        mean: float32 [V·2·K], K cosines for each joint and axis.
        directions: float32 [V·2·K, R], orthonormal.
        variances: float32 [R], along them.
        rest: variance of a coefficient outside of the directions.
        above: variance of a joint's coordinate in a frame outside of the K cosines.
    """

    clip_len: int
    mean: NDArray[np.float32]
    directions: NDArray[np.float32]
    variances: NDArray[np.float32]
    rest: float
    above: float

    @property
    def num_joints(self) -> int:
        """V of the tracks that it knows."""
        return len(self.mean) // (2 * FREQUENCIES)

    @classmethod
    def fit(cls, packed: PackedClips, indices: Iterable[int], clip_len: int) -> "SamplePrior":
        """Learn from the persons of clean clips, as the mean frames of ``clip_len`` equal parts; labels are not used.

        Raises:
            ValueError: fewer than two persons are seen.
        """
        chosen = np.fromiter(indices, np.int64)
        chosen = chosen[np.unique(np.linspace(0, len(chosen) - 1, min(len(chosen), MOST_CLIPS)).astype(int))]
        tracks = [track for index in chosen.tolist() for track in _tracks(packed, index, clip_len)]
        prior, coefficients = MotionPrior.fit_scaled(tracks, np.array(packed.layout.flip_index()), _filled)
        surprise = coefficients.reshape(len(tracks), -1) - prior.mean.ravel()
        explained = ((surprise @ prior.directions) ** 2).sum(axis=1)
        others = max(surprise.shape[1] - len(prior.variances), 1)
        rest = ((surprise**2).sum(axis=1) - explained).mean() / others
        whole = [
            np.mean((points - np.einsum("vdk,kt->tvd", coefficients[i], cosines(clip_len))) ** 2)
            for i, (points, present) in enumerate(tracks)
            if present.all()
        ]
        above = float(np.mean(whole)) if whole else 0.0
        return cls(
            clip_len=clip_len,
            mean=prior.mean.ravel().astype(np.float32),
            directions=prior.directions.astype(np.float32),
            variances=np.maximum(prior.variances, LEAST_VARIANCE).astype(np.float32),
            rest=max(float(rest), LEAST_VARIANCE),
            above=max(above, LEAST_VARIANCE),
        )

    @cached_property
    def spectrum(self) -> tuple[Array, Array]:
        """The variances [K, V·2] and directions [K, V·2, V·2] that the joints have at each frequency."""
        rows = self.directions.astype(np.float64).reshape(-1, FREQUENCIES, len(self.variances))
        joint = np.einsum("akr,r,bkr->kab", rows, self.variances, rows, optimize=True)
        variances, directions = np.linalg.eigh(joint + self.rest * np.eye(len(rows)))
        return np.maximum(variances, LEAST_VARIANCE), directions

    def learned(self) -> NDArray[np.bool_]:
        """Return which joints [V] were seen in training at all: others cannot be filled in."""
        shape = (self.num_joints, 2 * FREQUENCIES)
        moved = ((self.directions.astype(np.float64) ** 2) @ self.variances).reshape(shape).sum(axis=1)
        return (self.mean.reshape(shape).astype(np.float64) ** 2).sum(axis=1) + moved > LEAST_KNOWN

    def arrays(self, clip_len: int) -> dict[str, NDArray[np.float32]]:
        """Return all that native code reads of it for samples of ``clip_len`` frames, few or many, float32."""
        variances, directions = self.spectrum
        return {
            "mean": self.mean,
            "directions": self.directions,
            "variances": self.variances,
            "left_out": np.array([self.rest, self.above], np.float32),
            "joint_variances": variances.astype(np.float32),
            "joint_directions": np.ascontiguousarray(directions, np.float32),
            "learned": self.learned().astype(np.float32),
            "cosines": np.ascontiguousarray(cosines(clip_len), np.float32),
        }

    def to_json(self) -> dict[str, Any]:
        """Return it as text and numbers; ``from_json`` is its inverse, to the bit."""
        arrays = (self.mean, self.directions, self.variances)
        texts = [base64.b64encode(array.astype("<f4").tobytes()).decode() for array in arrays]
        names = ("mean", "directions", "variances")
        numbers = {"clip_len": self.clip_len, "rest": self.rest, "above": self.above}
        return numbers | dict(zip(names, texts, strict=True))

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "SamplePrior":
        """Read what ``to_json`` made.

        Raises:
            ValueError: the values are not such, or contradict each other.
            KeyError: one is missing.
        """
        if not isinstance(values, dict):
            raise ValueError(f"expected an object of texts and numbers, got a {type(values).__name__}")
        mean, directions, variances = (_numbers(values, name) for name in ("mean", "directions", "variances"))
        rest, above, clip_len = (_number(values, name) for name in ("rest", "above", "clip_len"))
        finite = all(np.isfinite(array).all() for array in (mean, directions, variances, (rest, above)))
        fits = (
            len(mean) % (2 * FREQUENCIES) == 0
            and 0 < len(variances) <= len(mean)
            and len(directions) == len(mean) * len(variances)
            and clip_len == int(clip_len)
            and 0 < clip_len <= MAX_SAMPLE_JOINTS
        )
        if not (finite and fits and (variances > 0).all() and rest > 0 and above > 0):
            raise ValueError(
                f"a prior of {len(mean)} coefficients, {len(directions)} numbers of directions and "
                f"{len(variances)} variances is damaged"
            )
        return cls(int(clip_len), mean, directions.reshape(len(mean), -1), variances, rest, above)


def _numbers(values: dict[str, Any], name: str) -> NDArray[np.float32]:
    if not isinstance(values[name], str):
        raise ValueError(f"{name}: expected numbers in base64, got {short(values[name])}")
    content = base64.b64decode(values[name], validate=True)
    if len(content) % 4:
        raise ValueError(f"{name}: {len(content)} bytes are no numbers of 4 bytes each")
    return np.frombuffer(content, "<f4").astype(np.float32)


def _number(values: dict[str, Any], name: str) -> float:
    value = values[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 2**63:
        raise ValueError(f"{name}: expected a number, got {short(value)}")
    return float(value)


def _filled(prior: MotionPrior, tracks: Sequence[tuple[Array, NDArray[np.bool_]]]) -> Array:
    """Return the coefficients [n, V, 2, K] of tracks of equal length whose missing joints move as ``prior`` expects."""
    if not tracks:
        return np.empty((0, *prior.mean.shape))
    points, present = (np.stack(column) for column in zip(*tracks, strict=True))
    waves = cosines(points.shape[1])
    gain = prior.variances / (prior.variances + LEAST_NOISE / points.shape[1])
    expected = np.broadcast_to(prior.mean, (len(points), *prior.mean.shape))
    for _ in range(ROUNDS):
        moved = np.tensordot(expected, waves, 1).transpose(0, 3, 1, 2)
        filled = np.where(present[..., None], points, moved)
        surprise = np.tensordot(filled, waves, (1, 1)) / points.shape[1] - prior.mean
        along = surprise.reshape(len(points), -1) @ prior.directions
        expected = prior.mean + ((along * gain) @ prior.directions.T).reshape(surprise.shape)
    return expected


def part_bounds(length: int, clip_len: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the frames [begin, end) of each of ``clip_len`` equal parts of a clip, rounded outwards, at least one."""
    edges = np.arange(clip_len + 1) * (length / clip_len)
    begins = np.minimum(np.floor(edges[:-1]), length - 1)
    ends = np.maximum(np.minimum(np.ceil(edges[1:]), length), begins + 1)
    return begins.astype(np.int64), ends.astype(np.int64)


def _tracks(packed: PackedClips, index: int, clip_len: int) -> list[tuple[Array, NDArray[np.bool_]]]:
    """Return the mean frames [T, V, 2] of each person who is seen, in units of the box, and which joints are known."""
    rows = slice(packed.offsets[index], packed.offsets[index + 1])
    persons, frames = int(packed.num_persons[index]), int(packed.num_frames[index])
    shape = (persons, frames, packed.keypoints.shape[1])
    tracks = []
    for keypoints, scores in zip(
        packed.keypoints[rows].reshape(*shape, 2), packed.scores[rows].reshape(shape), strict=True
    ):
        present = present_joints(keypoints, scores)
        if not present.any():
            continue
        points = np.where(present[..., None], keypoints, 0).astype(np.float64)
        box = box_of(points, present, noise_variances(points, present))
        begins, ends = part_bounds(len(points), clip_len)
        sums = np.concatenate([np.zeros((1, *points.shape[1:])), np.cumsum(points, axis=0)])
        seen = np.concatenate([np.zeros((1, points.shape[1])), np.cumsum(present, axis=0)])
        counts = seen[ends] - seen[begins]
        means = (sums[ends] - sums[begins]) / np.maximum(counts, 1)[..., None]
        known = counts > 0
        tracks.append((np.where(known[..., None], (means - box.center) / box.half, 0), known))
    return tracks
