"""What the depthwise convolutions ask of their arguments."""

from torch import Tensor


def check_depthwise(
    op: str, x: Tensor, weight: Tensor, stride: int | tuple[int, int, int]
) -> tuple[int, int, int]:
    """The stride of each axis.

    Raises:
        ValueError: x [B, C, T, H, W], weight [C, 1, kt, kh, kw] or stride is wrong; it names ``op``.
    """
    strides = (stride,) * 3 if isinstance(stride, int) else tuple(stride)
    if len(strides) != 3 or any(
        isinstance(step, bool) or not isinstance(step, int) or step < 1 for step in strides
    ):
        raise ValueError(f"{op}: stride must be one or three positive integers, got {stride!r}")
    for name, tensor in {"x": x, "weight": weight}.items():
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point() or tensor.ndim != 5:
            got = (
                f"{tensor.dtype} {tuple(tensor.shape)}"
                if isinstance(tensor, Tensor)
                else type(tensor).__name__
            )
            raise ValueError(f"{op}: {name} must be a floating tensor of five dimensions, got {got}")
    if 0 in x.shape:
        raise ValueError(f"{op}: x must not be empty, got {tuple(x.shape)}")
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
