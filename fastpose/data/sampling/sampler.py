"""Batches of sampled, noised, cropped and flipped keypoints, one native call each."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from fastpose.data.core import core
from fastpose.data.pack.packed import PackedClips
from fastpose.data.sampling.batch import AlphaRange, PoseBatch, alpha_ranges
from fastpose.data.sampling.checks import (
    check_pack,
    checked_flips,
    checked_indices,
    checked_integer,
    checked_prior,
    limb_joints,
)
from fastpose.data.sampling.sample_prior import SamplePrior
from fastpose.settings import SamplingConfig
from fastpose.settings.families import FAMILIES, check_families
from fastpose.settings.sampling import MAX_SAMPLE_JOINTS

INPUT_DRAWS = 12  # csrc/sample/clip_sampler.hpp
NOISE_LEVELS = 2
STATE = ("packed", "settings", "train", "seed", "threads", "prior")


class ClipSampler:
    """Draws batches from packed clips: frames, noise, crop and flip, without Python in the loop.

    Every random number is a function of (seed; clip name, epoch, stream, purpose, position), so a clip's
    sample is the same to the bit in any batch, order, subset, worker or number of threads. Noise belongs to the
    video, not to the sample: that of a person's joint in a frame is the same however often and by whatever rule
    the frame is taken, in all epochs outside training, and the same normals serve every noise strength.

    By the frame rule "segments", that of PYSKL and MMAction2, frames are the middles of equal parts, or drawn
    from them in training; by "resample", MotionBERT's, frame i is floor(i·L/T) of L, drawn in training from the
    T-th part that begins there, and frames of a clip shorter than T repeat. The crop "box" is a square round
    all present joints, of which training takes a random part; "frame" is the whole frame, its top left corner
    at the input's, its longer side filling the input.

    With a front end (``SamplingConfig.has_front_end``) a sample is made of all frames of the clip
    (``fastpose.data.sampling.front_end``): by the rule "means" each of its frames is the mean of a segment, the crop
    "spread" is sized by the spread of the joints less their noise, and the motion filter takes most of the noise out
    and fills in missing joints. A batch then has ``presence`` and ``noise_levels``.

    Args:
        packed: the clips; their arrays are read in place, never copied.
        settings: frames, size, crop, flip and persons of a sample.
        train: draw frames, crop and flip; otherwise middle frames, the whole padded box, no flip.
        seed: 64-bit key of the random numbers.
        threads: that one call may use; 0 means all the process has.
        prior: what clean clips say of body motion, where ``settings.motion_filter`` asks for it.
        changes: fields of ``SamplingConfig`` in place of those of ``settings``, such as clip_len=48.

    A joint whose score is not a positive finite number, or with a coordinate that is NaN or beyond 1e6
    pixels, counts as missing.

    Attributes:
        settings: with ``max_persons`` as a number: by default the most that a clip of the pack has.

    Raises:
        ValueError: a setting is out of range, or the pack's arrays contradict each other.
        TypeError: no such setting.
    """

    def __init__(
        self,
        packed: PackedClips,
        settings: SamplingConfig | None = None,
        *,
        train: bool = True,
        seed: int = 0,
        threads: int = 1,
        prior: SamplePrior | None = None,
        **changes: Any,
    ) -> None:
        check_pack(packed)
        flips = checked_flips(packed)
        settings = replace(SamplingConfig() if settings is None else settings, **changes)
        persons = settings.max_persons
        if persons is None:
            persons = int(packed.num_persons.max(initial=1))
            settings = replace(settings, max_persons=persons)
        self.packed, self.settings, self.num_joints = packed, settings, packed.keypoints.shape[1]
        self.train = bool(train)
        self.seed = checked_integer("seed", seed, 0, 2**64 - 1)
        self.threads = checked_integer("threads", threads, 0, 4096)
        self.shape = (persons, settings.clip_len, self.num_joints, 3)  # of a sample: M, T, V, 3
        if persons * settings.clip_len * self.num_joints > MAX_SAMPLE_JOINTS:
            raise ValueError(
                f"max_persons · clip_len · joints: expected at most {MAX_SAMPLE_JOINTS}, "
                f"got {persons} · {settings.clip_len} · {self.num_joints}"
            )
        self.prior = checked_prior(prior, packed, settings)
        self._native = core.PackedSampler(
            packed.keypoints,
            packed.scores,
            packed.offsets,
            packed.num_persons,
            packed.num_frames,
            packed.image_sizes,
            packed.name_hashes,
            packed.total_difference,
            flips,
            limb_joints(packed),
            seed=self.seed,
            train=self.train,
            settings=settings.numbers(),
            prior=None if self.prior is None else self.prior.arrays(settings.clip_len),
        )

    def batch(
        self,
        indices: Sequence[int] | NDArray[np.integer] | torch.Tensor,
        epoch: int = 0,
        stream: int = 0,
        alpha: float | AlphaRange | ArrayLike = 0.0,
        *,
        draw_frames: bool | None = None,
        flip: bool | None = None,
        families: Sequence[str] = ("gaussian",),
    ) -> PoseBatch:
        """Sample the clips ``indices`` [B].

        Args:
            indices: clips of the pack, in any order, repeats allowed.
            epoch: 0 to 2**32 - 1; another epoch draws other numbers, but outside training the same noise.
            stream: 0 to 15: 0 clean, 1 noisy, 2 clean when not shared, 3 evaluation (draw k is epoch k).
            alpha: noise strength: for all clips, per clip [B], or a range from which each draws its own.
            draw_frames: draw the frames rather than take fixed ones. Default: as ``train``.
            flip: mirror all clips, or none. Default: drawn in training, else none.
            families: names of ``FAMILIES``, the kinds of noise, from which each clip draws its own. Of a family that
                leaves frames out, the frames are chosen of those that remain.

        Raises:
            ValueError: an index, the epoch, the stream or an alpha is out of range, or there is no such family.
        """
        indices = checked_indices(indices, len(self.packed.num_frames))
        count = len(indices)
        alpha_low, alpha_high = alpha_ranges(alpha, count)
        keypoints = torch.empty((count, *self.shape), dtype=torch.float32, device="cpu")
        frames = torch.empty(count, self.settings.clip_len, dtype=torch.int32, device="cpu")
        draws = torch.empty(count, INPUT_DRAWS, dtype=torch.float32, device="cpu") if self.train else None
        seen = self.settings.has_front_end
        presence = torch.empty(count, *self.shape[:3], dtype=torch.float32, device="cpu") if seen else None
        levels = torch.empty(count, NOISE_LEVELS, dtype=torch.float32, device="cpu") if seen else None
        self._native.sample(
            indices,
            alpha_low,
            alpha_high,
            np.array([FAMILIES.index(family) for family in check_families(families)], np.int32),
            epoch=checked_integer("epoch", epoch, 0, 2**32 - 1),
            stream=checked_integer("stream", stream, 0, 15),
            draw_frames=self.train if draw_frames is None else bool(draw_frames),
            flip=False if flip is None and not self.train else flip,
            threads=self.threads,
            keypoints=keypoints.numpy(),
            frames=frames.numpy(),
            draws=None if draws is None else draws.numpy(),
            presence=None if presence is None else presence.numpy(),
            noise_levels=None if levels is None else levels.numpy(),
        )
        labels = torch.from_numpy(self.packed.labels[indices])
        return PoseBatch(keypoints, labels, frames, torch.from_numpy(indices), draws, presence, levels)

    def __getstate__(self) -> dict[str, object]:
        return {name: getattr(self, name) for name in STATE}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]
