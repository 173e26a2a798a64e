"""Sampling of packed clips that live on the GPU."""

from fastpose.ops.sampling.op import DeviceClipSampler, sampler_on

__all__ = ["DeviceClipSampler", "sampler_on"]
