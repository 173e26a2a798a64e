"""Checks of the arguments that operators on drawn joints and limbs share; errors begin with the operator's name."""

import math
import warnings
from collections.abc import Sequence
from numbers import Integral, Real
from typing import cast

import torch
from torch import Tensor

from fastpose.ops.heatmap.modes import JOINT_MERGES, MODES, HeatmapMode

DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
SIGMA_RANGE = (1e-6, 1e6)
MAX_SIDE = 2**24  # float32 holds every pixel index
CALLER = 3  # stack frames from a warning to the caller of the public function


def check_keypoints(op: str, keypoints: Tensor) -> None:
    if not isinstance(keypoints, Tensor):
        raise ValueError(f"{op}: keypoints must be a torch.Tensor, got {type(keypoints).__name__}")
    if keypoints.ndim != 5 or keypoints.shape[-1] != 3:
        raise ValueError(
            f"{op}: keypoints must be [clips, persons, frames, joints, 3 (x, y, score)], "
            f"got {tuple(keypoints.shape)}"
        )
    if not keypoints.is_floating_point():
        raise ValueError(f"{op}: keypoints must be floating, got {keypoints.dtype = }")


def checked_size(op: str, size: tuple[int, int]) -> tuple[int, int]:
    if not isinstance(size, Sequence) or len(size) != 2:
        raise ValueError(f"{op}: size must be (height, width), got {size!r}")
    for side in size:
        whole = isinstance(side, (Integral, torch.SymInt)) and not isinstance(side, bool)
        if not whole or not 1 <= side <= MAX_SIDE:
            raise ValueError(f"{op}: size must be two integers from 1 to {MAX_SIDE}, got {size!r}")
    sides = tuple(side if isinstance(side, torch.SymInt) else int(side) for side in size)
    return cast("tuple[int, int]", sides)  # a SymInt stands for an int


def checked_sigma(op: str, sigma: float) -> float:
    low, high = SIGMA_RANGE
    if isinstance(sigma, bool) or not isinstance(sigma, Real) or not low <= sigma <= high:
        raise ValueError(f"{op}: sigma must be a number of pixels from {low:g} to {high:g}, got {sigma!r}")
    return float(sigma)


def checked_mode(op: str, mode: str, joint_merge: str | None) -> HeatmapMode:
    """Return the mode, with its merge of joints where it is "grayscale"."""
    if mode not in MODES:
        raise ValueError(f"{op}: mode must be one of {', '.join(MODES)}, got {mode!r}")
    if joint_merge is not None and joint_merge not in JOINT_MERGES:
        raise ValueError(f"{op}: joint_merge must be one of {', '.join(JOINT_MERGES)}, got {joint_merge!r}")
    if mode == "grayscale":
        return cast(HeatmapMode, f"grayscale_{joint_merge or 'sum'}")
    if joint_merge is not None:
        warnings.warn(f"{op}: joint_merge has no effect with {mode = }", stacklevel=CALLER)
    return cast(HeatmapMode, mode)


def check_dtype(op: str, dtype: torch.dtype) -> None:
    if dtype not in DTYPES:
        raise ValueError(f"{op}: dtype must be one of {', '.join(map(str, DTYPES))}, got {dtype!r}")


def checked_limbs(
    op: str, limbs: Sequence[tuple[int, int]] | None, mode: str, num_joints: int
) -> list[tuple[int, int]]:
    if mode != "limb":
        if limbs is not None:
            warnings.warn(f"{op}: limbs has no effect with {mode = }", stacklevel=CALLER)
        return []
    if limbs is None:
        raise ValueError(f"{op}: mode='limb' needs limbs, pairs of joint indices")
    pairs = getattr(limbs, "tolist", lambda: list(limbs))()
    if not pairs:
        raise ValueError(f"{op}: limbs must hold at least one pair of joint indices, got none")
    for pair in pairs:
        if not isinstance(pair, Sequence) or isinstance(pair, str) or len(pair) != 2:
            raise ValueError(f"{op}: limbs must be pairs of joint indices, got {pair!r}")
        for joint in pair:
            whole = isinstance(joint, Integral) and not isinstance(joint, bool)
            if not whole or not 0 <= int(joint) < num_joints:
                raise ValueError(
                    f"{op}: limbs must hold joint indices from 0 to {num_joints - 1}, got {pair!r}"
                )
    return [(int(a), int(b)) for a, b in pairs]


def check_elements(op: str, shape: tuple[int, ...]) -> None:
    if torch.compiler.is_compiling():
        return  # symbolic sizes come from tensors that exist
    if math.prod(shape) * 8 >= 2**63:
        raise ValueError(f"{op}: an output of shape {shape} has more bytes than 64 bits can count")
