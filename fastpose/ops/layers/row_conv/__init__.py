"""Convolutions that normalise what they read and take statistics of what they write."""

from fastpose.ops.layers.row_conv.op import Norm, norm_conv3d, norm_conv3d_evaluation, norm_conv_obstacle

__all__ = ["Norm", "norm_conv3d", "norm_conv3d_evaluation", "norm_conv_obstacle"]
