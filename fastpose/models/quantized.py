"""Networks for evaluation whose products are of whole numbers, on the CPU: ``--precision int8``.

Convolutions with their batch norm, and linear layers, take eight bits; what each network computes first, from
coordinates or heatmaps, and its head stay in float32, as do depthwise convolutions.
"""

import copy
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from fastpose.models.layers import ConvNorm, Size3
from fastpose.ops.layers.int8_conv import Int8Weights, int8_conv3d, int8_linear
from fastpose.ops.layers.int8_conv.weights import MOST_CHANNELS

Model = TypeVar("Model", bound=nn.Module)


class Int8ConvNorm:
    """What a ``ConvNorm`` computes in evaluation, ReLU and sum included, of volumes or of rows of 1×1 images."""

    def __init__(self, layer: ConvNorm):
        bn = layer.bn
        weight, bias = (bn.weight, bn.bias) if bn.affine else (1, 0)
        scale = weight / (bn.running_var + bn.eps).sqrt()
        shift = bias - bn.running_mean * scale
        self._conv = layer.conv
        self._relu = layer.relu
        self._norm = scale, shift
        self._weights: dict[tuple[int, ...], Int8Weights] = {}

    def __call__(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """Map [B, C, T, H, W] → [B, C', T', H', W']."""
        return self._convolve(x, residual, self._conv.taps(x), self._conv.stride)

    def rows(self, x: Tensor, residual: Tensor | None, batch: int) -> Tensor:
        """Map rows [T·B, C] of 1×1 images, time-major, → [T'·B, C']."""
        volume, added = (None if part is None else _as_volume(part, batch) for part in (x, residual))
        y = self._convolve(volume, added, self._conv.center_taps(), (self._conv.stride[0], 1, 1))
        return y[0, ..., 0].permute(1, 2, 0).reshape(-1, y.shape[1])

    def _convolve(self, x: Any, residual: Tensor | None, taps: Tensor, stride: Size3) -> Tensor:
        sides = tuple(taps.shape[2:])
        if sides not in self._weights:  # of a 1×1 image others than of a larger one
            self._weights[sides] = Int8Weights.of(taps, *self._norm)
        relu = self._relu or residual is not None
        return int8_conv3d(x, self._weights[sides], stride, residual=residual, relu=relu)


def _as_volume(rows: Tensor, batch: int) -> Tensor:
    """[T·B, C] → [1, C, T, B, 1], where clips are the lines of an image that no tap reaches across."""
    return rows.view(-1, batch, rows.shape[1]).permute(2, 0, 1)[None, ..., None]


class Int8Linear(nn.Linear):
    """A linear layer in whole numbers; its weight and bias stay, for those who read them."""

    def __init__(self, layer: nn.Linear):
        nn.Module.__init__(self)
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.weight, self.bias = layer.weight, layer.bias
        self.training = False
        self._whole = Int8Weights.of(layer.weight, shift=layer.bias)

    def forward(self, input: Tensor) -> Tensor:
        return int8_linear(input, self._whole)


def quantized(model: Model) -> Model:
    """Return a copy of a model on the CPU, in evaluation mode, whose products are of whole numbers.

    Raises:
        ValueError: it has no layer that could be.
    """
    model = copy.deepcopy(model).eval()
    taken = _layers(model)
    if not taken:
        raise ValueError(
            f"precision = 'int8': {type(model).__name__} has no product that could take eight bits between its first "
            "one and its head; expected nn.Linear or fastpose's convolutions"
        )
    with torch.no_grad():
        for name, module in taken.items():
            if isinstance(module, ConvNorm):
                module.quantized = Int8ConvNorm(module)
            else:
                owner, _, attribute = name.rpartition(".")
                setattr(model.get_submodule(owner), attribute, Int8Linear(module))
    return model


def _layers(model: nn.Module) -> dict[str, nn.Linear | ConvNorm]:
    """Return the layers between the first one and the head, which is the last where the model does not say."""
    layers: dict[str, nn.Linear | ConvNorm] = {
        name: module
        for name, module in model.named_modules()
        if type(module) is nn.Linear or isinstance(module, ConvNorm)
    }
    names = list(layers)
    prefix = getattr(model, "head_prefix", None)
    head = names[-1:] if prefix is None else [name for name in names if name.startswith(prefix)]
    return {name: layers[name] for name in names[1:] if name not in head and _fits(layers[name])}


def _fits(layer: nn.Linear | ConvNorm) -> bool:
    if isinstance(layer, ConvNorm):
        return not layer.conv.depthwise and layer.conv.in_channels <= MOST_CHANNELS
    return layer.in_features <= MOST_CHANNELS
