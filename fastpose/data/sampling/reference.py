"""What ClipSampler draws, written plainly in NumPy: the definition that native code is tested against."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastpose.data.pack.presence import present_joints
from fastpose.data.sampling.batch import AlphaRange
from fastpose.data.sampling.noise import noise_coefficient
from fastpose.data.sampling.sampler import INPUT_DRAWS, ClipSampler

FRAMES, NOISE, CROP_AND_FLIP, ALPHA, INPUT = range(5)  # purposes


def philox4x32_10(counter: NDArray[np.uint32], key: tuple[int, int]) -> NDArray[np.uint32]:
    """Philox4x32-10 (Salmon et al., SC 2011): counter uint32 [..., 4] → uint32 [..., 4]."""
    low, high = np.uint64(0xFFFFFFFF), np.uint64(32)
    words = np.moveaxis(np.asarray(counter).astype(np.uint64), -1, 0)  # [4, ...]
    for step in range(10):
        key0 = np.uint64((key[0] + step * 0x9E3779B9) % 2**32)
        key1 = np.uint64((key[1] + step * 0xBB67AE85) % 2**32)
        product0 = np.uint64(0xD2511F53) * words[0]
        product1 = np.uint64(0xCD9E8D57) * words[2]
        words = np.stack([
            (product1 >> high) ^ words[1] ^ key0,
            product1 & low,
            (product0 >> high) ^ words[3] ^ key1,
            product0 & low,
        ])  # fmt: skip
    return np.moveaxis(words, 0, -1).astype(np.uint32)


class ClipRandom:
    """The random words of one clip in one epoch and stream."""

    def __init__(self, seed: int, name_hash: int, epoch: int, stream: int) -> None:
        self.key = (seed % 2**32, seed >> 32)
        self.counter = (name_hash % 2**32, name_hash >> 32, epoch)
        self.stream = stream

    def words(self, purpose: int, count: int) -> NDArray[np.uint32]:
        """The first ``count`` words of a purpose: word i is word i % 4 of block i // 4."""
        blocks = np.arange(-(-count // 4), dtype=np.uint32)
        counter = np.empty((len(blocks), 4), np.uint32)
        counter[:, :3] = self.counter
        counter[:, 3] = self.stream << 28 | purpose << 24 | blocks
        return philox4x32_10(counter, self.key).reshape(-1)[:count]


def below(word: np.uint32, n: int) -> int:
    """An integer of [0, n)."""
    return int(word) * n >> 32


def uniform(words: NDArray[np.uint32]) -> NDArray[np.float32]:
    """Multiples of 2**-24 in [0, 1)."""
    return (words >> 8).astype(np.float32) * np.float32(2**-24)


def normals(random: ClipRandom, count: int) -> NDArray[np.float32]:
    """Box-Muller: float32 [count, 2], the exact functions of the float32 uniforms, rounded once."""
    words = random.words(NOISE, 2 * count).reshape(count, 2)
    u1 = ((words[:, 0] >> 8) + 1) * 2.0**-24
    u2 = (words[:, 1] >> 8) * 2.0**-24
    radius = np.sqrt(-2 * np.log(u1))
    angle = 2 * np.pi * u2
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).astype(np.float32)


def choose_frames(random: ClipRandom, length: int, count: int, draw: bool) -> NDArray[np.int32]:
    """``count`` frames of a clip of ``length`` frames, by the rule "segments"."""
    words = random.words(FRAMES, count + 1)
    if length < count:
        start = below(words[0], length) if draw else 0
        return np.array([(start + i) % length for i in range(count)], np.int32)
    if not draw:
        return np.array([(2 * i + 1) * length // (2 * count) for i in range(count)], np.int32)
    if length < 2 * count:
        skips = np.zeros(count + 1, np.int32)
        left = length - count
        for gap in range(count + 1):
            if below(words[gap], count + 1 - gap) < left:
                skips[gap] = 1
                left -= 1
        return np.arange(count, dtype=np.int32) + np.cumsum(skips, dtype=np.int32)[:-1]
    edges = [i * length // count for i in range(count + 1)]
    return np.array([edges[i] + below(words[i], edges[i + 1] - edges[i]) for i in range(count)], np.int32)


def resample_frames(random: ClipRandom, length: int, count: int, draw: bool) -> NDArray[np.int32]:
    """``count`` frames of a clip of ``length`` frames, by the rule "resample"."""
    words = random.words(FRAMES, count)
    even = [i * length for i in range(count)]  # in units of 1 / count frames
    if draw and length >= count:
        even = [at + below(word, length) for at, word in zip(even, words, strict=True)]
    elif draw:  # rounded down, or up, by a coin
        even = [at + below(word, 2) * (count - 1) for at, word in zip(even, words, strict=True)]
    return np.sort([min(at // count, length - 1) for at in even]).astype(np.int32)


def crop_window(
    sampler: ClipSampler, random: ClipRandom, joints: NDArray[np.float32], image_size: tuple[int, int]
) -> tuple[float, float, float, float]:
    """(x0, y0, width, height) in clip pixels for the present, noised joints [n, 2]."""
    height, width = image_size
    side, centre = float(max(height, width)), np.array([width, height]) / 2
    if sampler.settings.crop == "frame":
        return 0.0, 0.0, side, side
    if len(joints):
        low, high = joints.min(axis=0).astype(np.float64), joints.max(axis=0).astype(np.float64)
        if (high - low).max() >= sampler.settings.min_box:
            side, centre = sampler.settings.crop_padding * (high - low).max(), (low + high) / 2
    x0, y0 = centre - side / 2
    if not sampler.train:
        return x0, y0, side, side
    u = uniform(random.words(CROP_AND_FLIP, 4)).astype(np.float64)
    area = sampler.settings.crop_area[0] + u[0] * (
        sampler.settings.crop_area[1] - sampler.settings.crop_area[0]
    )
    log_low, log_high = np.log(sampler.settings.crop_aspect)
    aspect = np.exp(log_low + u[1] * (log_high - log_low))
    crop_width = side * min(1.0, np.sqrt(area * aspect))
    crop_height = side * min(1.0, np.sqrt(area / aspect))
    return x0 + u[2] * (side - crop_width), y0 + u[3] * (side - crop_height), crop_width, crop_height


def sample_clip(
    sampler: ClipSampler,
    clip: int,
    epoch: int,
    stream: int,
    alpha: float | AlphaRange,
    draw_frames: bool,
    flip: bool | None,
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Keypoints float32 [M, T, V, 3] and frames int32 [T] of one clip; ``flip`` None means drawn."""
    packed, count = sampler.packed, sampler.settings.clip_len
    persons, length = int(packed.num_persons[clip]), int(packed.num_frames[clip])
    height, width = (int(side) for side in packed.image_sizes[clip])
    rows = slice(packed.offsets[clip], packed.offsets[clip + 1])
    num_joints = packed.keypoints.shape[1]
    random = ClipRandom(sampler.seed, int(packed.name_hashes[clip]), epoch, stream)

    choose = choose_frames if sampler.settings.frame_rule == "segments" else resample_frames
    frames = choose(random, length, count, draw_frames)
    persons_kept = min(persons, sampler.settings.max_persons)
    points = packed.keypoints[rows].reshape(persons, length, num_joints, 2)[
        :persons_kept, frames
    ]  # [M, T, V, 2]
    scores = packed.scores[rows].reshape(persons, length, num_joints)[:persons_kept, frames]  # [M, T, V]
    present = present_joints(points, scores)
    points = np.where(present[..., None], points, np.float32(0))
    scores = np.where(present, scores, np.float32(0))

    if isinstance(alpha, AlphaRange):
        alpha = alpha.low + float(uniform(random.words(ALPHA, 1))[0]) * (alpha.high - alpha.low)
    strength = alpha * noise_coefficient(float(packed.total_difference[clip]), (height, width))
    deviation = np.array([strength * width, strength * height]).astype(np.float32)
    points = points + deviation * normals(random, scores.size).reshape(points.shape)

    x0, y0, crop_width, crop_height = crop_window(sampler, random, points[present], (height, width))
    scale = np.array([sampler.settings.size[1] / crop_width, sampler.settings.size[0] / crop_height]).astype(
        np.float32
    )
    points = (points - np.array([x0, y0]).astype(np.float32)) * scale
    if flip is None:
        flip = bool(uniform(random.words(CROP_AND_FLIP, 5))[4] < sampler.settings.flip_probability)
    sample = np.concatenate([points, scores[..., None]], axis=-1)
    if flip:
        sample[..., 0] = np.float32(sampler.settings.size[1] - 1) - sample[..., 0]
        order = packed.layout.flip_index()
        sample, present = sample[..., order, :], present[..., order]
    out = np.zeros((sampler.settings.max_persons, count, num_joints, 3), np.float32)
    out[:persons_kept] = np.where(present[..., None], sample, np.float32(0))
    return out, frames


def input_draws(sampler: ClipSampler, indices: ArrayLike, epoch: int, stream: int) -> NDArray[np.float32]:
    """The ``draws`` [B, INPUT_DRAWS] of a training batch."""
    hashes = [int(sampler.packed.name_hashes[clip]) for clip in np.asarray(indices, np.int64)]
    randoms = [ClipRandom(sampler.seed, name_hash, epoch, stream) for name_hash in hashes]
    return np.stack([uniform(random.words(INPUT, INPUT_DRAWS)) for random in randoms])


def sample_batch(
    sampler: ClipSampler,
    indices: ArrayLike,
    epoch: int = 0,
    stream: int = 0,
    alpha: float | AlphaRange | ArrayLike = 0.0,
    *,
    draw_frames: bool | None = None,
    flip: bool | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Keypoints [B, M, T, V, 3] and frames [B, T] of ``sampler.batch`` with the same arguments."""
    indices = np.asarray(indices, np.int64)
    alphas = [alpha] * len(indices) if isinstance(alpha, AlphaRange) else np.broadcast_to(alpha, len(indices))
    draw_frames = sampler.train if draw_frames is None else draw_frames
    if flip is None and not sampler.train:
        flip = False
    clips = [
        sample_clip(sampler, int(clip), epoch, stream, strength, draw_frames, flip)
        for clip, strength in zip(indices, alphas, strict=True)
    ]
    return np.stack([keypoints for keypoints, _ in clips]), np.stack([frames for _, frames in clips])
