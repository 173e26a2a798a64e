"""Weights as signed bytes, in the order in which the core multiplies them."""

from dataclasses import dataclass

import torch
from torch import Tensor

PANEL = 32  # columns of a panel, as in csrc/int8_conv/byte_product.hpp
LANE = 4  # depths that lie together
MOST_CHANNELS = 2**16  # whose products of bytes add up within 32 bits
LIMIT = 127


@dataclass(frozen=True, slots=True, eq=False)
class Int8Weights:
    """Weights [C', C, kt, kh, kw] of a convolution, rounded to whole numbers of a scale for each output channel.

    Attributes:
        shape: (C', C, kt, kh, kw).
        packed: int8 [⌈C'/32⌉, taps, ⌈C/4⌉, 32, 4], filled up with zeros.
        sums: float32 [⌈C'/32⌉, taps, 32], of the whole numbers over C.
        scale, shift: float32 [C'], of sums of products of whole numbers with what is read.
    """

    shape: tuple[int, int, int, int, int]
    packed: Tensor
    sums: Tensor
    scale: Tensor
    shift: Tensor

    @classmethod
    def of(cls, weight: Tensor, scale: Tensor | None = None, shift: Tensor | None = None) -> "Int8Weights":
        """Return the whole numbers of ``weight`` [C', C] or [C', C, kt, kh, kw].

        Args:
            scale, shift: [C'] each, of batch norm or a bias: what is to be computed is conv(x)·scale + shift. By
                default 1 and 0.

        Raises:
            ValueError: C is above 65,536.
        """
        weight = weight.detach().float()
        weight = weight[..., None, None, None] if weight.ndim == 2 else weight
        out_channels, channels, *kernel = weight.shape
        if channels > MOST_CHANNELS:
            raise ValueError(f"Int8Weights: at most {MOST_CHANNELS} channels can be summed, got {channels}")
        rows = weight.flatten(2).transpose(1, 2)  # [C', taps, C]
        steps = rows.abs().amax((1, 2)) / LIMIT
        steps = torch.where(steps == 0, 1, steps)
        whole = (rows / steps[:, None, None]).round().nan_to_num(0, 0, 0)  # steps that are no numbers stay so
        panels, depth = -(-out_channels // PANEL), -(-channels // LANE)
        padded = whole.new_zeros(panels * PANEL, whole.shape[1], depth * LANE)
        padded[:out_channels, :, :channels] = whole
        by_panel = padded.view(panels, PANEL, -1, depth, LANE).permute(0, 2, 3, 1, 4)
        shift = torch.zeros_like(steps) if shift is None else shift.detach().float().clone()
        return cls(
            shape=(out_channels, channels, kernel[0], kernel[1], kernel[2]),
            packed=by_panel.to(torch.int8).contiguous(),
            sums=by_panel.sum((2, 4)).contiguous(),
            scale=steps if scale is None else steps * scale.detach().float(),
            shift=shift,
        )

    def whole(self) -> Tensor:
        """Return the whole numbers, float32 [C', C, kt, kh, kw]."""
        out_channels, channels, *kernel = self.shape
        rows = self.packed.permute(0, 3, 1, 2, 4).flatten(3).flatten(0, 1)  # [C', taps, C], padded
        return rows[:out_channels, :, :channels].transpose(1, 2).unflatten(2, kernel).float()
