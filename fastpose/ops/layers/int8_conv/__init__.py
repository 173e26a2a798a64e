"""Convolutions and linear layers in whole numbers, for evaluation on the CPU."""

from fastpose.ops.layers.int8_conv.op import int8_conv3d, int8_linear
from fastpose.ops.layers.int8_conv.weights import Int8Weights

__all__ = ["Int8Weights", "int8_conv3d", "int8_linear"]
