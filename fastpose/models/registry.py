"""Models by name: those of fastpose, and networks of a user's own."""

import importlib
import inspect
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from typing import Any, cast

from torch import nn

from fastpose.models.c3d import C3DLight
from fastpose.models.dct_mlp import DctMLP
from fastpose.models.inputs.protocol import PoseModule
from fastpose.models.motionbert import MOTIONBERT_LITE, MotionBERT
from fastpose.models.posec3d import PoseConv3D, PoseConv3DKinetics
from fastpose.models.x3d import X3DShallow

MODELS: dict[str, Callable[..., PoseModule]] = {
    "posec3d": PoseConv3D,
    "posec3d_k400": PoseConv3DKinetics,
    "c3d_light": C3DLight,
    "x3d_shallow": X3DShallow,
    "dct_mlp": DctMLP,
    "motionbert": MotionBERT,
    "motionbert_lite": partial(MotionBERT, **MOTIONBERT_LITE),
}


def register_model(name: str, factory: Callable[..., nn.Module]) -> None:
    """Let ``name`` stand for a network of your own, wherever a model is named.

    Args:
        factory: makes the network, a ``fastpose.models.PoseModel``, from keyword arguments. Of num_classes,
            num_keypoints, max_persons, layout (``fastpose.data.Layout``), size (height, width), dropout and the
            settings of ``fastpose.settings.ModelConfig`` it is given those that it takes.

    Raises:
        ValueError: another network has that name.
    """
    if MODELS.setdefault(name, cast(Callable[..., PoseModule], factory)) is not factory:
        raise ValueError(f"model {name!r} is there already; choose another name")


def import_model(name: str) -> None:
    """Import the class or function "package.module:Class", and register it under that name.

    Other names are left alone. Importing runs the module's code: never do so because a file says it.

    Raises:
        ValueError: there is no such module, or no such class in it.
    """
    if ":" not in name or name in MODELS:
        return
    module, _, attribute = name.partition(":")
    try:
        factory = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"model {name!r}: expected package.module:Class ({error})") from error
    register_model(name, factory)


def create_model(name: str, **options: Any) -> PoseModule:
    """Build the model ``name`` with the arguments of its class.

    Args:
        name: a key of ``MODELS``; in any case, with hyphens or underscores: "X3D-shallow" is "x3d_shallow".
        options: see the class, for example ``PoseNetwork`` or ``MotionBERT``.

    Raises:
        ValueError: no such model, or an argument it does not take or cannot use.
    """
    key = _key(name)
    try:
        return MODELS[key](**options)
    except TypeError as error:
        raise ValueError(f"model {key!r}: {error}") from error


def accepted_options(name: str) -> Callable[[str], bool]:
    """Return whether the model ``name`` takes an option, as a function of the option's name.

    A class with an ``input_type`` takes the fields of that too; a factory with ``**options`` of its own takes all.

    Raises:
        ValueError: no such model.
    """
    factory = MODELS[_key(name)]
    parameters = inspect.signature(factory).parameters
    known = {key for key, parameter in parameters.items() if parameter.kind is not parameter.VAR_KEYWORD}
    kind = getattr(getattr(factory, "func", factory), "input_type", None)  # of a partial, its class
    if kind is not None:
        known |= {field.name for field in fields(kind)}
    elif len(known) < len(parameters):
        return lambda option: True
    return known.__contains__


def _key(name: str) -> str:
    name = str(name)
    key = name if name in MODELS else name.lower().replace("-", "_")
    if key in MODELS:
        return key
    if ":" in name:
        raise ValueError(f"model {name!r} is code outside fastpose; name it by --model, or call import_model")
    raise ValueError(
        f"unknown model {name!r}; there are: {', '.join(MODELS)}, or your own as package.module:Class"
    )
