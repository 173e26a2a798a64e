"""How clips are sampled: the one list of these settings, for the host, the device and the native code."""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_type_hints

from fastpose.settings.checks import check, check_words, is_range, is_whole

MAX_SAMPLE_JOINTS = 2**25  # persons · frames · joints of one sample, whose numbers have indices of 32 bits
MAX_INPUT_SIDE = 2**16
MAX_BOX = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingConfig:
    """Frames, crop, flip and persons of a sample.

    Raises:
        ValueError: a setting is out of range.
    """

    clip_len: int = 24
    """Frames sampled from each clip."""
    size: tuple[int, int] = (56, 56)
    """Input height and width in pixels."""
    frame_rule: Literal["segments", "resample", "means"] = "segments"
    """segments: the rule of PYSKL and MMAction2; resample: MotionBERT's, which repeats frames of short clips; means:
    each frame is the mean of a segment, so that no frame of the clip is left out."""
    window: float = 1.0
    """Rule means: a training view shows a random stretch of the clip, of this share of it or more."""
    crop: Literal["box", "frame", "spread"] = "box"
    """box: a square around the joints, in training a random part of it; frame: the whole frame; spread: as box, sized
    by how far the joints are spread, less the noise that the clip itself tells of."""
    motion_filter: Literal["off", "white", "colours"] = "off"
    """Filter each person by what clean training clips say of body motion, and fill in missing joints; white: noise is
    taken for independent from frame to frame; colours: drift is told from it."""
    evidence: bool = False
    """Skeleton input: also give how much of each joint was seen, and how strong the clip's noise is."""
    max_persons: int | None = None
    """Most persons of each clip, taken in order; by default as many as any clip of the data has."""
    crop_padding: float = 1.25
    """Side of the square crop over the larger side of the box of joints."""
    min_box: float = 10.0
    """Larger side in pixels below which the box of joints gives way to the whole frame."""
    crop_area: tuple[float, float] = (0.56, 1.0)
    """Range of the area of the random resized crop."""
    crop_aspect: tuple[float, float] = (0.75, 4 / 3)
    """Range of its aspect ratio, drawn log-uniformly."""
    flip_probability: float = 0.5
    """Probability of a left/right flip in training."""

    def __post_init__(self) -> None:
        most = MAX_SAMPLE_JOINTS
        check(self, f"an integer from 1 to {most}", lambda n: is_whole(n, 1, most), "clip_len")
        check(self, f"an integer from 1 to {most}, or none for all",
              lambda n: n is None or is_whole(n, 1, most), "max_persons")  # fmt: skip
        check(self, f"a height and a width from 1 to {MAX_INPUT_SIDE} pixels", _is_size, "size")
        check_words(self)
        check(self, "a share from 0.01 to 1", lambda x: _is_number(x, 0.01, 1), "window")
        check(self, "a number from 1 to 100", lambda x: _is_number(x, 1, 100), "crop_padding")
        check(self, f"a number from 1 to {MAX_BOX:g}", lambda x: _is_number(x, 1, MAX_BOX), "min_box")
        check(self, "0.001 ≤ low ≤ high ≤ 1", lambda r: is_range(r, 1e-3, 1), "crop_area")
        check(self, "0.01 ≤ low ≤ high ≤ 100", lambda r: is_range(r, 1e-2, 1e2), "crop_aspect")
        check(self, "a number from 0 to 1", lambda p: _is_number(p, 0, 1), "flip_probability")

    @property
    def has_front_end(self) -> bool:
        """Whether samples are made of all frames of a clip, by the noise that they tell of."""
        return (
            self.frame_rule == "means"
            or self.crop == "spread"
            or self.motion_filter != "off"
            or self.evidence
        )

    def numbers(self) -> dict[str, list[float]]:
        """Return each setting as one number or more, for native code.

        A word is its place among those allowed, and none is 0.
        """
        hints = get_type_hints(type(self))
        found: dict[str, list[float]] = {}
        for field in dataclasses.fields(self):
            value, words = getattr(self, field.name), get_args(hints[field.name])
            value = words.index(value) if isinstance(value, str) else value or 0
            found[field.name] = [
                float(each) for each in (value if isinstance(value, tuple | list) else [value])
            ]
        return found


def _is_size(size: tuple[int, int]) -> bool:
    height, width = size
    return is_whole(height, 1, MAX_INPUT_SIDE) and is_whole(width, 1, MAX_INPUT_SIDE)


def _is_number(value: Any, low: float, high: float) -> bool:
    return is_range((value, value), low, high)
