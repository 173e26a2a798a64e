"""Sampling of packed clips that live on the GPU."""

from fastpose.ops.sampling.op import DeviceClipSampler

__all__ = ["DeviceClipSampler"]
