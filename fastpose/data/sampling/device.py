"""The sampler of clips that live on the GPU."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from fastpose.data.pack.packed import PackedClips
from fastpose.data.sampling.batch import AlphaRange, PoseBatch, alpha_ranges
from fastpose.data.sampling.checks import checked_indices, checked_integer, limb_joints
from fastpose.data.sampling.front_end import MotionFilter
from fastpose.data.sampling.sample_prior import SamplePrior
from fastpose.data.sampling.sampler import INPUT_DRAWS, NOISE_LEVELS, ClipSampler
from fastpose.ops.backend import has_triton
from fastpose.ops.launch import interpreting
from fastpose.settings import SamplingConfig
from fastpose.settings.families import check_families


class DeviceClipSampler:
    """`ClipSampler` with the packed clips, and all of the sampling, on a CUDA device.

    The numbers are those of ``ClipSampler``: equal frames, crops and flips, keypoints equal to float32
    rounding (1e-3 px). A batch takes two kernel launches, with noise that is not Gaussian a few more, with a front
    end some dozens of torch's, and no synchronisation; only ``indices`` are copied, and nothing where they are on the
    device already.

    Args:
        packed: the clips; their arrays are copied to the device.
        settings, train, seed, prior, changes: as of ``ClipSampler``.
        device: a CUDA device.

    Raises:
        ValueError: no such device, or whatever ``ClipSampler`` refuses.
    """

    def __init__(
        self,
        packed: PackedClips,
        settings: SamplingConfig | None = None,
        *,
        train: bool = True,
        seed: int = 0,
        prior: SamplePrior | None = None,
        device: torch.device | str = "cuda",
        **changes: Any,
    ) -> None:
        from fastpose.data.sampling import kernels

        device = _checked_device(device)
        host = ClipSampler(packed, settings, train=train, seed=seed, prior=prior, **changes)
        self.packed, self.settings, self.shape, self.prior = packed, host.settings, host.shape, host.prior
        self.train, self.seed = host.train, host.seed
        arrays = {
            "keypoints": packed.keypoints,
            "scores": packed.scores,
            "offsets": packed.offsets,
            "num_persons": packed.num_persons,
            "num_frames": packed.num_frames,
            "image_sizes": packed.image_sizes,
            "name_hashes": packed.name_hashes.view(np.int64),
            "total_differences": packed.total_difference,
            "flipped_joint": np.array(packed.layout.flip_index(), np.int32),
            "limb_joints": limb_joints(packed),
            "labels": packed.labels,
            "crop": np.array(kernels.crop_numbers(host.settings)),
        }
        self._arrays = {name: _upload(array, device) for name, array in arrays.items()}
        self.device = self._arrays["labels"].device
        self._max_frames = int(packed.num_frames.max(initial=1))
        self._filter = None
        if self.prior is not None:
            tells_drift = host.settings.motion_filter == "colours"
            self._filter = MotionFilter(
                self.prior.arrays(host.settings.clip_len), tells_drift, self._arrays["keypoints"]
            )

    def batch(
        self,
        indices: Sequence[int] | NDArray[np.integer] | torch.Tensor,
        epoch: int = 0,
        stream: int = 0,
        alpha: float | AlphaRange | ArrayLike = 0.0,
        *,
        draw_frames: bool | None = None,
        flip: bool | None = None,
        families: Sequence[str] = ("gaussian",),
    ) -> PoseBatch:
        """Sample the clips ``indices`` [B] as ``ClipSampler.batch`` does; the batch is on the device.

        ``indices`` on the device are checked there: one out of range stops the program with a device-side
        assertion. Those on the host, and ``alpha``, are checked before anything runs.
        """
        from fastpose.data.sampling import kernels

        indices = self._device_indices(indices)
        count = len(indices)
        epoch = _as_signed(checked_integer("epoch", epoch, 0, 2**32 - 1), 32)
        stream = checked_integer("stream", stream, 0, 15)
        low, high = alpha_ranges(alpha, count)
        families = check_families(families)
        if not high.any():
            families = ("gaussian",)  # none adds anything
        per_clip = not isinstance(alpha, AlphaRange | int | float)

        def new(*shape: int, dtype: torch.dtype) -> torch.Tensor:
            return torch.empty(shape, dtype=dtype, device=self.device)

        seen = self.settings.has_front_end
        batch = PoseBatch(
            keypoints=new(count, *self.shape, dtype=torch.float32),
            labels=new(count, dtype=torch.int64),
            frames=new(count, self.settings.clip_len, dtype=torch.int32),
            indices=indices,
            draws=new(count, INPUT_DRAWS, dtype=torch.float32) if self.train else None,
            presence=new(count, *self.shape[:3], dtype=torch.float32) if seen else None,
            noise_levels=new(count, NOISE_LEVELS, dtype=torch.float32) if seen else None,
        )
        if count:
            kernels.sample(
                self._arrays,
                self.settings,
                batch,
                random=(_as_signed(self.seed, 64), epoch, stream),
                alphas=_upload(np.stack([low, high]), self.device) if per_clip else (low[0], high[0]),
                families=families,
                max_frames=self._max_frames,
                train=self.train,
                draw_frames=self.train if draw_frames is None else bool(draw_frames),
                flip=False if flip is None and not self.train else flip,
                filter=self._filter,
            )
        return batch

    def _device_indices(self, indices: Sequence[int] | NDArray[np.integer] | torch.Tensor) -> torch.Tensor:
        if not (isinstance(indices, torch.Tensor) and indices.device.type == "cuda"):
            return _upload(checked_indices(indices, len(self._arrays["labels"])), self.device)
        if indices.device != self.device:
            raise ValueError(f"indices must be on the host or on {self.device}, got {indices.device}")
        if (
            indices.ndim != 1
            or indices.is_floating_point()
            or indices.is_complex()
            or indices.dtype == torch.bool
        ):
            raise ValueError(
                f"indices must be integers [B], got {indices.dtype} of shape {list(indices.shape)}"
            )
        return indices.to(torch.int64).contiguous()


def sampler_on(
    device: torch.device, packed: PackedClips, settings: SamplingConfig, **named: Any
) -> "ClipSampler | DeviceClipSampler":
    """Return the sampler of ``packed`` whose batches are made on ``device``: CUDA or the CPU."""
    if torch.device(device).type == "cuda" and has_triton():
        return DeviceClipSampler(packed, settings, device=device, **named)
    return ClipSampler(packed, settings, **named)


def _checked_device(device: torch.device | str) -> torch.device:
    device = torch.device(device)
    if interpreting() and device.type == "cpu":
        return device
    if device.type != "cuda":
        raise ValueError(f"DeviceClipSampler needs a CUDA device, got {device}; ClipSampler serves the CPU")
    if not torch.cuda.is_available():
        raise ValueError(f"DeviceClipSampler needs a CUDA device, and torch finds none for {device}")
    if not has_triton():
        raise ValueError("DeviceClipSampler needs the package triton, which is not installed")
    return device


def _upload(array: NDArray[Any], device: torch.device) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.empty(array.shape, dtype=torch.from_numpy(array).dtype, device=device).copy_(
            torch.from_numpy(array), non_blocking=True
        )


def _as_signed(value: int, bits: int) -> int:
    return value - 2**bits if value >= 2 ** (bits - 1) else value
