"""The public renderer: checks, registration with torch, and choice of backend."""

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from fastpose.ops.backend import resolve_backend, triton_device_obstacle
from fastpose.ops.heatmap.checks import (
    CALLER,
    check_dtype,
    check_elements,
    check_keypoints,
    checked_limbs,
    checked_mode,
    checked_sigma,
    checked_size,
)
from fastpose.ops.heatmap.modes import num_maps
from fastpose.ops.heatmap.reference import render_heatmaps_reference
from fastpose.ops.once import call_once_differentiable

MEMORY_FORMATS = (torch.contiguous_format, torch.channels_last_3d)
NATIVE_DTYPES = {torch.float32: "FLOAT32", torch.float16: "FLOAT16", torch.bfloat16: "BFLOAT16"}


def render_heatmaps(
    keypoints: Tensor,  # [B, M, T, V, 3]
    size: tuple[int, int] = (56, 56),
    sigma: float = 0.6,
    mode: str = "heatmap",
    limbs: Sequence[tuple[int, int]] | None = None,
    joint_merge: str | None = None,
    dtype: torch.dtype = torch.float32,
    out: Tensor | None = None,
    backend: str = "auto",
    memory_format: torch.memory_format | None = None,
) -> Tensor:  # [B, V | 1 | L, T, H, W]
    """Draw every joint or limb of every frame as a small Gaussian; persons merge by maximum.

    A joint draws ``score * exp(-d² / 2σ²)`` at distance d inside the window ``int(μ - 3σ)..int(μ + 3σ)``
    (inclusive, truncated toward zero, computed in float32, clipped to the image). Scores above 1 are not
    clamped. A joint that is not present (``fastpose.ops.presence``) or whose score is below 0.001 draws nothing.
    The rule is that of PYSKL's GeneratePoseTarget.

    Args:
        keypoints: floating, x and y in pixels of the map and score, [B, M, T, V, 3]; any strides.
        size: height and width of the maps.
        sigma: standard deviation in pixels.
        mode: "heatmap", one map per joint; "grayscale", the joints' maps merged into one; "limb", one map per
            limb (a, b): d is then the distance to the segment, the score the smaller of both, and a limb of a
            squared length under 1 is drawn as the joint a.
        limbs: pairs of joint indices, for mode "limb".
        joint_merge: "sum" (default) or "max", for mode "grayscale".
        dtype: of the result: float32, float16, bfloat16 (rounded once, to nearest even), float64 (reference).
        out: tensor to fill and return, contiguous or in channels_last_3d order, of the result's shape, dtype.
        backend: "native" (C++, on the CPU), "triton" (on a CUDA device), "reference" (torch, anywhere) or "auto":
            the first that can serve. The first two do not write float64. All are differentiable once in the
            keypoints: a pixel's gradient goes to the joint or limb that gave it its value, of equal ones to the
            first person, then (joints merged by maximum) to the first joint; equal scores of a limb's ends share it.
        memory_format: of a result without ``out``: torch.contiguous_format (default) or torch.channels_last_3d.

    Raises:
        ValueError: an argument is wrong, or the backend cannot serve the call.
    """
    op = "render_heatmaps"
    check_keypoints(op, keypoints)
    size = checked_size(op, size)
    sigma = checked_sigma(op, sigma)
    merged = checked_mode(op, mode, joint_merge)
    check_dtype(op, dtype)
    limb_pairs = checked_limbs(op, limbs, mode, keypoints.shape[3])
    shape = _output_shape(keypoints, size, num_maps(merged, keypoints.shape[3], len(limb_pairs)))
    check_elements(op, shape)

    memory_format = _checked_format(memory_format, out)
    if out is not None:
        _check_out(out, keypoints, shape, dtype)
    backend = resolve_backend(
        op,
        backend,
        {"native": _native_obstacle(keypoints, dtype), "triton": _triton_obstacle(keypoints, dtype)},
    )
    if backend == "reference":
        maps = render_heatmaps_reference(keypoints, size, sigma, merged, limb_pairs, dtype)
        return maps.contiguous(memory_format=memory_format) if out is None else out.copy_(maps)

    limb_joints = [joint for pair in limb_pairs for joint in pair]
    if out is None:
        channels_last = memory_format == torch.channels_last_3d
        return torch.ops.fastpose.render_heatmaps(
            keypoints, size, sigma, merged, limb_joints, dtype, channels_last
        )
    torch.ops.fastpose.render_heatmaps_into(keypoints, out, sigma, merged, limb_joints)
    return out


def _checked_format(memory_format: torch.memory_format | None, out: Tensor | None) -> torch.memory_format:
    if memory_format is None:
        return torch.contiguous_format
    if memory_format not in MEMORY_FORMATS:
        raise ValueError(
            f"render_heatmaps: memory_format must be one of {', '.join(map(str, MEMORY_FORMATS))}, "
            f"got {memory_format!r}"
        )
    if out is not None:
        warnings.warn("render_heatmaps: memory_format has no effect where out is given", stacklevel=CALLER)
    return memory_format


def _output_shape(keypoints: Tensor, size: Sequence[int], channels: int) -> tuple[int, ...]:
    num_clips, _, num_frames, _, _ = keypoints.shape
    return num_clips, channels, num_frames, size[0], size[1]


def _check_out(out: Tensor, keypoints: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    if not isinstance(out, Tensor):
        raise ValueError(f"render_heatmaps: out must be a torch.Tensor, got {type(out).__name__}")
    if tuple(out.shape) != shape:
        raise ValueError(f"render_heatmaps: out must have the shape {shape}, got {tuple(out.shape)}")
    if out.dtype != dtype:
        raise ValueError(f"render_heatmaps: out must have {dtype = }, got {out.dtype}")
    if out.device != keypoints.device:
        raise ValueError(f"render_heatmaps: out must be on {keypoints.device}, got {out.device}")
    if not (out.is_contiguous() or out.is_contiguous(memory_format=torch.channels_last_3d)):
        raise ValueError(
            f"render_heatmaps: out must be contiguous or in channels_last_3d order, got {out.stride() = }"
        )
    if out.requires_grad or (keypoints.requires_grad and torch.is_grad_enabled()):
        raise ValueError("render_heatmaps: out cannot take part in a gradient; call without it")
    if not torch.compiler.is_compiling() and _memory_overlaps(keypoints, out):
        raise ValueError("render_heatmaps: out must not share memory with keypoints")


def _memory_overlaps(first: Tensor, second: Tensor) -> bool:
    if first.numel() == 0 or second.numel() == 0 or first.device.type == "meta":
        return False

    def span(x: Tensor) -> tuple[int, int]:
        last = sum((length - 1) * stride for length, stride in zip(x.shape, x.stride(), strict=True))
        return x.data_ptr(), x.data_ptr() + (last + 1) * x.element_size()

    (begin, end), (other_begin, other_end) = span(first), span(second)
    return begin < other_end and other_begin < end


def _native_obstacle(keypoints: Tensor, dtype: torch.dtype) -> str | None:
    if keypoints.device.type != "cpu":
        return f"runs on the CPU, and the keypoints are on {keypoints.device}"
    return None if dtype in NATIVE_DTYPES else f"does not write {dtype}"


def _triton_obstacle(keypoints: Tensor, dtype: torch.dtype) -> str | None:
    return triton_device_obstacle(keypoints) or (
        None if dtype in NATIVE_DTYPES else f"does not write {dtype}"
    )


# Opaque to torch.compile. `heatmap_mode` is a HeatmapMode (torch keeps the name `mode` for itself),
# `limbs` a flat list of pairs.
_library = torch.library.Library("fastpose", "FRAGMENT")
_library.define(
    "render_heatmaps(Tensor keypoints, SymInt[2] size, float sigma, str heatmap_mode, int[] limbs, "
    "ScalarType dtype, bool channels_last) -> Tensor"
)
_library.define(
    "render_heatmaps_into(Tensor keypoints, Tensor(a!) out, float sigma, str heatmap_mode, int[] limbs) -> ()"
)
_library.define(
    "render_heatmaps_backward(Tensor gradient, Tensor keypoints, float sigma, str heatmap_mode, int[] limbs) -> Tensor"
)


@torch.library.register_fake("fastpose::render_heatmaps", lib=_library)
def _new_maps(keypoints, size, sigma, mode, limbs, dtype, channels_last):
    channels = num_maps(mode, keypoints.shape[3], len(limbs) // 2)
    memory_format = torch.channels_last_3d if channels_last else torch.contiguous_format
    shape = _output_shape(keypoints, size, channels)
    return torch.empty(shape, dtype=dtype, device=keypoints.device, memory_format=memory_format)


@torch.library.register_fake("fastpose::render_heatmaps_into", lib=_library)
def _render_into_fake(keypoints, out, sigma, mode, limbs):
    return None


@torch.library.register_fake("fastpose::render_heatmaps_backward", lib=_library)
def _backward_fake(gradient, keypoints, sigma, mode, limbs):
    return keypoints.new_empty(keypoints.shape)


def _render(keypoints, size, sigma, mode, limbs, dtype, channels_last):
    out = _new_maps(keypoints, size, sigma, mode, limbs, dtype, channels_last)
    torch.ops.fastpose.render_heatmaps_into(keypoints, out, sigma, mode, limbs)
    return out


_library.impl("render_heatmaps", _render, "CPU")
_library.impl("render_heatmaps", _render, "CUDA")


@torch.library.impl(_library, "render_heatmaps_into", "CPU")
def _render_into_on_cpu(keypoints, out, sigma, mode, limbs):
    from fastpose._native import native

    keypoints = keypoints.to(torch.float32).contiguous()
    native.render_heatmaps(
        keypoints=keypoints.data_ptr(),
        shape=keypoints.shape[:4],
        output=out.data_ptr(),
        size=out.shape[3:],
        sigma=sigma,
        mode=getattr(native.HeatmapMode, mode.upper()),
        limbs=limbs,
        element=getattr(native.ElementType, NATIVE_DTYPES[out.dtype]),
        layout=native.HeatmapLayout.CONTIGUOUS if out.is_contiguous() else native.HeatmapLayout.CHANNELS_LAST,
        threads=torch.get_num_threads(),
    )


@torch.library.impl(_library, "render_heatmaps_backward", "CPU")
def _backward_on_cpu(gradient, keypoints, sigma, mode, limbs):
    from fastpose._native import native

    poses = keypoints.to(torch.float32).contiguous()
    result = torch.empty_like(poses)
    native.render_heatmaps_backward(
        gradient=gradient.data_ptr(),
        strides=gradient.stride(),
        keypoints=poses.data_ptr(),
        shape=poses.shape[:4],
        result=result.data_ptr(),
        size=gradient.shape[3:],
        sigma=sigma,
        mode=getattr(native.HeatmapMode, mode.upper()),
        limbs=limbs,
        element=getattr(native.ElementType, NATIVE_DTYPES[gradient.dtype]),
        threads=torch.get_num_threads(),
    )
    return result.to(keypoints.dtype)


@torch.library.impl(_library, "render_heatmaps_into", "CUDA")
def _render_into_on_cuda(keypoints, out, sigma, mode, limbs):
    from fastpose.ops.heatmap import kernels

    kernels.render(keypoints, out, sigma, mode, limbs)


@torch.library.impl(_library, "render_heatmaps_backward", "CUDA")
def _backward_on_cuda(gradient, keypoints, sigma, mode, limbs):
    from fastpose.ops.heatmap import kernels_gradient as kernels

    return kernels.render_backward(gradient, keypoints, sigma, mode, limbs).to(keypoints.dtype)


class _RenderHeatmaps(torch.autograd.Function):
    @staticmethod
    def forward(keypoints, size, sigma, mode, limbs, dtype, channels_last):
        with torch._C._AutoDispatchBelowAutograd():
            return torch.ops.fastpose.render_heatmaps(
                keypoints, size, sigma, mode, limbs, dtype, channels_last
            )

    @staticmethod
    def setup_context(ctx, inputs, output):
        keypoints, _, ctx.sigma, ctx.mode, ctx.limbs, _, _ = inputs
        ctx.save_for_backward(keypoints)

    @staticmethod
    def backward(ctx, gradient):
        (keypoints,) = ctx.saved_tensors
        differentiate = torch.ops.fastpose.render_heatmaps_backward
        result = call_once_differentiable(
            differentiate, "render_heatmaps", gradient, keypoints, ctx.sigma, ctx.mode, ctx.limbs
        )
        return result, None, None, None, None, None, None


@torch.library.impl(_library, "render_heatmaps", "Autograd")
def _render_with_gradient(*arguments):
    if torch._C._are_functorch_transforms_active():
        raise NotImplementedError(
            "render_heatmaps: torch.func transforms differentiate only the reference: pass backend='reference'"
        )
    return _RenderHeatmaps.apply(*arguments)
