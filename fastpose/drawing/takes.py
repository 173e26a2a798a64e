"""What is drawn of a clip: the clip as it is and with noise, all its frames or those that a model is given."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fastpose.data.pack.layouts import Layout
from fastpose.data.pack.packed import PackedClips
from fastpose.data.sampling.sampler import ClipSampler
from fastpose.drawing.style import printable
from fastpose.settings import SamplingConfig
from fastpose.settings.families import check_families
from fastpose.settings.sampling import MAX_INPUT_SIDE

SEPARATOR = "  ·  "  # of details on one line
EVALUATION = 3  # the stream whose noise is that of evaluation


@dataclass(frozen=True, slots=True, eq=False)
class Take:
    """F frames of a clip.

    Attributes:
        title: what was done to them.
        keypoints: float32 [M, F, V, 2], pixels of the picture.
        scores: float32 [M, F, V]; 0 where a joint is missing.
        frames: int64 [F], their numbers in the clip.
        left_out: bool [F], frames that the noise took away.
        sampled: int64 [n], the positions among F of the frames that a model is given, in its order.
    """

    title: str
    keypoints: NDArray[np.float32]
    scores: NDArray[np.float32]
    frames: NDArray[np.int64]
    left_out: NDArray[np.bool_]
    sampled: NDArray[np.int64]

    @property
    def given(self) -> NDArray[np.int64]:
        """The frames that a model is given [n], by their numbers in the clip."""
        return self.frames[self.sampled]


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A clip to be drawn.

    Attributes:
        name: of the clip, on one line.
        details: what else is known of it, on one line each.
        layout: what the V joints are.
        size: (h, w) of the picture in pixels: of the video, or of a model's input.
        num_frames: of the clip.
        takes: the clip as it is, and perhaps with noise, of equally many frames.
        is_input: whether they are what a model is given: the sampled frames alone, cropped.
        heatmaps: whether to draw those below the skeletons.
    """

    name: str
    details: tuple[str, ...]
    layout: Layout
    size: tuple[int, int]
    num_frames: int
    takes: tuple[Take, ...]
    is_input: bool = False
    heatmaps: bool = False

    @property
    def length(self) -> int:
        """F, of each take."""
        return len(self.takes[0].frames)

    @property
    def summary(self) -> str:
        """The details on one line."""
        return SEPARATOR.join(self.details)


@dataclass(frozen=True, slots=True)
class _Noise:
    alpha: float
    family: str
    seed: int


def make_scene(
    packed: PackedClips,
    *,
    noise: float | None = None,
    family: str = "gaussian",
    seed: int = 0,
    clip_len: int = 24,
    input_size: tuple[int, int] | None = None,
    heatmaps: bool = False,
) -> Scene:
    """Sample the only clip of ``packed`` by fastpose's own rules, as in evaluation.

    Args:
        packed: one clip.
        noise: strength α of the second take; None for the clip alone.
        family: of the noise.
        seed: of the noise.
        clip_len: frames that a model is given.
        input_size: (h, w) of a model's input, to draw that; None to draw all frames in pixels of the video.
        heatmaps: to draw below the skeletons; of an input only.

    Raises:
        ValueError: a value is out of range, or there is no such family.
    """
    check_families((family,))
    clip = packed.clip(0)
    noises = {"clean": _Noise(0.0, family, seed)}
    if noise is not None:
        noises[f"{family} noise, α = {noise:g}"] = _Noise(noise, family, seed)
    height, width = clip.image_size
    persons, num_frames = clip.keypoints.shape[:2]
    details = [
        f"{persons} person{'s' * (persons != 1)}, {num_frames} frames of {width} × {height} pixels",
        f"joints: {packed.layout.name}",
    ]
    if packed.num_classes > 1:
        details.append(f"class: {packed.class_names[clip.label]}")
    if input_size is not None:
        details.append("cropped as a model is given it")
    return Scene(
        name=printable(clip.name),
        details=tuple(map(printable, details)),
        layout=packed.layout,
        size=clip.image_size if input_size is None else input_size,
        num_frames=num_frames,
        takes=tuple(
            _take_all(packed, title, noise, clip_len)
            if input_size is None
            else _take_input(packed, title, noise, clip_len, input_size)
            for title, noise in noises.items()
        ),
        is_input=input_size is not None,
        heatmaps=heatmaps,
    )


def _take_all(packed: PackedClips, title: str, noise: _Noise, clip_len: int) -> Take:
    """Return all frames of the only clip, in pixels of its video."""
    longer = max(packed.image_sizes[0].tolist())
    side = min(longer, MAX_INPUT_SIDE)
    settings = SamplingConfig(clip_len=clip_len, crop="frame", size=(side, side))
    _, given = _sample(packed, settings, noise)
    total = int(packed.num_frames[0])
    seen, places = _sample(packed, replace(settings, clip_len=total), noise)
    joints = np.zeros_like(seen)
    joints[:, places] = seen  # of a clip that noise made shorter, frames repeat
    left_out = np.ones(total, bool)
    left_out[places] = False
    pixels = joints[..., :2] * np.float32(longer / side)
    return Take(title, pixels, joints[..., 2], np.arange(total), left_out, given)


def _take_input(packed: PackedClips, title: str, noise: _Noise, clip_len: int, size: tuple[int, int]) -> Take:
    """Return what a model is given of the only clip."""
    joints, frames = _sample(packed, SamplingConfig(clip_len=clip_len, size=size), noise)
    nothing = np.zeros(clip_len, bool)
    return Take(title, joints[..., :2], joints[..., 2], frames, nothing, np.arange(clip_len))


def _sample(
    packed: PackedClips, settings: SamplingConfig, noise: _Noise
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return joints [M, T, V, 3] of the only clip, and the places of these frames in it [T]."""
    sampler = ClipSampler(packed, settings, train=False, seed=noise.seed)
    batch = sampler.batch([0], stream=EVALUATION, alpha=noise.alpha, families=(noise.family,))
    return batch.keypoints[0].numpy(), batch.frames[0].numpy().astype(np.int64)
