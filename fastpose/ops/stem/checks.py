"""Checks of the stem's own arguments, and the shape of its result."""

from collections.abc import Sequence

from torch import Tensor

from fastpose.ops.arguments import describe, three_integers


def check_weight(keypoints: Tensor, weight: Tensor, num_channels: int, mode: str) -> None:
    if not isinstance(weight, Tensor) or not weight.is_floating_point() or weight.ndim != 5:
        raise ValueError(
            f"pose_stem: weight must be a floating tensor [O, C, kT, kH, kW], got {describe(weight)}"
        )
    if 0 in weight.shape:
        raise ValueError(f"pose_stem: weight must not be empty, got {tuple(weight.shape)}")
    if weight.shape[1] != num_channels:
        raise ValueError(
            f"pose_stem: weight must have {num_channels} channels, which are the maps of {mode = }, "
            f"got {tuple(weight.shape)} [O, C, kT, kH, kW]"
        )
    if weight.device != keypoints.device:
        raise ValueError(f"pose_stem: keypoints are on {keypoints.device}, but weight on {weight.device}")


def checked_stride(stride: int | tuple[int, int, int]) -> tuple[int, int, int]:
    return three_integers("pose_stem", "stride", stride, 1)


def checked_padding(
    padding: int | tuple[int, int, int] | None, kernel: Sequence[int]
) -> tuple[int, int, int]:
    if padding is None:
        time, height, width = (int(side) // 2 for side in kernel)
        return time, height, width
    return three_integers("pose_stem", "padding", padding, 0)


def output_shape(
    keypoints: Tensor,  # [B, M, T, V, 3]
    weight: Tensor,  # [O, C, kT, kH, kW]
    size: Sequence[int],
    stride: tuple[int, int, int],
    padding: tuple[int, int, int],
) -> tuple[int, ...]:
    """Return [B, O, T', H', W'].

    Raises:
        ValueError: the kernel exceeds the padded maps.
    """
    maps, kernel = (keypoints.shape[2], *size), weight.shape[2:]
    padded = tuple(side + 2 * pad for side, pad in zip(maps, padding, strict=True))
    if any(side < taps for side, taps in zip(padded, kernel, strict=True)):
        raise ValueError(
            f"pose_stem: the kernel {tuple(kernel)} is larger than the padded maps {padded} [T, H, W]"
        )
    sides = ((side - taps) // step + 1 for side, taps, step in zip(padded, kernel, stride, strict=True))
    return keypoints.shape[0], weight.shape[0], *sides
