"""Sampling written plainly in NumPy: the definition that native code and kernels are tested against.

It also serves where the compiled extension is missing. Arrays hold a batch: B clips, M persons, T frames, V joints.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from fastpose.data.pack.presence import present_joints
from fastpose.data.sampling.noise import noise_coefficients

FRAMES, NOISE, CROP_AND_FLIP, ALPHA, INPUT = range(5)  # purposes
ELEMENTS_AT_ONCE = 2**18  # joints of persons in frames, so that a large batch needs little memory


def philox4x32_10(counter: NDArray[np.uint32], key: tuple[int, int]) -> NDArray[np.uint32]:
    """Return Philox4x32-10 (Salmon et al., SC 2011): counter uint32 [..., 4] → uint32 [..., 4]."""
    low, high = np.uint64(0xFFFFFFFF), np.uint64(32)
    c0, c1, c2, c3 = np.moveaxis(np.asarray(counter).astype(np.uint64), -1, 0)
    for step in range(10):
        key0 = np.uint64((key[0] + step * 0x9E3779B9) % 2**32)
        key1 = np.uint64((key[1] + step * 0xBB67AE85) % 2**32)
        product0 = np.uint64(0xD2511F53) * c0
        product1 = np.uint64(0xCD9E8D57) * c2
        c0, c1 = (product1 >> high) ^ c1 ^ key0, product1 & low
        c2, c3 = (product0 >> high) ^ c3 ^ key1, product0 & low
    return np.stack([c0, c1, c2, c3], axis=-1).astype(np.uint32)


class BatchRandom:
    """The random words of clips, by the hashes of their names [B], in one epoch and stream."""

    def __init__(self, seed: int, name_hashes: NDArray[np.uint64], epoch: int, stream: int) -> None:
        self.key = (seed % 2**32, seed >> 32)
        self.hashes = name_hashes
        self.epoch = epoch
        self.stream = stream

    def words(
        self, purpose: int, count: int, frames: NDArray[np.integer] | None = None
    ) -> NDArray[np.uint32]:
        """Return the first ``count`` words of a purpose [B, count]: word i is word i % 4 of block i // 4.

        With ``frames`` [B, T], places in the videos: those of each frame [B, T, count], by the clip's hash plus it.
        """
        hashes = self.hashes if frames is None else self.hashes[:, None] + frames.astype(np.uint64)
        blocks = np.arange(-(-count // 4), dtype=np.uint32)
        counter = np.empty((*hashes.shape, len(blocks), 4), np.uint32)
        counter[..., 0] = (hashes & np.uint64(2**32 - 1))[..., None]
        counter[..., 1] = (hashes >> np.uint64(32))[..., None]
        counter[..., 2] = self.epoch
        counter[..., 3] = self.stream << 28 | purpose << 24 | blocks
        return philox4x32_10(counter, self.key).reshape(*hashes.shape, 4 * len(blocks))[..., :count]


def below(words: NDArray[np.uint32], n: NDArray[np.int64] | int) -> NDArray[np.int64]:
    """Return integers of [0, n), n < 2**31."""
    return words.astype(np.int64) * n >> 32


def uniform(words: NDArray[np.uint32]) -> NDArray[np.float32]:
    """Return multiples of 2**-24 in [0, 1)."""
    return (words >> 8).astype(np.float32) * np.float32(2**-24)


def between(
    words: NDArray[np.uint32], low: NDArray[np.float64] | float, high: NDArray[np.float64] | float
) -> NDArray[np.float64]:
    """Return numbers of [low, high)."""
    return low + uniform(words).astype(np.float64) * (high - low)


def normals(
    random: BatchRandom, frames: NDArray[np.integer], persons: int, joints: int
) -> NDArray[np.float32]:
    """Return float32 [B, M, T, V, 2] for ``frames`` [B, T] by Box-Muller: the exact functions, rounded once."""
    words = random.words(NOISE, 2 * persons * joints, frames)
    words = words.reshape(*frames.shape, persons, joints, 2).swapaxes(1, 2)
    u1 = ((words[..., 0] >> 8) + 1) * 2.0**-24
    u2 = (words[..., 1] >> 8) * 2.0**-24
    radius = np.sqrt(-2 * np.log(u1))
    angle = 2 * np.pi * u2
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1).astype(np.float32)


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


FRAME_RULES = (choose_frames, resample_frames)  # these two in the order of the settings' words
CROP_BOX, CROP_FRAME = range(2)


class ReferenceSampler:
    """What the extension's ``PackedSampler`` does, with the same arguments.

    Args:
        keypoints, …, total_differences: the arrays of a pack, as ``PackedClips`` has them.
        flipped_joint: int64 [V], the joint that each becomes in a mirror.
        seed, train: as of ``ClipSampler``.
        settings: ``SamplingConfig.numbers()``.
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
        *,
        seed: int,
        train: bool,
        settings: Mapping[str, Sequence[float]],
    ) -> None:
        self.keypoints, self.scores, self.offsets = keypoints, scores, offsets
        self.num_persons, self.num_frames = num_persons, num_frames
        self.image_sizes, self.name_hashes = image_sizes, name_hashes
        self.total_differences, self.flipped_joint = total_differences, flipped_joint
        self.seed, self.train = seed, train
        self.height, self.width = settings["size"]
        first = {name: numbers[0] for name, numbers in settings.items()}
        self.choose_frames = FRAME_RULES[int(first["frame_rule"])]
        self.whole_frame = first["crop"] == CROP_FRAME
        self.crop_padding, self.min_box = first["crop_padding"], first["min_box"]
        self.crop_area, self.crop_aspect = settings["crop_area"], settings["crop_aspect"]
        self.flip_probability = first["flip_probability"]

    def sample(
        self,
        indices: NDArray[np.int64],  # [B]
        alpha_low: NDArray[np.float64],  # [B]
        alpha_high: NDArray[np.float64],  # [B]
        *,
        epoch: int,
        stream: int,
        draw_frames: bool,
        flip: bool | None,
        threads: int,
        keypoints: NDArray[np.float32],
        frames: NDArray[np.int32],
        draws: NDArray[np.float32] | None,
    ) -> None:
        """Write keypoints [B, M, T, V, 3], frames [B, T] and, unless None, draws [B, …] of the clips ``indices``.

        Each clip's noise strength is drawn from [alpha_low, alpha_high]; ``flip`` None means drawn; ``threads`` is
        left unused.
        """
        step = max(1, ELEMENTS_AT_ONCE // keypoints[0, ..., 0].size) if len(indices) else 1
        for begin in range(0, len(indices), step):
            span = slice(begin, begin + step)
            clips = indices[span]
            random = BatchRandom(self.seed, self.name_hashes[clips], epoch, stream)
            # Outside training a video has one noise, whichever of its samples is drawn.
            noise = random if self.train else BatchRandom(self.seed, self.name_hashes[clips], 0, stream)
            lengths = self.num_frames[clips].astype(np.int64)
            frames[span] = self.choose_frames(random, lengths, frames.shape[1], draw_frames)
            alpha = between(noise.words(ALPHA, 1)[:, 0], alpha_low[span], alpha_high[span])
            keypoints[span] = self._sample_keypoints(
                clips, random, noise, frames[span], keypoints.shape[1], alpha, flip
            )
            if draws is not None:
                draws[span] = uniform(random.words(INPUT, draws.shape[1]))

    def _sample_keypoints(
        self,
        clips: NDArray[np.int64],
        random: BatchRandom,
        noise: BatchRandom,
        frames: NDArray[np.int32],
        max_persons: int,
        alpha: NDArray[np.float64],
        flip: bool | None,
    ) -> NDArray[np.float32]:
        points, scores, present = self._gather(clips, frames, max_persons)
        sizes = self.image_sizes[clips].astype(np.float64)  # [B, 2], (h, w)
        strength = alpha * noise_coefficients(self.total_differences[clips], sizes)
        if (strength > 0).any():
            deviation = (strength[:, None] * sizes[:, ::-1]).astype(np.float32)  # [B, 2], x and y
            points = points + _per_clip(deviation) * normals(noise, frames, max_persons, points.shape[3])

        corner, sides = self._crop(random, points, present, sizes)
        scale = (np.array([self.width, self.height]) / sides).astype(np.float32)
        points = (points - _per_clip(corner.astype(np.float32))) * _per_clip(scale)
        sample = np.concatenate([points, scores[..., None]], axis=-1)
        if flip is None:
            drawn = uniform(random.words(CROP_AND_FLIP, 5)[:, 4])
            flips = drawn.astype(np.float64) < self.flip_probability
        else:
            flips = np.full(len(clips), flip)
        mirrored = sample[flips]
        mirrored[..., 0] = np.float32(self.width - 1) - mirrored[..., 0]
        sample[flips] = mirrored[..., self.flipped_joint, :]
        present[flips] = present[flips][..., self.flipped_joint]
        return np.where(present[..., None], sample, np.float32(0))

    def _gather(
        self, clips: NDArray[np.int64], frames: NDArray[np.int32], max_persons: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
        """Return points [B, M, T, V, 2], scores [B, M, T, V] and which joints are present, missing ones as zeros."""
        person = np.arange(max_persons)
        exists = person < self.num_persons[clips][:, None]  # [B, M]
        first = self.offsets[clips][:, None] + person * self.num_frames[clips][:, None].astype(np.int64)
        rows = np.where(exists, first, 0)[..., None] + frames[:, None]  # [B, M, T]
        points, scores = self.keypoints[rows], self.scores[rows]
        present = present_joints(points, scores) & exists[..., None, None]
        return (
            np.where(present[..., None], points, np.float32(0)),
            np.where(present, scores, np.float32(0)),
            present,
        )

    def _crop(
        self,
        random: BatchRandom,
        points: NDArray[np.floating],
        present: NDArray[np.bool_],
        sizes: NDArray[np.float64],
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the top left corner and the sides of each clip's crop, both [B, 2] as x and y in clip pixels."""
        side, centre = sizes.max(axis=1), sizes[:, ::-1] / 2
        if self.whole_frame:
            return np.zeros_like(sizes), np.stack([side, side], axis=1)
        largest = np.finfo(np.float32).max
        joints = present[..., None]
        low = np.where(joints, points, largest).min(axis=(1, 2, 3)).astype(np.float64)
        high = np.where(joints, points, -largest).max(axis=(1, 2, 3)).astype(np.float64)
        box = (high - low).max(axis=1)
        is_person = box >= self.min_box
        side = np.where(is_person, self.crop_padding * box, side)
        centre = np.where(is_person[:, None], (low + high) / 2, centre)
        square, corner = np.stack([side, side], axis=1), centre - side[:, None] / 2
        if not self.train:
            return corner, square
        words = random.words(CROP_AND_FLIP, 4)
        area = between(words[:, 0], *self.crop_area)
        aspect = np.exp(between(words[:, 1], *np.log(self.crop_aspect)))
        shares = np.sqrt(np.stack([area * aspect, area / aspect], axis=1))
        sides = square * np.minimum(1.0, shares)
        return corner + uniform(words[:, 2:]).astype(np.float64) * (square - sides), sides


def _per_clip(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return [B, 2] as it stands beside points [B, M, T, V, 2]."""
    return values[:, None, None, None]
