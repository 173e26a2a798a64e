"""Named front ends: sets of the sampling settings that look through noise, each of which can be set by itself too."""

from dataclasses import replace
from typing import Any

from fastpose.settings.checks import require
from fastpose.settings.sampling import SamplingConfig

MEANS: dict[str, Any] = {"frame_rule": "means"}
FILTER = {**MEANS, "motion_filter": "colours"}
FULL = {**FILTER, "crop": "spread", "evidence": True}
WINDOWS = {"window": 0.6}
FRONT_ENDS: dict[str, dict[str, Any]] = {
    "off": {},
    "means": MEANS,
    "filter": FILTER,
    "filter-windows": {**FILTER, **WINDOWS},
    "full": FULL,
    "full-windows": {**FULL, **WINDOWS},
}
AUTO = "auto"
_PLAIN = SamplingConfig()


def with_front_end(sampling: SamplingConfig, name: str) -> SamplingConfig:
    """Return ``sampling`` with the front end ``name`` of ``FRONT_ENDS`` in place of its own.

    A crop of the whole frame, as published weights of MotionBERT expect it, stays.

    Raises:
        ValueError: there is no such front end.
    """
    require(
        name in FRONT_ENDS,
        f"front_end = {name!r}: expected one of {', '.join(FRONT_ENDS)}, or {AUTO} to choose by held-out clips",
    )
    names = {field for parts in FRONT_ENDS.values() for field in parts}
    parts = {field: getattr(_PLAIN, field) for field in names} | FRONT_ENDS[name]
    if sampling.crop == "frame":
        del parts["crop"]
    if sampling.frame_rule == "resample" and "frame_rule" not in FRONT_ENDS[name]:
        del parts["frame_rule"]
    return replace(sampling, **parts)
