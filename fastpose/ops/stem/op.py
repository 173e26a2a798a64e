"""The public stem: checks, registration with torch, and choice of backend."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from fastpose.ops.backend import resolve_backend, triton_device_obstacle
from fastpose.ops.heatmap import render_heatmaps
from fastpose.ops.heatmap.checks import (
    check_dtype,
    check_elements,
    check_keypoints,
    checked_limbs,
    checked_mode,
    checked_sigma,
    checked_size,
)
from fastpose.ops.heatmap.modes import HeatmapMode, num_maps
from fastpose.ops.native_call import (
    NATIVE_DTYPES,
    autocast_dtype,
    dense_floats,
    element_type,
    transform_obstacle,
)
from fastpose.ops.once import call_once_differentiable
from fastpose.ops.stem.checks import check_weight, checked_padding, checked_stride, output_shape
from fastpose.ops.stem.reference import pose_stem_reference

CHANNELS_LAST = torch.channels_last_3d
TRITON_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def pose_stem(
    keypoints: Tensor,  # [B, M, T, V, 3]
    weight: Tensor,  # [O, C, kT, kH, kW]
    size: tuple[int, int] = (56, 56),
    sigma: float = 0.6,
    mode: str = "heatmap",
    stride: int | tuple[int, int, int] = 1,
    padding: int | tuple[int, int, int] | None = None,
    limbs: Sequence[tuple[int, int]] | None = None,
    joint_merge: str | None = None,
    dtype: torch.dtype | None = None,
    backend: str = "auto",
) -> Tensor:  # [B, O, T', H', W']
    """Return ``conv3d(render_heatmaps(keypoints, ...), weight, stride, padding)``, without the maps in memory.

    What a joint draws is a window of few pixels, and only those are convolved. The result is in
    channels_last_3d order; T' is (T + 2 · padding - kT) // stride + 1, and so on. There is no bias.

    Args:
        keypoints, size, sigma, mode, limbs, joint_merge: as of ``fastpose.ops.render_heatmaps``. The maximum of
            joints (joint_merge "max") is the one drawing that takes the drawn maps: "auto" draws it, in ``dtype``.
        weight: floating; C is the number of joints, of limbs, or 1, by the mode. Unless maps are drawn, it is kept
            as it is: sums are in float32, and the result is rounded once. Only the Triton kernels round weight and
            maps for 16-bit results, to 11 significant bits (TF32).
        stride: in frames, rows and columns, or one for all.
        padding: zeros at both ends of frames, rows and columns, or one for all; None is half the kernel.
        dtype: of the result; None is that of autocast where it is on, else that of the weight.
        backend: "native" (C++, on the CPU; writes float32 and bfloat16, bitwise identical for any number of threads),
            "triton" (on a CUDA device; writes all but float64, bitwise identical on every run), "reference" (the
            definition in torch, anywhere; float64 where an argument is) or "auto": the first that can serve,
            and for limbs on a CUDA device the drawn maps. Differentiable in keypoints and weight; the first two
            once, and in the keypoints as ``render_heatmaps`` is.

    Raises:
        ValueError: an argument is wrong, or the backend cannot serve the call.
    """
    op = "pose_stem"
    check_keypoints(op, keypoints)
    size = checked_size(op, size)
    sigma = checked_sigma(op, sigma)
    merged = checked_mode(op, mode, joint_merge)
    limb_pairs = checked_limbs(op, limbs, mode, keypoints.shape[3])
    check_weight(keypoints, weight, num_maps(merged, keypoints.shape[3], len(limb_pairs)), mode)
    stride = checked_stride(stride)
    padding = checked_padding(padding, weight.shape[2:])
    dtype = autocast_dtype(weight) if dtype is None else dtype
    check_dtype(op, dtype)
    check_elements(op, output_shape(keypoints, weight, size, stride, padding))

    chosen = resolve_backend(
        op,
        backend,
        {
            "native": _native_obstacle(keypoints, weight, merged, dtype),
            "triton": _triton_obstacle(keypoints, weight, merged, dtype),
        },
    )
    if backend == "auto" and _is_better_drawn(keypoints, weight, merged, dtype):
        maps = render_heatmaps(
            keypoints,
            size,
            sigma,
            mode,
            limb_pairs or None,
            joint_merge if mode == "grayscale" else None,
            dtype,
            memory_format=CHANNELS_LAST,
        )
        with torch.autocast(keypoints.device.type, enabled=False):
            volumes = F.conv3d(maps, weight.to(dtype), None, stride, padding)
        return volumes.contiguous(memory_format=CHANNELS_LAST)
    if chosen == "reference":
        volumes = pose_stem_reference(
            keypoints, weight, size, sigma, merged, limb_pairs, stride, padding, dtype
        )
        # Within torch.func memory formats cannot be asked for.
        return volumes if transform_obstacle() else volumes.contiguous(memory_format=CHANNELS_LAST)
    limb_joints = [joint for pair in limb_pairs for joint in pair]
    return torch.ops.fastpose.pose_stem(
        keypoints, weight, size, sigma, merged, limb_joints, stride, padding, dtype
    )


def _native_obstacle(keypoints: Tensor, weight: Tensor, mode: HeatmapMode, dtype: torch.dtype) -> str | None:
    if keypoints.device.type != "cpu":
        return f"runs on the CPU, and the keypoints are on {keypoints.device}"
    if dtype not in NATIVE_DTYPES:
        return f"does not write {dtype}"
    return _implicit_obstacle(keypoints, weight, mode)


def _triton_obstacle(keypoints: Tensor, weight: Tensor, mode: HeatmapMode, dtype: torch.dtype) -> str | None:
    if (obstacle := triton_device_obstacle(keypoints)) is not None:
        return obstacle
    if dtype not in TRITON_DTYPES:
        return f"does not write {dtype}"
    return _implicit_obstacle(keypoints, weight, mode)


def _implicit_obstacle(keypoints: Tensor, weight: Tensor, mode: HeatmapMode) -> str | None:
    if mode == "grayscale_max":
        return "needs the drawn maps for joint_merge='max'"
    if torch.float64 in (keypoints.dtype, weight.dtype):
        return "would round what is in float64"
    return transform_obstacle()


def _is_better_drawn(keypoints: Tensor, weight: Tensor, mode: HeatmapMode, dtype: torch.dtype) -> bool:
    """Return whether drawing in the result's dtype and torch's convolution serve best."""
    if torch.float64 in (keypoints.dtype, weight.dtype, dtype) or torch.compiler.is_exporting():
        return False
    if transform_obstacle() is not None:
        return False
    limbs_on_device = mode == "limb" and keypoints.device.type == "cuda"  # long windows on many tiles
    return mode == "grayscale_max" or limbs_on_device


# Opaque to torch.compile. Results are in channels_last_3d order; `heatmap_mode` is a HeatmapMode,
# `limbs` a flat list of pairs.
_SETTINGS = "SymInt[2] size, float sigma, str heatmap_mode, int[] limbs, int[3] stride, int[3] padding"
_library = torch.library.Library("fastpose", "FRAGMENT")
_library.define(f"pose_stem(Tensor keypoints, Tensor weight, {_SETTINGS}, ScalarType dtype) -> Tensor")
for _result in ("weight", "keypoint"):
    _library.define(
        f"pose_stem_{_result}_gradient(Tensor gradient, Tensor keypoints, Tensor weight, {_SETTINGS}) -> Tensor"
    )


@torch.library.register_fake("fastpose::pose_stem", lib=_library)
def _new_output(keypoints, weight, size, sigma, mode, limbs, stride, padding, dtype):
    shape = output_shape(keypoints, weight, size, stride, padding)
    return torch.empty(shape, dtype=dtype, device=keypoints.device, memory_format=CHANNELS_LAST)


@torch.library.register_fake("fastpose::pose_stem_weight_gradient", lib=_library)
def _new_weight_gradient(gradient, keypoints, weight, *settings):
    return weight.new_empty(weight.shape)


@torch.library.register_fake("fastpose::pose_stem_keypoint_gradient", lib=_library)
def _new_keypoint_gradient(gradient, keypoints, weight, *settings):
    return keypoints.new_empty(keypoints.shape)


def _native_arguments(keypoints, weight, size, sigma, mode, limbs, stride, padding):
    """Return what all native calls take, of dense keypoints."""
    from fastpose._native import native

    return {
        "keypoints": keypoints.data_ptr(),
        "shape": keypoints.shape[:4],
        "size": size,
        "sigma": sigma,
        "mode": getattr(native.HeatmapMode, mode.upper()),
        "limbs": limbs,
        "weight_shape": weight.shape,
        "stride": stride,
        "padding": padding,
        "threads": torch.get_num_threads(),
    }


@torch.library.impl(_library, "pose_stem", "CPU")
def _forward_on_cpu(keypoints, weight, size, sigma, mode, limbs, stride, padding, dtype):
    from fastpose._native import native

    output = _new_output(keypoints, weight, size, sigma, mode, limbs, stride, padding, dtype)
    if keypoints.numel() == 0:
        return output.zero_()
    keypoints, weight = dense_floats(keypoints, weight)
    native.pose_stem(
        **_native_arguments(keypoints, weight, size, sigma, mode, limbs, stride, padding),
        weight=weight.data_ptr(), element=element_type(output), output=output.data_ptr(),
    )  # fmt: skip
    return output


@torch.library.impl(_library, "pose_stem_weight_gradient", "CPU")
def _weight_gradient_on_cpu(gradient, keypoints, weight, *settings):
    from fastpose._native import native

    result = torch.empty(weight.shape, dtype=torch.float32)
    if keypoints.numel() == 0 or gradient.numel() == 0:
        return result.zero_().to(weight.dtype)
    (keypoints,), gradient = dense_floats(keypoints), gradient.contiguous(memory_format=CHANNELS_LAST)
    native.pose_stem_weight_gradient(
        **_native_arguments(keypoints, weight, *settings),
        gradient=gradient.data_ptr(), element=element_type(gradient), result=result.data_ptr(),
    )  # fmt: skip
    return result.to(weight.dtype)


@torch.library.impl(_library, "pose_stem_keypoint_gradient", "CPU")
def _keypoint_gradient_on_cpu(gradient, keypoints, weight, *settings):
    from fastpose._native import native

    poses, weight = dense_floats(keypoints, weight)
    result = torch.empty_like(poses)
    if keypoints.numel() == 0 or gradient.numel() == 0:
        return result.zero_().to(keypoints.dtype)
    gradient = gradient.contiguous(memory_format=CHANNELS_LAST)
    native.pose_stem_keypoint_gradient(
        **_native_arguments(poses, weight, *settings),
        weight=weight.data_ptr(), gradient=gradient.data_ptr(), element=element_type(gradient),
        result=result.data_ptr(),
    )  # fmt: skip
    return result.to(keypoints.dtype)


@torch.library.impl(_library, "pose_stem", "CUDA")
def _forward_on_cuda(keypoints, weight, size, sigma, mode, limbs, stride, padding, dtype):
    from fastpose.ops.stem import kernels_forward as kernels

    output = _new_output(keypoints, weight, size, sigma, mode, limbs, stride, padding, dtype)
    kernels.convolve(keypoints, weight, output, size, sigma, mode, limbs, stride, padding)
    return output


@torch.library.impl(_library, "pose_stem_weight_gradient", "CUDA")
def _weight_gradient_on_cuda(gradient, keypoints, weight, *settings):
    from fastpose.ops.stem import kernels_weight_gradient as kernels

    return kernels.weight_gradient(gradient, keypoints, weight.shape, *settings).to(weight.dtype)


@torch.library.impl(_library, "pose_stem_keypoint_gradient", "CUDA")
def _keypoint_gradient_on_cuda(gradient, keypoints, weight, *settings):
    from fastpose.ops.stem import kernels_keypoint_gradient as kernels

    return kernels.keypoint_gradient(gradient, keypoints, weight, *settings).to(keypoints.dtype)


class _PoseStem(torch.autograd.Function):
    @staticmethod
    def forward(keypoints, weight, *settings_and_dtype):
        with torch._C._AutoDispatchBelowAutograd():
            return torch.ops.fastpose.pose_stem(keypoints, weight, *settings_and_dtype)

    @staticmethod
    def setup_context(ctx, inputs, output):
        keypoints, weight, *ctx.settings, _ = inputs
        ctx.save_for_backward(keypoints, weight)

    @staticmethod
    def backward(ctx, gradient):
        keypoints, weight = ctx.saved_tensors
        operators = (
            torch.ops.fastpose.pose_stem_keypoint_gradient,
            torch.ops.fastpose.pose_stem_weight_gradient,
        )
        results = [
            call_once_differentiable(operator, "pose_stem", gradient, keypoints, weight, *ctx.settings)
            if needed
            else None
            for operator, needed in zip(operators, ctx.needs_input_grad[:2], strict=True)
        ]
        return *results, *(None for _ in ctx.settings), None


_library.impl("pose_stem", _PoseStem.apply, "Autograd")
