"""The public attention over one axis: checks, registration with torch, and choice of backend."""

from numbers import Integral

import torch
from torch import Tensor

from fastpose.ops.backend import resolve_backend
from fastpose.ops.layers.attention.reference import attend_reference
from fastpose.ops.native_call import NATIVE_DTYPES, element_type, transform_obstacle
from fastpose.ops.once import call_once_differentiable

MAX_NATIVE_LENGTH = 512  # its scratch memory grows as the square


def attend(qkv: Tensor, num_heads: int, axis: int, backend: str = "auto") -> Tensor:
    """Attend by multi-head softmax over the tokens of a grid along one of its axes.

    Args:
        qkv: queries, keys and values side by side, [N, T, J, 3·C], floating point.
        num_heads: h, a divisor of C; products are scaled by (C / h)^−½.
        axis: 1: each joint attends over its frames; 2: each frame over its joints.
        backend: "auto", "native" (CPU, float32 and bfloat16, up to 512 tokens a sequence: reads and writes
            tokens where they lie, computes in float32, and keeps nothing but ``qkv`` for the gradient), or
            "reference" (``scaled_dot_product_attention``). What is exported is always the reference.

    Returns:
        [N, T, J, C] in the dtype of ``qkv``.

    Raises:
        ValueError: wrong shape, dtype, axis or backend.
    """
    if not isinstance(num_heads, Integral) or num_heads < 1:
        raise ValueError(f"attend: num_heads must be a positive whole number, got {num_heads!r}")
    if axis not in (1, 2):
        raise ValueError(f"attend: axis must be 1 (frames) or 2 (joints), got {axis!r}")
    if qkv.dim() != 4 or not qkv.is_floating_point() or 0 in qkv.shape or qkv.shape[-1] % (3 * num_heads):
        raise ValueError(
            f"attend: qkv must be floating-point [N, T, J, 3·C], C a multiple of {num_heads = }, "
            f"got {qkv.dtype} {tuple(qkv.shape)}"
        )
    backend = resolve_backend("attend", backend, {"native": _native_obstacle(qkv, axis)})
    if backend == "reference":
        return attend_reference(qkv, num_heads, axis)
    return torch.ops.fastpose.attend(qkv, num_heads, axis)


def _native_obstacle(qkv: Tensor, axis: int) -> str | None:
    if qkv.device.type != "cpu":
        return f"runs on the CPU, and qkv is on {qkv.device}"
    if qkv.dtype not in NATIVE_DTYPES:
        return f"does not take {qkv.dtype}"
    if torch.compiler.is_exporting() or torch.onnx.is_in_onnx_export():
        return "cannot be exported"
    if qkv.shape[axis] > MAX_NATIVE_LENGTH:
        return f"takes at most {MAX_NATIVE_LENGTH} tokens a sequence, got {qkv.shape[axis]}"
    return transform_obstacle()


_library = torch.library.Library("fastpose", "FRAGMENT")
_library.define("attend(Tensor qkv, int num_heads, int axis) -> Tensor")
_library.define("attend_backward(Tensor gradient, Tensor qkv, int num_heads, int axis) -> Tensor")


@torch.library.register_fake("fastpose::attend", lib=_library)
def _new_output(qkv, num_heads, axis):
    return qkv.new_empty((*qkv.shape[:-1], qkv.shape[-1] // 3))


@torch.library.register_fake("fastpose::attend_backward", lib=_library)
def _new_gradient(gradient, qkv, num_heads, axis):
    return qkv.new_empty(qkv.shape)


@torch.library.impl(_library, "attend", "CPU")
def _attend(qkv, num_heads, axis):
    from fastpose._native import native

    output = _new_output(qkv, num_heads, axis)
    qkv = qkv.contiguous()
    native.attend(
        shape=_native_shape(qkv, num_heads, axis),
        element=element_type(qkv),
        qkv=qkv.data_ptr(),
        output=output.data_ptr(),
        threads=torch.get_num_threads(),
    )
    return output


@torch.library.impl(_library, "attend_backward", "CPU")
def _attend_backward(gradient, qkv, num_heads, axis):
    from fastpose._native import native

    result = _new_gradient(gradient, qkv, num_heads, axis)
    gradient, qkv = gradient.contiguous(), qkv.contiguous()
    native.attend_backward(
        shape=_native_shape(qkv, num_heads, axis),
        element=element_type(qkv),
        qkv=qkv.data_ptr(),
        gradient=gradient.data_ptr(),
        result=result.data_ptr(),
        threads=torch.get_num_threads(),
    )
    return result


def _native_shape(qkv: Tensor, num_heads: int, axis: int) -> tuple[int, ...]:
    """Return what runs before, along and after the sequences, heads, and their width."""
    clips, frames, joints, width = qkv.shape
    grid = (clips, frames, joints) if axis == 1 else (clips * frames, joints, 1)
    return (*grid, num_heads, width // (3 * num_heads))


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(qkv, num_heads, axis):
        with torch._C._AutoDispatchBelowAutograd():
            return torch.ops.fastpose.attend(qkv, num_heads, axis)

    @staticmethod
    def setup_context(ctx, inputs, output):
        qkv, ctx.num_heads, ctx.axis = inputs
        ctx.save_for_backward(qkv)

    @staticmethod
    def backward(ctx, gradient):
        (qkv,) = ctx.saved_tensors
        dqkv = call_once_differentiable(
            torch.ops.fastpose.attend_backward, "attend", gradient, qkv, ctx.num_heads, ctx.axis,
            alternative="backend='reference' within torch.nn.attention.sdpa_kernel(SDPBackend.MATH)",
        )  # fmt: skip
        return dqkv, None, None


_library.impl("attend", _Attend.apply, "Autograd")
