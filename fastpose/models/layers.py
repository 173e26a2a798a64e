"""Building blocks of the 3D convolutional backbones.

Attribute names (conv, bn, conv1, …, downsample) are those of PYSKL's modules, so that state dicts fit.
"""

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fastpose.models.inputs.pose_input import ImplicitHeatmaps, is_drawn
from fastpose.models.row_chain import can_chain, forward_chain, has_hooks
from fastpose.ops.layers.batch_norm import batch_norm_relu, update_running_statistics
from fastpose.ops.layers.batch_norm.across import batch_norm_across
from fastpose.ops.layers.depthwise import depthwise_conv3d
from fastpose.ops.layers.norm_depthwise import batch_norm_depthwise
from fastpose.ops.layers.row_conv import norm_conv3d, norm_conv_obstacle
from fastpose.ops.stem import pose_stem

Size3 = tuple[int, int, int]


class BatchNorm(nn.BatchNorm3d):
    """Batch norm of volumes [B, C, T, H, W] or of rows [N, C]; ``count_batch`` counts for all of a network's.

    A lone row, such as an epoch's last clip may be, has no statistics of its own: the running ones normalise it.

    Attributes:
        views: V, of each clip, which in training follow each other in a batch of B = N·V. Each view is normalised by
            its own statistics, and moves the running ones in turn, as if it passed alone.
        synchronized: whether in training the statistics are those of all processes' clips.
        absent: whether in training this process has no clips, and what passes only stands in for them. Without
            common statistics, the running ones normalise it then, and stay as they are.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor  # which nn.BatchNorm3d may do without, as without a momentum
    momentum: float
    views = 1
    synchronized = absent = False

    @property
    def own(self) -> bool:
        """Whether in training the statistics are those of what passes, as one batch."""
        return self.views == 1 and not (self.synchronized or self.absent)

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() not in (2, 5):
            raise ValueError(f"expected [B, C, T, H, W] or [N, C], got {tuple(input.shape)}")

    def forward(
        self,
        x: Tensor,
        *,
        relu: bool = False,
        residual: Tensor | None = None,
        statistics: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Normalise, add ``residual``, then apply ReLU on request; ``statistics`` are those of x, where known."""
        self._check_input_dim(x)
        if self.training and self.synchronized:
            return self._normalize_across(x, relu, residual)
        training = self.training and not self.absent and not (x.dim() == 2 and len(x) == self.views)
        if training and self.views > 1:
            return self._normalize_views(x, relu, residual)
        weight, bias = self._affine_parts()
        return batch_norm_relu(
            x, self.running_mean, self.running_var, weight, bias, training, self.momentum, self.eps,
            residual=residual, relu=relu, statistics=statistics,
        )  # fmt: skip

    def move_statistics(self, x: Tensor, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics towards those of x, of which ``variance`` is biased."""
        if x.numel() == x.shape[1]:
            raise ValueError(f"batch norm: training needs more than one value per channel, got {x.shape = }")
        update_running_statistics(x, self.running_mean, self.running_var, mean, variance, self.momentum)

    def _affine_parts(self) -> tuple[Tensor, Tensor]:
        """Return weight and bias; 1 and 0 where there are none."""
        if self.affine:
            return self.weight, self.bias
        return torch.ones_like(self.running_mean), torch.zeros_like(self.running_mean)

    def _normalize_across(self, x: Tensor, relu: bool, residual: Tensor | None) -> Tensor:
        """Do it by the statistics of all processes' clips."""
        y = batch_norm_across(
            x, *self._affine_parts(), self.running_mean, self.running_var, self.momentum, self.eps, absent=self.absent
        )  # fmt: skip
        y = y if residual is None else y + residual
        return y.relu() if relu else y

    def _normalize_views(self, x: Tensor, relu: bool, residual: Tensor | None) -> Tensor:
        """Do it as batch norm of the clips, whose channels are those of all views."""
        mean, variance = self.running_mean.repeat(self.views), self.running_var.repeat(self.views)
        weight, bias = (part.repeat(self.views) for part in self._affine_parts())
        y = batch_norm_relu(
            self._side_by_side(x), mean, variance, weight, bias, True, self.momentum, self.eps,
            residual=None if residual is None else self._side_by_side(residual), relu=relu,
        )  # fmt: skip
        for running, moved in (self.running_mean, mean), (self.running_var, variance):
            by_view = moved.view(self.views, -1)
            last = by_view[0]
            for view in by_view[1:]:
                last = view + (1 - self.momentum) * (last - running)
            running.copy_(last)
        return y.unflatten(1, (self.views, -1)).flatten(0, 1)

    def _side_by_side(self, x: Tensor) -> Tensor:
        """[N·V, C, …] → [N, V·C, …]."""
        return x.unflatten(0, (-1, self.views)).flatten(1, 2)

    def forward_depthwise(
        self, x: Tensor, conv: "Convolution", *, relu: bool, statistics: tuple[Tensor, Tensor] | None = None
    ) -> Tensor:
        """Return ``conv(self(x, relu=relu))`` for a depthwise convolution, in one pass; arguments as for a call."""
        return batch_norm_depthwise(
            x, self.running_mean, self.running_var, self.weight, self.bias, conv.weight, conv.stride,
            self.training, self.momentum, self.eps, relu=relu, statistics=statistics,
        )  # fmt: skip


def separate_views(network: nn.Module, views: int) -> bool:
    """Let all batch norms of ``network`` take batches of so many views; return whether they can."""
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    able = [norm for norm in norms if isinstance(norm, BatchNorm)]
    if len(able) < len(norms):
        return False
    for norm in able:
        norm.views = views
    return True


def count_batch(network: nn.Module) -> None:
    """Add a batch of each view to those that the batch norms of ``network`` count in training: in one kernel."""
    norms = [module for module in network.modules() if isinstance(module, BatchNorm) and module.training]
    if norms:
        counts = [norm.num_batches_tracked for norm in norms]
        torch._foreach_add_(counts, norms[0].views)  # pyright: ignore[reportPrivateImportUsage]


class Convolution(nn.Conv3d):
    """A convolution without bias that pads by half its kernel; ``depthwise`` filters each channel alone.

    On the CPU it runs natively in float32, depthwise in bfloat16 too. Of a 1×1 image only centre taps meet anything but
    padding.
    """

    kernel_size: Size3
    stride: Size3
    padding: Size3

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: Size3,
        stride: Size3 = (1, 1, 1),
        *,
        depthwise: bool = False,
    ):
        padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
        groups = in_channels if depthwise else 1
        super().__init__(in_channels, out_channels, kernel, stride, padding, groups=groups, bias=False)
        self.depthwise = depthwise
        self._skips_places = kernel == (1, 1, 1) and stride != (1, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu" or torch.compiler.is_exporting():
            return super().forward(x)
        if self.depthwise:
            return depthwise_conv3d(x, self.weight, self.stride)
        taps = self.taps(x)
        if x.ndim == 5 and norm_conv_obstacle(x, None, taps) is None:
            return norm_conv3d(x, None, taps, self.stride)[0]
        if taps is not self.weight:
            return F.conv3d(x, taps, None, (self.stride[0], 1, 1), (self.padding[0], 0, 0))
        if self._skips_places and x.is_contiguous(memory_format=torch.channels_last_3d):
            return F.conv3d(_EveryNth.apply(x, self.stride), self.weight)
        return super().forward(x)

    def taps(self, x: Tensor) -> Tensor:
        """Return the weight, or of a 1×1 image x its centre taps."""
        return self.center_taps() if x.shape[3:] == (1, 1) else self.weight

    def center_taps(self) -> Tensor:
        """Return the part of the weight that a 1×1 image meets, [C', C, kt, 1, 1]; the weight where that is all."""
        _, height, width = self.kernel_size
        if height == width == 1:
            return self.weight
        return self.weight[..., height // 2, width // 2, None, None]


class StemConvolution(Convolution):
    """The first convolution of a network; heatmaps that are not drawn are convolved from their keypoints."""

    def forward(self, x: Tensor | ImplicitHeatmaps) -> Tensor:
        if is_drawn(x):
            return super().forward(x)
        return pose_stem(x.keypoints, self.weight, **x.drawing, stride=self.stride, padding=self.padding)


class _EveryNth(torch.autograd.Function):
    """x[:, :, ::t, ::h, ::w], dense in channels_last_3d order; slicing would fill its gradient axis by axis."""

    @staticmethod
    def forward(x: Tensor, stride: Size3) -> Tensor:
        t, h, w = stride
        return x[:, :, ::t, ::h, ::w].contiguous(memory_format=torch.channels_last_3d)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Size3], output: Tensor) -> None:
        ctx.shape, ctx.stride = inputs[0].shape, inputs[1]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        t, h, w = ctx.stride
        result = torch.empty(
            ctx.shape, dtype=gradient.dtype, device=gradient.device, memory_format=torch.channels_last_3d
        ).zero_()
        result[:, :, ::t, ::h, ::w] = gradient
        return result, None


class MaxPool(nn.MaxPool3d):
    """Max-pooling in the format of its input, where autocast on the CPU would go through float32."""

    kernel_size: Size3
    stride: Size3
    padding: Size3

    def forward(self, x: Tensor) -> Tensor:
        if not torch.is_autocast_enabled(x.device.type):
            return self._pool(x)
        with torch.autocast(x.device.type, enabled=False):
            return self._pool(x)

    def _pool(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu" and self.kernel_size[0] == self.stride[0] == 1:
            return self.pool_frames(x)
        return cast(Tensor, super().forward(x))  # a pair where indices are asked for

    def pool_frames(self, x: Tensor) -> Tensor:
        """Pool each frame of [B, C, T, H, W] by itself: torch's compiler keeps places in images as bytes, not int64."""
        frames = x.transpose(1, 2)  # [B, T, C, H, W]
        pooled = F.max_pool2d(frames.flatten(0, 1), self.kernel_size[1:], self.stride[1:], self.padding[1:])
        return pooled.unflatten(0, frames.shape[:2]).transpose(1, 2)


class ConvNorm(nn.Module):
    """``Convolution``, then batch norm, then ReLU on request.

    Attributes:
        quantized: what evaluation computes in place of them, if anything (``fastpose.models.quantized``).
    """

    quantized: Any = None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: Size3,
        stride: Size3 = (1, 1, 1),
        *,
        depthwise: bool = False,
        relu: bool = True,
        convolution: type[Convolution] = Convolution,
    ):
        super().__init__()
        self.conv = convolution(in_channels, out_channels, kernel, stride, depthwise=depthwise)
        self.bn = BatchNorm(out_channels)
        self.relu = relu

    def forward(self, x: Tensor | ImplicitHeatmaps, residual: Tensor | None = None) -> Tensor:
        if is_drawn(x):
            if self.quantized is not None:
                return self.quantized(x, residual)
            if can_chain([self], x):
                return forward_chain([self], x, residual)
        return self.bn(self.conv(x), relu=self.relu or residual is not None, residual=residual)


class ResidualBlock(nn.Module):
    """ReLU of three layers' output plus the input, which ``downsample`` brings to the same shape."""

    def __init__(self, conv1: ConvNorm, conv2: ConvNorm, conv3: ConvNorm, downsample: ConvNorm | None):
        super().__init__()
        self.conv1 = conv1
        self.conv2 = conv2
        self.conv3 = conv3
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        layers = [self.conv1, self.conv2, self.conv3]
        if can_chain(layers, x):
            return forward_chain(layers, x, identity)
        return self.conv3(self._forward_narrow(x), identity)

    def _forward_narrow(self, x: Tensor) -> Tensor:
        first, second = self.conv1, self.conv2
        fuses = self.training or not torch.is_grad_enabled()  # one operator, without gradients in evaluation
        if not (second.conv.depthwise and fuses and x.device.type == "cpu" and first.bn.own):
            return second(first(x))
        if first.quantized is not None or has_hooks(first, first.bn, second, second.conv):  # not called below
            return second(first(x))
        statistics = None
        if first.bn.training and can_chain([first], x):
            x, mean, variance = norm_conv3d(x, None, first.conv.taps(x), first.conv.stride)
            statistics = mean, variance
        else:
            x = first.conv(x)
        x = first.bn.forward_depthwise(x, second.conv, relu=first.relu, statistics=statistics)
        return second.bn(x, relu=second.relu)
