"""A depthwise convolution of batch norm and ReLU, which are never stored."""

from fastpose.ops.layers.norm_depthwise.op import batch_norm_depthwise

__all__ = ["batch_norm_depthwise"]
