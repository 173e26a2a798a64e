"""Models by name."""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from fastpose.models.motionbert import MOTIONBERT_LITE, MotionBERT
from fastpose.models.posec3d import PoseConv3D

MODELS: dict[str, Callable[..., nn.Module]] = {
    "posec3d": PoseConv3D,
    "motionbert": MotionBERT,
    "motionbert_lite": partial(MotionBERT, **MOTIONBERT_LITE),
}


def create_model(name: str, **options: Any) -> nn.Module:
    """Build the model ``name`` (a key of ``MODELS``) with the arguments of its class.

    Raises:
        ValueError: no such model, or an argument it does not take or cannot use.
    """
    if name not in MODELS:
        raise ValueError(f"unknown model {name!r}; there are: {', '.join(sorted(MODELS))}")
    try:
        return MODELS[name](**options)
    except TypeError as error:
        raise ValueError(f"model {name!r}: {error}") from error
