"""Models by name."""

from collections.abc import Callable
from dataclasses import fields
from functools import partial
from typing import Any

from torch import nn

from fastpose.models.c3d import C3DLight
from fastpose.models.motionbert import MOTIONBERT_LITE, MotionBERT
from fastpose.models.posec3d import PoseConv3D, PoseConv3DKinetics
from fastpose.models.x3d import X3DShallow

MODELS: dict[str, Callable[..., nn.Module]] = {
    "posec3d": PoseConv3D,
    "posec3d_k400": PoseConv3DKinetics,
    "c3d_light": C3DLight,
    "x3d_shallow": X3DShallow,
    "motionbert": MotionBERT,
    "motionbert_lite": partial(MotionBERT, **MOTIONBERT_LITE),
}


def create_model(name: str, **options: Any) -> nn.Module:
    """Build the model ``name`` with the arguments of its class.

    Args:
        name: a key of ``MODELS``, in any case, with hyphens or underscores: "X3D-shallow" is "x3d_shallow".
        options: see the class, for example ``PoseNetwork`` or ``MotionBERT``.

    Raises:
        ValueError: no such model, or an argument it does not take or cannot use.
    """
    key = _key(name)
    try:
        return MODELS[key](**options)
    except TypeError as error:
        raise ValueError(f"model {key!r}: {error}") from error


def input_settings(name: str) -> frozenset[str]:
    """What can be set of the input of the model ``name``: the fields of its ``PoseInput`` or ``JointInput``.

    Raises:
        ValueError: no such model.
    """
    model = MODELS[_key(name)]
    kind = getattr(model, "func", model).input_type  # of a partial, its class
    return frozenset(field.name for field in fields(kind))


def _key(name: str) -> str:
    key = str(name).lower().replace("-", "_")
    if key not in MODELS:
        raise ValueError(f"unknown model {name!r}; there are: {', '.join(MODELS)}")
    return key
