"""Keypoints without their noise, at the full frame rate, for whatever recognises actions in them."""

import base64
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastpose.data.core import core
from fastpose.data.denoising.motion_prior import MotionPrior, box_of, cosines
from fastpose.data.denoising.prior_file import prior_from_bytes, prior_to_bytes, read_prior, write_prior
from fastpose.data.denoising.smoothing import noise_variances
from fastpose.data.pack.layouts import Layout
from fastpose.data.pack.packed import PackedClips
from fastpose.data.pack.presence import present_joints

PRIOR = "prior:"  # begins the text of a denoiser that has one


class Denoiser:
    """Filters the noise out of clips, person by person, whose level each person's track itself tells.

    Without a prior each joint is smoothed over time by as much as its noise asks for (Stein's unbiased risk): no
    training, any joints, 2D or 3D. A prior of body motion, learned from clean clips, filters stronger noise better;
    what it does not explain is smoothed as without it, so clips of other motions lose little. Clean clips come back
    almost unharmed. Missing joints stay missing. The noise is taken for white: drift from frame to frame is not seen.

    Args:
        prior: what body motion looks like; None for smoothing alone.
        layout: the joints that ``prior`` knows.
    """

    def __init__(self, prior: MotionPrior | None = None, layout: Layout | None = None) -> None:
        if (prior is None) != (layout is None):
            raise ValueError("a prior and the layout of its joints belong together, got one of them")
        self.prior, self.layout = prior, layout

    @classmethod
    def fit(cls, packed: PackedClips, indices: Iterable[int] | None = None) -> "Denoiser":
        """Learn a prior from clean clips ``indices`` of a pack, by default all; labels are not used.

        Raises:
            ValueError: fewer than two persons are seen.
        """
        chosen = range(packed.num_clips) if indices is None else indices
        tracks = [track for index in chosen for track in _tracks(packed, int(index))]
        seen = [(points, present) for points, present in tracks if present.any()]
        return cls(MotionPrior.fit(seen, packed.layout.flip_index()), packed.layout)

    @classmethod
    def open(cls, choice: str) -> "Denoiser | None":
        """Return what a setting names: "off" nothing, "sure" smoothing alone, else the prior of that file.

        Raises:
            ValueError: the file is no such prior; the text says why.
            OSError: the file cannot be opened.
        """
        if choice == "off":
            return None
        return cls() if choice == "sure" else cls.load(choice)

    def save(self, path: str | Path) -> None:
        """Write the prior to a file, for ``load``.

        Raises:
            ValueError: there is no prior.
            OSError: the file cannot be written; ``path`` is then as it was.
        """
        if self.prior is None or self.layout is None:
            raise ValueError("a denoiser without a prior has nothing to save")
        write_prior(path, self.prior, self.layout)

    @classmethod
    def load(cls, path: str | Path) -> "Denoiser":
        """Read a prior that ``save`` wrote.

        Raises:
            ValueError: the file is no such prior; the text says why.
            OSError: the file cannot be opened.
        """
        return cls(*read_prior(path))

    def to_text(self) -> str:
        """Return "sure" for smoothing alone, else "prior:" and the file that ``save`` writes in base64."""
        if self.prior is None or self.layout is None:
            return "sure"
        return PRIOR + base64.b64encode(prior_to_bytes(self.prior, self.layout)).decode()

    @classmethod
    def from_text(cls, text: str) -> "Denoiser":
        """Return the denoiser of which ``to_text`` made ``text``; it filters bitwise alike.

        Raises:
            ValueError: it is another text; the error says why.
        """
        if text == "sure":
            return cls()
        if not text.startswith(PRIOR):
            raise ValueError(f"a denoiser is 'sure' or {PRIOR!r} and base64, got {text[:40]!r}")
        return cls(*prior_from_bytes(base64.b64decode(text.removeprefix(PRIOR), validate=True)))

    def filter(self, keypoints: ArrayLike, scores: ArrayLike | None = None) -> NDArray[np.float32]:
        """Return the keypoints of a clip [M, T, V, D] without their noise, float32, D being 2 or 3.

        Args:
            keypoints: of all frames, in any unit.
            scores: [M, T, V]; a joint is missing where its score is not positive and finite, or a coordinate is not
                finite or beyond 1e6. None: where all its coordinates are 0.

        Raises:
            ValueError: the shapes do not fit each other or the prior.
        """
        points = np.asarray(keypoints, dtype=np.float32)
        if points.ndim != 4 or points.shape[3] not in (2, 3):
            raise ValueError(
                f"keypoints must be [M, T, V, 2] or [M, T, V, 3], got shape {list(points.shape)}"
            )
        known = (points != 0).any(axis=-1) if scores is None else np.asarray(scores)
        if known.shape != points.shape[:3]:
            raise ValueError(
                f"scores must be {list(points.shape[:3])} as keypoints are, got {list(known.shape)}"
            )
        self._check_joints(points.shape[2], points.shape[3])
        present = present_joints(points, known)
        persons, frames = points.shape[:2]
        rows = points.reshape(persons * frames, *points.shape[2:])
        begins = np.arange(persons + 1) * frames
        return self._filter_tracks(rows, present.reshape(rows.shape[:2]), begins).reshape(points.shape)

    def filter_clips(self, packed: PackedClips, threads: int = 0) -> PackedClips:
        """Return the same clips without their noise; ``threads`` smooth them, 0 being all that the process has.

        Raises:
            ValueError: the clips have other joints than the prior.
        """
        self.check_layout(packed.layout)
        present = present_joints(packed.keypoints, packed.scores)
        persons = np.repeat(packed.num_frames.astype(np.int64), packed.num_persons)
        begins = np.concatenate([[0], np.cumsum(persons)])
        keypoints = self._filter_tracks(np.ascontiguousarray(packed.keypoints), present, begins, threads)
        moved = core.total_differences(
            keypoints, packed.scores, packed.offsets, packed.num_frames, threads=threads
        )
        return replace(packed, keypoints=keypoints, total_difference=moved, path=None)

    def check_layout(self, layout: Layout, owner: str = "the clips have") -> None:
        """Raise ValueError where the prior knows other joints than those of ``layout``, or knows them in 3D."""
        if self.layout is not None and layout.joints != self.layout.joints:
            raise ValueError(
                f"the prior knows the joints of layout {self.layout.name!r}, {owner} those of {layout.name!r}"
            )
        self._check_joints(layout.num_joints, 2)

    def _check_joints(self, joints: int, axes: int) -> None:
        if self.prior is None or self.layout is None:
            return
        if self.prior.mean.shape[:2] != (joints, axes):
            raise ValueError(
                f"the prior knows {self.prior.mean.shape[0]} joints in {self.prior.mean.shape[1]}D (layout "
                f"{self.layout.name!r}), the keypoints have {joints} in {axes}D"
            )

    def _filter_tracks(
        self,
        keypoints: NDArray[np.float32],
        present: NDArray[np.bool_],
        begins: NDArray[np.int64],
        threads: int = 0,
    ) -> NDArray[np.float32]:
        if not keypoints.size:
            return keypoints.copy()
        clean = np.where(present[..., None], keypoints, np.float32(0))
        if self.prior is None:
            smoothed = core.smooth_tracks(clean, present, begins, threads=threads)
        else:
            explained = np.zeros(keypoints.shape)
            for begin, end in zip(begins[:-1].tolist(), begins[1:].tolist(), strict=True):
                explained[begin:end] = _explained(self.prior, clean[begin:end], present[begin:end])
            remainder = np.where(present[..., None], clean - explained, 0).astype(np.float32)
            rest = core.smooth_tracks(remainder, present, begins, remainder=True, threads=threads)
            smoothed = (explained + rest).astype(np.float32)
        return np.where(present[..., None], smoothed, keypoints)


def _explained(
    prior: MotionPrior, keypoints: NDArray[np.float32], present: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return what the prior takes for motion in a track [T, V, D]; nothing of one whose noise cannot be told."""
    points = keypoints.astype(np.float64)
    noise = noise_variances(points, present)
    if not noise.any():
        return np.zeros_like(points)
    box = box_of(points, present, noise)
    coefficients = prior.expected((points - box.center) / box.half, present, noise / box.half**2)
    return box.center + box.half * prior.frames(coefficients, cosines(len(points)))


def _tracks(packed: PackedClips, index: int) -> list[tuple[NDArray[np.float32], NDArray[np.bool_]]]:
    clip = packed.clip(index)
    return [
        (points, present_joints(points, scores))
        for points, scores in zip(clip.keypoints, clip.scores, strict=True)
    ]
