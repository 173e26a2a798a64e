"""Checks of arguments that several operators take; errors begin with the operator's name."""

from collections.abc import Sequence
from numbers import Integral

from torch import Tensor

MAX_STEP = 2**24  # with sides of at most as many pixels, every place is a 32-bit integer


def describe(value: object) -> str:
    """Return what an error says it got in place of a tensor: dtype and shape, or the type."""
    return f"{value.dtype} {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__


def three_integers(op: str, name: str, value: int | Sequence[int], least: int) -> tuple[int, int, int]:
    """Return one for frames, rows and columns each.

    Raises:
        ValueError: ``value`` is not one or three integers from ``least`` to ``MAX_STEP``.
    """
    numbers = (value,) * 3 if isinstance(value, Integral) else value
    if (
        not isinstance(numbers, Sequence)
        or len(numbers) != 3
        or any(isinstance(one, bool) or not isinstance(one, Integral) for one in numbers)
        or any(not least <= int(one) <= MAX_STEP for one in numbers)
    ):
        raise ValueError(
            f"{op}: {name} must be one or three integers from {least} to {MAX_STEP}, got {value!r}"
        )
    frames, rows, columns = (int(one) for one in numbers)
    return frames, rows, columns


def check_volume(op: str, x: Tensor, weight: Tensor) -> None:
    """Raise ValueError unless x and the weight of its convolution are floating, five-dimensional, and x not empty."""
    for name, tensor in {"x": x, "weight": weight}.items():
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point() or tensor.ndim != 5:
            raise ValueError(
                f"{op}: {name} must be a floating tensor of five dimensions, got {describe(tensor)}"
            )
    if 0 in x.shape:
        raise ValueError(f"{op}: x must not be empty, got {tuple(x.shape)}")
