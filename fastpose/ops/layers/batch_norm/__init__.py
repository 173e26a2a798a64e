"""Batch norm, the sum with a residual, and ReLU in one."""

from fastpose.ops.layers.batch_norm.op import batch_norm_relu, update_running_statistics

__all__ = ["batch_norm_relu", "update_running_statistics"]
