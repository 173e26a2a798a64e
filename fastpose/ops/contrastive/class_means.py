"""Class means as an operator with a gradient, on the GPU: deterministic, one launch each way."""

import torch
from torch import Tensor

from fastpose.ops.launch import ceil_div, launch, rows_contiguous
from fastpose.ops.once import call_once_differentiable


def class_means(
    x: Tensor, y: Tensor, labels_x: Tensor, labels_y: Tensor, num_classes: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the mean of the rows of each class, in both views.

    Args:
        x, y: rows [N, D] on a CUDA device.
        labels_x, labels_y: their classes, int64 [N]; one outside [0, K) makes its view's results NaN.
        num_classes: K.

    Returns:
        Means of x and of y, float32 [K, D], 0 for classes without rows; and counts float32 [2, K].
    """
    # torch.compile does not take one tensor for two arguments
    return _ClassMeans.apply(x, y, labels_x, None if labels_y is labels_x else labels_y, num_classes)


class _ClassMeans(torch.autograd.Function):
    @staticmethod
    def forward(x, y, labels_x, labels_y, num_classes):
        return torch.ops.fastpose.class_means(x, y, labels_x, labels_y, num_classes)

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, _y, labels_x, labels_y, _num_classes = inputs
        ctx.mark_non_differentiable(output[2])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(labels_x, labels_y, output[2])
        ctx.dtype = x.dtype

    @staticmethod
    def backward(ctx, grad_x, grad_y, _):
        if grad_x is None and grad_y is None:
            return (None,) * 5
        dx, dy = call_once_differentiable(
            torch.ops.fastpose.class_means_backward, "group_contrastive_loss", grad_x, grad_y,
            *ctx.saved_tensors, ctx.dtype,
        )  # fmt: skip
        return None if grad_x is None else dx, None if grad_y is None else dy, None, None, None


_library = torch.library.Library("fastpose", "FRAGMENT")
_library.define(
    "class_means(Tensor x, Tensor y, Tensor labels_x, Tensor? labels_y, SymInt num_classes) "
    "-> (Tensor, Tensor, Tensor)"
)
_library.define(
    "class_means_backward(Tensor? grad_x, Tensor? grad_y, Tensor labels_x, Tensor? labels_y, Tensor counts, "
    "ScalarType dtype) -> (Tensor, Tensor)"
)


@torch.library.register_fake("fastpose::class_means", lib=_library)
def _new_means(x, y, labels_x, labels_y, num_classes):
    shapes = [(num_classes, x.shape[1])] * 2 + [(2, num_classes)]
    return tuple(x.new_empty(shape, dtype=torch.float32) for shape in shapes)


@torch.library.register_fake("fastpose::class_means_backward", lib=_library)
def _new_gradients(grad_x, grad_y, labels_x, labels_y, counts, dtype):
    """Allocate the gradients; one that is not asked for is empty."""
    return tuple(
        counts.new_empty(0 if grad is None else (labels_x.shape[0], grad.shape[1]), dtype=dtype)
        for grad in (grad_x, grad_y)
    )


@torch.library.impl(_library, "class_means", "CompositeExplicitAutograd")
def _class_means(x, y, labels_x, labels_y, num_classes):
    from fastpose.ops.contrastive import kernels_class_means as kernels

    count, width = x.shape
    x, y = rows_contiguous(x), rows_contiguous(y)
    labels_y = labels_x if labels_y is None else labels_y
    means = _new_means(x, y, labels_x, labels_y, num_classes)
    block_k, block_d = 64, 32
    launch(
        kernels.means_kernel, (ceil_div(num_classes, block_k), ceil_div(width, block_d), 2),
        x, y, labels_x.contiguous(), labels_y.contiguous(), *means, count, num_classes, width,
        x.stride(0), y.stride(0), BLOCK_K=block_k, BLOCK_N=32, BLOCK_D=block_d, num_warps=4, num_stages=3,
        enable_fp_fusion=True,
    )  # fmt: skip
    return means


@torch.library.impl(_library, "class_means_backward", "CompositeExplicitAutograd")
def _class_means_backward(grad_x, grad_y, labels_x, labels_y, counts, dtype):
    from fastpose.ops.contrastive import kernels_class_means as kernels

    dx, dy = gradients = _new_gradients(grad_x, grad_y, labels_x, labels_y, counts, dtype)
    labels_y = labels_x if labels_y is None else labels_y
    count, (_, num_classes) = len(labels_x), counts.shape
    width = (grad_x if grad_y is None else grad_y).shape[1]
    block_n, block_d = 16, 128
    launch(
        kernels.means_grad_kernel, (ceil_div(count, block_n), ceil_div(width, block_d)),
        *(counts if grad is None else grad.contiguous() for grad in (grad_x, grad_y)),
        labels_x.contiguous(), labels_y.contiguous(), counts, dx, dy, count, num_classes, width,
        BLOCK_N=block_n, BLOCK_D=block_d, NEEDS_X=grad_x is not None, NEEDS_Y=grad_y is not None, num_warps=4,
        enable_fp_fusion=True,
    )  # fmt: skip
    return gradients
