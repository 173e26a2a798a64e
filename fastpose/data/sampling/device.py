"""The sampler of clips that live on the GPU."""

import math
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from fastpose.data.sampling.checks import checked_indices, checked_integer
from fastpose.data.sampling.sampler import (
    INPUT_DRAWS,
    AlphaRange,
    ClipSampler,
    PoseBatch,
    alpha_ranges,
)
from fastpose.ops.backend import has_triton
from fastpose.ops.launch import ceil_div, interpreting, launch

if TYPE_CHECKING:
    from fastpose.data.pack.packed import PackedClips

CLIPS_PER_PROGRAM = 32
ELEMENTS_PER_STEP = 512


class DeviceClipSampler:
    """`ClipSampler` with the packed clips, and all of the sampling, on a CUDA device.

    The numbers are those of ``ClipSampler``: equal frames, crops and flips, keypoints equal to float32
    rounding (1e-3 px). A batch takes two kernel launches and no synchronisation; only ``indices`` are copied,
    and nothing where they are on the device already.

    Args:
        packed: the clips; their arrays are copied to the device.
        device: a CUDA device.
        settings: those of ``ClipSampler``: clip_len, size, train, seed, max_persons, …

    Raises:
        ValueError: no such device, or whatever ``ClipSampler`` refuses.
    """

    def __init__(
        self,
        packed: "PackedClips",
        *settings: Any,
        device: torch.device | str = "cuda",
        **named_settings: Any,
    ) -> None:
        device = _checked_device(device)
        host = ClipSampler(packed, *settings, **named_settings)
        self.packed = packed
        self.clip_len, self.size, self.train, self.seed = host.clip_len, host.size, host.train, host.seed
        self._resample, self._whole_frame = host.frame_rule == "resample", host.crop == "frame"
        self.max_persons, self.num_joints = host.max_persons, packed.keypoints.shape[1]
        self.labels = _upload(packed.labels, device)
        self.device = self.labels.device
        self._num_frames = _upload(packed.num_frames, device)
        self._name_hashes = _upload(packed.name_hashes.view(np.int64), device)
        box = (host.crop_padding, host.min_box, *host.crop_area, *map(math.log, host.crop_aspect))
        self._arrays = [
            _upload(packed.keypoints, device),
            _upload(packed.scores, device),
            _upload(packed.offsets, device),
            _upload(packed.num_persons, device),
            self._num_frames,
            _upload(packed.image_sizes, device),
            self._name_hashes,
            _upload(packed.total_difference, device),
            _upload(np.array(packed.layout.flip_index(), np.int32), device),
            _upload(np.array([*box, host.flip_probability]), device),
        ]

    def batch(
        self,
        indices: Sequence[int] | NDArray[np.integer] | torch.Tensor,
        epoch: int = 0,
        stream: int = 0,
        alpha: float | AlphaRange | ArrayLike = 0.0,
        *,
        draw_frames: bool | None = None,
        flip: bool | None = None,
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
        seed = _as_signed(self.seed, 64)
        per_clip = not isinstance(alpha, AlphaRange | int | float)
        low, high = alpha_ranges(alpha, count)
        alphas = _upload(np.stack([low, high]), self.device) if per_clip else self._arrays[-1]
        draw = self.train if draw_frames is None else bool(draw_frames)
        if flip is None:
            flips = kernels.DRAWN if self.train else kernels.NEVER
        else:
            flips = kernels.ALWAYS if flip else kernels.NEVER

        def new(*shape: int, dtype: torch.dtype) -> torch.Tensor:
            return torch.empty(shape, dtype=dtype, device=self.device)

        frames = new(count, self.clip_len, dtype=torch.int32)
        labels = new(count, dtype=torch.int64)
        shape = (count, self.max_persons, self.clip_len, self.num_joints, 3)
        keypoints = new(*shape, dtype=torch.float32)
        draws = new(count, INPUT_DRAWS, dtype=torch.float32) if self.train else None
        batch = PoseBatch(keypoints, labels, frames, indices, draws)
        if count == 0:
            return batch
        num_clips = len(self.labels)
        launch(
            kernels.choose_frames, (ceil_div(count, CLIPS_PER_PROGRAM),),
            indices, self._name_hashes, self._num_frames, self.labels, frames, labels, draws,
            seed, epoch, stream, count, num_clips,
            CLIP_LEN=self.clip_len, DRAW=draw, RESAMPLE=self._resample,
            INPUT_DRAWS=INPUT_DRAWS if self.train else 0, CLIPS=CLIPS_PER_PROGRAM,
            num_warps=1, debug=True, sanitize_overflow=False, enable_fp_fusion=False,
        )  # fmt: skip
        launch(
            kernels.place_joints, (count,),
            *self._arrays, indices, alphas, frames, keypoints,
            0.0 if per_clip else float(low[0]), 0.0 if per_clip else float(high[0]),
            seed, epoch, stream, count, num_clips, *self.size,
            MAX_PERSONS=self.max_persons, CLIP_LEN=self.clip_len, NUM_JOINTS=self.num_joints,
            RANDOM_CROP=self.train and not self._whole_frame, WHOLE_FRAME=self._whole_frame,
            FLIP=flips.value, PER_CLIP=per_clip, ELEMENTS=ELEMENTS_PER_STEP,
            num_warps=4, enable_fp_fusion=False,
        )  # fmt: skip
        return batch

    def _device_indices(self, indices: Sequence[int] | NDArray[np.integer] | torch.Tensor) -> torch.Tensor:
        if not (isinstance(indices, torch.Tensor) and indices.device.type == "cuda"):
            return _upload(checked_indices(indices, len(self.labels)), self.device)
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
    device: torch.device, packed: "PackedClips", *settings: Any, **named_settings: Any
) -> "ClipSampler | DeviceClipSampler":
    """Return the sampler of ``packed`` whose batches are made on ``device``: CUDA or the CPU."""
    if torch.device(device).type == "cuda" and has_triton():
        return DeviceClipSampler(packed, *settings, device=device, **named_settings)
    return ClipSampler(packed, *settings, **named_settings)


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
