"""Sampling written plainly in NumPy: the definition that native code and kernels are tested against.

It also serves where the compiled extension is missing. Arrays hold a batch: B clips, M persons, T frames, V joints.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fastpose.data.pack.presence import present_joints
from fastpose.data.sampling.corruption import ClipNoise, NoisedClip, normals
from fastpose.data.sampling.noise import noise_coefficients
from fastpose.data.sampling.philox import (
    ALPHA,
    CROP_AND_FLIP,
    FRAMES,
    INPUT,
    BatchRandom,
    below,
    between,
    uniform,
)
from fastpose.settings.families import FAMILIES

if TYPE_CHECKING:
    from fastpose.data.sampling.front_end import SeenClips

ELEMENTS_AT_ONCE = 2**18  # joints of persons in frames, so that a large batch needs little memory


def choose_frames(
    random: BatchRandom, lengths: NDArray[np.int64], count: int, draw: bool
) -> NDArray[np.int64]:
    """Return ``count`` frames [B, T] of clips of ``lengths`` frames [B], by the rule "segments"."""
    length, i = lengths[:, None], np.arange(count)
    if not draw:
        return np.where(length < count, i % length, (2 * i + 1) * length // (2 * count))
    words = random.words(FRAMES, count)
    looped = (below(words[:, :1], length) + i) % length
    # Of clips of less than twice the frames, length - count of the count + 1 gaps are skipped, all choices alike.
    skips, left = np.empty_like(looped), lengths - count
    for gap in range(count):
        left = left - (below(words[:, gap], count + 1 - gap) < left)
        skips[:, gap] = lengths - count - left
    begin, end = i * length // count, (i + 1) * length // count
    drawn = begin + below(words, end - begin)
    return np.select([length < count, length < 2 * count], [looped, i + skips], drawn)


def resample_frames(
    random: BatchRandom, lengths: NDArray[np.int64], count: int, draw: bool
) -> NDArray[np.int64]:
    """Return ``count`` frames [B, T] of clips of ``lengths`` frames [B], by the rule "resample"."""
    length = lengths[:, None]
    even = np.arange(count) * length  # in units of 1 / count frames
    if draw:
        words = random.words(FRAMES, count)
        # A short clip's frames are rounded down, or up, by a coin.
        even = even + np.where(length < count, below(words, 2) * (count - 1), below(words, length))
    return np.sort(np.minimum(even // count, length - 1), axis=1)


GAUSSIAN = FAMILIES.index("gaussian")
# These three in the order of the settings' words.
FRAME_RULES = (
    choose_frames,
    resample_frames,
    choose_frames,
)  # frames of the rule "means" are parts: ``_seen``
CROP_BOX, CROP_FRAME, CROP_SPREAD = range(3)
FILTER_OFF, FILTER_WHITE, FILTER_COLOURS = range(3)
RULE_MEANS = 2
BOX_OF_SPREAD = 3.84  # larger side of a person's box over the larger deviation of the joints
LEAST_LEVEL, MOST_LEVEL = 1e-3, 10.0  # of noise, in halves of the crop's side


class ReferenceSampler:
    """What the extension's ``PackedSampler`` does, with the same arguments.

    Args:
        keypoints, …, total_differences: the arrays of a pack, as ``PackedClips`` has them.
        flipped_joint: int64 [V], the joint that each becomes in a mirror.
        limb_joints: uint8 [V, V], row v not 0 for the joints of a limb round joint v.
        seed, train: as of ``ClipSampler``.
        settings: ``SamplingConfig.numbers()``.
        prior: ``SamplePrior.arrays()``, of the filter that the settings ask for.
    """

    def __init__(
        self,
        keypoints: NDArray[np.float32],
        scores: NDArray[np.float32],
        offsets: NDArray[np.int64],
        num_persons: NDArray[np.int32],
        num_frames: NDArray[np.int32],
        image_sizes: NDArray[np.int32],
        name_hashes: NDArray[np.uint64],
        total_differences: NDArray[np.float64],
        flipped_joint: NDArray[np.int64],
        limb_joints: NDArray[np.uint8],
        *,
        seed: int,
        train: bool,
        settings: Mapping[str, Sequence[float]],
        prior: Mapping[str, NDArray[np.float32]] | None = None,
    ) -> None:
        self.keypoints, self.scores, self.offsets = keypoints, scores, offsets
        self.num_persons, self.num_frames = num_persons, num_frames
        self.image_sizes, self.name_hashes = image_sizes, name_hashes
        self.total_differences = total_differences
        self.flipped_joint, self.limb_joints = flipped_joint, limb_joints
        self.seed, self.train = seed, train
        self.height, self.width = settings["size"]
        first = {name: numbers[0] for name, numbers in settings.items()}
        self.frame_rule, self.crop = int(first["frame_rule"]), int(first["crop"])
        self.whole_frame = self.crop == CROP_FRAME
        self.choose_frames = FRAME_RULES[self.frame_rule]
        self.window, self.filter_rule, self.prior = first["window"], int(first["motion_filter"]), prior
        self.crop_padding, self.min_box = first["crop_padding"], first["min_box"]
        self.crop_area, self.crop_aspect = settings["crop_area"], settings["crop_aspect"]
        self.flip_probability = first["flip_probability"]

    def sample(
        self,
        indices: NDArray[np.int64],  # [B]
        alpha_low: NDArray[np.float64],  # [B]
        alpha_high: NDArray[np.float64],  # [B]
        families: NDArray[np.int32],  # [F], places in FAMILIES
        *,
        epoch: int,
        stream: int,
        draw_frames: bool,
        flip: bool | None,
        threads: int,
        keypoints: NDArray[np.float32],
        frames: NDArray[np.int32],
        draws: NDArray[np.float32] | None,
        presence: NDArray[np.float32] | None = None,
        noise_levels: NDArray[np.float32] | None = None,
    ) -> None:
        """Write keypoints [B, M, T, V, 3], frames [B, T] and, unless None, draws [B, …] of the clips ``indices``.

        With a front end also presence [B, M, T, V] and noise_levels [B, 2], which are None without one. Each clip's
        noise strength is drawn from [alpha_low, alpha_high], its family from ``families``; ``flip`` None means drawn;
        ``threads`` is left unused.
        """
        max_persons, clip_len = keypoints.shape[1:3]
        step = max(1, ELEMENTS_AT_ONCE // keypoints[0, ..., 0].size) if len(indices) else 1
        for begin in range(0, len(indices), step):
            span = slice(begin, begin + step)
            clips = indices[span]
            random = BatchRandom(self.seed, self.name_hashes[clips], epoch, stream)
            # Outside training a video has one noise, whichever of its samples is drawn.
            noise = random if self.train else BatchRandom(self.seed, self.name_hashes[clips], 0, stream)
            words = noise.words(ALPHA, 2)
            alpha = between(words[:, 0], alpha_low[span], alpha_high[span])
            family = families[below(words[:, 1], len(families))]
            sizes = self.image_sizes[clips].astype(np.float64)  # [B, 2], (h, w)
            strength = alpha * noise_coefficients(self.total_differences[clips], sizes)
            deviation = (strength[:, None] * sizes[:, ::-1]).astype(np.float32)  # [B, 2], x and y
            noises = [
                ClipNoise(
                    FAMILIES[family[i]],
                    alpha[i],
                    deviation[i],
                    noise.of(i),
                    self.flipped_joint,
                    self.limb_joints,
                )
                for i in range(len(clips))
            ]
            extent = None
            if presence is not None:
                seen, frames[span] = self._seen(clips, random, noises, max_persons, clip_len, draw_frames)
                joints = seen.keypoints.numpy().astype(np.float32)
                points, scores = joints[..., :2], joints[..., 2]
                if self.crop == CROP_SPREAD:
                    extent = seen.center.numpy(), BOX_OF_SPREAD * seen.deviation.numpy()
            elif (family == GAUSSIAN).all():
                lengths = self.num_frames[clips].astype(np.int64)
                frames[span] = self.choose_frames(random, lengths, clip_len, draw_frames)
                points, scores = self._gather(clips, frames[span], max_persons)
                if (deviation > 0).any():
                    offsets = normals(noise, frames[span], max_persons, scores.shape[3])
                    points = points + _per_clip(deviation) * offsets
            else:
                found = []
                for i, clip in enumerate(clips):
                    noised = self._noised(clip, max_persons, noises[i])
                    lengths = np.array([len(noised.places)])
                    chosen = self.choose_frames(random.of(i), lengths, clip_len, draw_frames)[0]
                    found.append((noised.points[:, chosen], noised.scores[:, chosen], noised.places[chosen]))
                points, scores, frames[span] = map(np.stack, zip(*found, strict=True))
            corner, side = self._square(extent or _extent(points, scores > 0), sizes)
            flips = self._flips(random, len(clips), flip)
            keypoints[span] = self._placed(*self._crop(random, corner, side), flips, points, scores)
            if presence is not None and noise_levels is not None:
                share = seen.presence.numpy()
                share[flips] = share[flips][..., self.flipped_joint]
                presence[span] = share
                levels = np.sqrt(seen.noise.numpy()) / (side[:, None] / 2)
                noise_levels[span] = np.log(np.clip(levels, LEAST_LEVEL, MOST_LEVEL))
            if draws is not None:
                draws[span] = uniform(random.words(INPUT, draws.shape[1]))

    def _flips(self, random: BatchRandom, count: int, flip: bool | None) -> NDArray[np.bool_]:
        """Return which clips are mirrored [B]."""
        if flip is not None:
            return np.full(count, flip)
        drawn = uniform(random.words(CROP_AND_FLIP, 5)[:, 4])
        return drawn.astype(np.float64) < self.flip_probability

    def _placed(
        self,
        corner: NDArray[np.float64],
        sides: NDArray[np.float64],
        flips: NDArray[np.bool_],
        points: NDArray[np.floating],
        scores: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        """Return joints [B, M, T, V, 3], points in pixels of the clip, as the crops show them."""
        present = scores > 0
        scale = (np.array([self.width, self.height]) / sides).astype(np.float32)
        points = (points - _per_clip(corner.astype(np.float32))) * _per_clip(scale)
        sample = np.concatenate([points, scores[..., None]], axis=-1)
        mirrored = sample[flips]
        mirrored[..., 0] = np.float32(self.width - 1) - mirrored[..., 0]
        sample[flips] = mirrored[..., self.flipped_joint, :]
        present[flips] = present[flips][..., self.flipped_joint]
        return np.where(present[..., None], sample, np.float32(0))

    def _seen(
        self,
        clips: NDArray[np.int64],
        random: BatchRandom,
        noises: Sequence[ClipNoise],
        max_persons: int,
        count: int,
        draw_frames: bool,
    ) -> tuple["SeenClips", NDArray[np.int64]]:
        """Return what the front end makes of noised clips, and the places of sampled frames in the videos [B, T]."""
        import torch  # without a front end, nothing here needs it

        from fastpose.data.sampling.front_end import MotionFilter, part_edges, see_clips

        noised = [self._noised(clip, max_persons, noise) for clip, noise in zip(clips, noises, strict=True)]
        lengths = np.array([len(clip.places) for clip in noised])
        joints = np.zeros((len(clips), max_persons, lengths.max(), self.scores.shape[1], 3))
        places = np.zeros((len(clips), lengths.max()), np.int64)
        for i, clip in enumerate(noised):
            joints[i, :, : lengths[i]] = np.concatenate([clip.points, clip.scores[..., None]], axis=-1)
            places[i, : lengths[i]] = clip.places
        if self.frame_rule == RULE_MEANS:
            drawn = torch.from_numpy(uniform(random.words(FRAMES, count + 1))) if draw_frames else None
            begins, ends = part_edges(torch.from_numpy(lengths), count, drawn, self.window)
        else:
            begins = torch.from_numpy(self.choose_frames(random, lengths, count, draw_frames))
            ends = begins + 1
        points = torch.from_numpy(joints)
        filter = None
        if self.prior is not None:
            filter = MotionFilter(self.prior, self.filter_rule == FILTER_COLOURS, points)
        middles = ((begins + ends - 1) // 2).numpy()
        return see_clips(points, begins, ends, filter), np.take_along_axis(places, middles, axis=1)

    def _noised(self, clip: int, max_persons: int, noise: ClipNoise) -> NoisedClip:
        """Return all that noise leaves of a clip."""
        everything = np.arange(self.num_frames[clip])[None]
        points, scores = self._gather(np.array([clip]), everything, max_persons)
        return noise.applied(points[0], scores[0])

    def _gather(
        self, clips: NDArray[np.int64], frames: NDArray[np.integer], max_persons: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return points [B, M, T, V, 2] and scores [B, M, T, V] of ``frames`` [B, T], all 0 where missing."""
        person = np.arange(max_persons)
        exists = person < self.num_persons[clips][:, None]  # [B, M]
        first = self.offsets[clips][:, None] + person * self.num_frames[clips][:, None].astype(np.int64)
        rows = np.where(exists, first, 0)[..., None] + frames[:, None]  # [B, M, T]
        points, scores = self.keypoints[rows], self.scores[rows]
        present = present_joints(points, scores) & exists[..., None, None]
        return np.where(present[..., None], points, np.float32(0)), np.where(present, scores, np.float32(0))

    def _square(
        self, extent: tuple[NDArray[np.float64], NDArray[np.float64]], sizes: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the top left corner [B, 2] and the side [B] of the square round each clip's persons, in pixels."""
        centre, size = extent
        if self.whole_frame:
            return np.zeros_like(sizes), sizes.max(axis=1)
        is_person = size >= self.min_box
        side = np.where(is_person, self.crop_padding * size, sizes.max(axis=1))
        return np.where(is_person[:, None], centre, sizes[:, ::-1] / 2) - side[:, None] / 2, side

    def _crop(
        self, random: BatchRandom, corner: NDArray[np.float64], side: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the top left corner and the sides of each clip's crop, both [B, 2] as x and y in clip pixels."""
        square = np.stack([side, side], axis=1)
        if not self.train or self.whole_frame:
            return corner, square
        words = random.words(CROP_AND_FLIP, 4)
        area = between(words[:, 0], *self.crop_area)
        aspect = np.exp(between(words[:, 1], *np.log(self.crop_aspect)))
        shares = np.sqrt(np.stack([area * aspect, area / aspect], axis=1))
        sides = square * np.minimum(1.0, shares)
        return corner + uniform(words[:, 2:]).astype(np.float64) * (square - sides), sides


def _extent(
    points: NDArray[np.floating], present: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the centre [B, 2] and the larger side [B] of the box of each clip's points [B, M, T, V, 2]."""
    largest = np.finfo(np.float32).max
    joints = present[..., None]
    low = np.where(joints, points, largest).min(axis=(1, 2, 3)).astype(np.float64)
    high = np.where(joints, points, -largest).max(axis=(1, 2, 3)).astype(np.float64)
    return (low + high) / 2, (high - low).max(axis=1)


def _per_clip(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return [B, 2] as it stands beside points [B, M, T, V, 2]."""
    return values[:, None, None, None]
