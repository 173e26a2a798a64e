"""Public contrastive losses: checks, precision, and the choice of a backend."""

import math

import torch
from torch import Tensor

from fastpose.ops._backend import resolve_backend
from fastpose.ops.contrastive import reference

REDUCTIONS = ("mean", "sum", "none")
NO_NATIVE = "does not exist for this op"


def contrastive_loss(
    o: Tensor,
    n: Tensor,
    temperature: float | Tensor = 1.0,
    symmetric: bool = False,
    detach_clean: bool = False,
    reduction: str = "mean",
    backend: str = "auto",
) -> Tensor:
    """Pull the two views of each clip together, push all other rows away.

    With cosine similarity and h = exp(cos / τ), the loss of clip i is
    −log[ h(o_i, n_i) / (Σ_k h(o_i, n_k) + Σ_{k≠i} h(o_i, o_k)) ].

    Args:
        o: clean representations [N, D], floating point; normalised here. A row of zeros has cosine 0 with
            every row, and gradient 0.
        n: noisy representations [N, D], of the same dtype and device; row i is the same clip as in ``o``.
        temperature: τ > 0, a number, or a tensor of no dimensions, which then receives a gradient.
        symmetric: each clip's loss is the mean over its two views as anchors.
        detach_clean: no gradient flows into ``o``.
        reduction: "mean" over clips, "sum", or "none" for [N].
        backend: "auto" or "reference".

    Returns:
        The loss; float32 for half-precision input, under autocast too, else of the input's dtype.

    Raises:
        ValueError: shapes, dtypes or devices that do not fit, no rows, a temperature that is not positive; on
            the CPU also non-finite representations (elsewhere these make the loss non-finite).

    Source: A. Novikova, "Pose-based Action Recognition: Robust Models with Contrastive Loss", EPFL VITA.
    """
    resolve_backend("contrastive_loss", backend, NO_NATIVE)
    _check_reduction(reduction)
    _check_views(o, n)
    _check_temperature(temperature, o)
    with torch.autocast(o.device.type, enabled=False):
        o, n = _in_precision(o.detach() if detach_clean else o), _in_precision(n)
        losses = reference.clip_losses(o, n, temperature, symmetric)
    if reduction == "none":
        return losses
    return losses.mean() if reduction == "mean" else losses.sum()


def group_contrastive_loss(
    o: Tensor,
    n: Tensor,
    labels: Tensor,
    num_classes: int,
    labels_n: Tensor | None = None,
    temperature: float | Tensor = 1.0,
    symmetric: bool = False,
    detach_clean: bool = False,
    backend: str = "auto",
) -> Tensor:
    """``contrastive_loss`` between the class means of both views, averaged over classes.

    Means are of the raw rows and are normalised afterwards. Only classes that both views have take part, as
    anchors and as keys; with none the loss and its gradients are 0.

    Args:
        o: clean representations [N, D].
        n: noisy representations [N, D].
        labels: classes of the rows of ``o``, int64 [N] in [0, ``num_classes``).
        num_classes: K.
        labels_n: classes of the rows of ``n``; ``labels`` unless given.
        temperature, symmetric, detach_clean, backend: as in ``contrastive_loss``.

    Raises:
        ValueError: as in ``contrastive_loss``; labels of another shape or out of range.
    """
    resolve_backend("group_contrastive_loss", backend, NO_NATIVE)
    _check_views(o, n)
    _check_temperature(temperature, o)
    if not isinstance(num_classes, int) or num_classes < 1:
        raise ValueError(f"num_classes must be a positive whole number, got {num_classes!r}")
    labels_n = labels if labels_n is None else labels_n
    for name, value in {"labels": labels, "labels_n": labels_n}.items():
        _check_labels(name, value, o)
        low, high = value.aminmax()
        if low < 0 or high >= num_classes:
            raise ValueError(f"{name} must lie in [0, {num_classes}), got {low.item()} to {high.item()}")
    with torch.autocast(o.device.type, enabled=False):
        o, n = _in_precision(o.detach() if detach_clean else o), _in_precision(n)
        return reference.group_loss(o, n, labels, labels_n, num_classes, temperature, symmetric)


def supervised_contrastive_loss(
    z: Tensor,
    labels: Tensor,
    temperature: float | Tensor = 0.1,
    reduction: str = "mean",
    backend: str = "auto",
) -> Tensor:
    """Pull rows of one class together, push all other rows away (Khosla et al. 2020).

    With P(c) the other rows of c's class, the loss of row c is
    −1/|P(c)| Σ_{p∈P(c)} log( h(z_c, z_p) / Σ_{b≠c} h(z_c, z_b) ).

    Args:
        z: representations [M, D] of both views together, floating point; normalised here.
        labels: int64 [M], any values.
        temperature: τ > 0, a number, or a tensor of no dimensions.
        reduction: "mean" over the rows with a positive (0 where there is none), "sum", or "none" for [M], in
            which rows without a positive are 0.
        backend: "auto" or "reference".

    Raises:
        ValueError: as in ``contrastive_loss``; labels of another shape or dtype.
    """
    resolve_backend("supervised_contrastive_loss", backend, NO_NATIVE)
    _check_reduction(reduction)
    _check_rows("z", z)
    _check_temperature(temperature, z)
    _check_labels("labels", labels, z)
    with torch.autocast(z.device.type, enabled=False):
        losses, has_positive = reference.supervised_losses(_in_precision(z), labels, temperature)
    if reduction == "none":
        return losses
    return losses.sum() / has_positive.sum().clamp_min(1) if reduction == "mean" else losses.sum()


def _in_precision(x: Tensor) -> Tensor:
    return x.float() if x.dtype.itemsize < 4 else x


def _check_reduction(reduction: str) -> None:
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction must be one of {', '.join(REDUCTIONS)}, got {reduction!r}")


def _check_rows(name: str, x: Tensor) -> None:
    if not isinstance(x, Tensor) or not x.is_floating_point():
        got = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(f"{name} must be a floating-point tensor, got {got}")
    if x.dim() != 2 or 0 in x.shape:
        raise ValueError(f"{name} must be [rows, dimensions] with at least one of each, got {tuple(x.shape)}")
    if x.device.type == "cpu" and not (finite := x.detach().isfinite().all(dim=1)).all():
        raise ValueError(f"{name} has a non-finite value in row {(~finite).nonzero()[0].item()}")


def _check_views(o: Tensor, n: Tensor) -> None:
    _check_rows("o", o)
    _check_rows("n", n)
    if o.shape != n.shape:
        raise ValueError(f"o and n must have one shape, got {tuple(o.shape)} and {tuple(n.shape)}")
    if o.dtype != n.dtype or o.device != n.device:
        raise ValueError(
            f"o and n must have one dtype and device, got {o.dtype} on {o.device} and {n.dtype} on {n.device}"
        )


def _check_labels(name: str, labels: Tensor, x: Tensor) -> None:
    if not isinstance(labels, Tensor) or labels.dtype != torch.int64:
        got = labels.dtype if isinstance(labels, Tensor) else type(labels).__name__
        raise ValueError(f"{name} must be an int64 tensor, got {got}")
    if labels.shape != x.shape[:1]:
        raise ValueError(f"{name} must be [{x.shape[0]}], one per row, got {tuple(labels.shape)}")
    if labels.device != x.device:
        raise ValueError(f"{name} must be on {x.device} as the rows are, got {labels.device}")


def _check_temperature(temperature: float | Tensor, x: Tensor) -> None:
    if isinstance(temperature, Tensor):
        if temperature.dim() != 0 or not temperature.is_floating_point():
            raise ValueError(
                "a temperature tensor must be floating point without dimensions, got "
                f"{temperature.dtype} {tuple(temperature.shape)}"
            )
        if temperature.device.type != "cpu":
            if temperature.device != x.device:
                raise ValueError(f"the temperature is on {temperature.device}, the rows on {x.device}")
            return  # looking at its value would wait for the device
        temperature = temperature.item()
    if not (math.isfinite(temperature) and temperature > 0):
        raise ValueError(f"temperature must be a positive number, got {temperature}")
