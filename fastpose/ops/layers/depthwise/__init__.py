"""Convolution of volumes with one kernel per channel."""

from fastpose.ops.layers.depthwise.op import depthwise_conv3d

__all__ = ["depthwise_conv3d"]
