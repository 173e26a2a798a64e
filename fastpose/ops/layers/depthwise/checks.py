"""What the depthwise convolutions ask of their arguments."""

from torch import Tensor

from fastpose.ops.arguments import check_volume, three_integers


def check_depthwise(
    op: str, x: Tensor, weight: Tensor, stride: int | tuple[int, int, int]
) -> tuple[int, int, int]:
    """Return the stride of each axis.

    Raises:
        ValueError: x [B, C, T, H, W], weight [C, 1, kt, kh, kw] or stride is wrong; it names ``op``.
    """
    strides = three_integers(op, "stride", stride, 1)
    check_volume(op, x, weight)
    if (
        weight.shape[0] != x.shape[1]
        or weight.shape[1] != 1
        or any(side % 2 == 0 for side in weight.shape[2:])
    ):
        raise ValueError(
            f"{op}: weight must be [{x.shape[1]}, 1, kt, kh, kw] with odd sides, got {tuple(weight.shape)}"
        )
    if weight.device != x.device:
        raise ValueError(f"{op}: x is on {x.device}, but weight on {weight.device}")
    return strides
