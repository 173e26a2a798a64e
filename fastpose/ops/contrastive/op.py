"""Public contrastive losses: checks, precision, and the choice of a backend.

Of the backends (``fastpose.ops.backend``) "triton" and "blocked" need memory O(N D), and "blocked" up to 4096 rows on
the CPU that of half of the pairs; "reference" holds several N x N matrices.
"""

import functools

import torch
from torch import Tensor

from fastpose.ops.backend import resolve_backend, triton_device_obstacle
from fastpose.ops.contrastive import checks, reference
from fastpose.ops.contrastive.autograd import differentiable_loss
from fastpose.ops.contrastive.class_means import class_means
from fastpose.ops.contrastive.tiles import DEFAULT_PRECISION, OPERANDS
from fastpose.ops.launch import interpreting


def contrastive_loss(
    o: Tensor,
    n: Tensor,
    temperature: float | Tensor = 1.0,
    symmetric: bool = False,
    detach_clean: bool = False,
    reduction: str = "mean",
    backend: str = "auto",
    precision: str = "auto",
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
        backend: "auto" ("triton" on CUDA, else "blocked"), "triton", "blocked" or "reference".
        precision: operands of the Triton kernels' products: "bf16", "tf32", "fp32", or "auto": bf16 for
            bfloat16 rows, tf32 for float16 (as many bits), fp32 for float32. Sums are float32, and each
            positive's cosine a float32 product of its own, whatever the operands.

    Returns:
        The loss; float32 for half-precision input, under autocast too, else of the input's dtype. Double
        backward raises RuntimeError except with "reference".

    Raises:
        ValueError: shapes, dtypes or devices that do not fit, no rows, a temperature that is not positive; on
            the CPU also non-finite representations (elsewhere, and under torch.compile, these make the loss
            non-finite).

    Source: A. Novikova, "Pose-based Action Recognition: Robust Models with Contrastive Loss", EPFL VITA.
    """
    checks.reduction(reduction)
    checks.views(o, n)
    checks.temperature(temperature, o)
    verify = functools.partial(checks.values, o=o, n=n)
    backend, precision = _choose("contrastive_loss", backend, precision, o)
    o = o.detach() if detach_clean else o
    if backend != "reference":
        o, n = _operands(backend, o, n)
        return differentiable_loss(
            o, n, None, None, temperature, symmetric, reduction, precision, backend, verify
        )
    verify()
    with torch.autocast(o.device.type, enabled=False):
        losses = reference.clip_losses(_widened(o), _widened(n), temperature, symmetric)
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
    precision: str = "auto",
) -> Tensor:
    """Return ``contrastive_loss`` between the class means of both views, averaged over classes.

    Means are of the raw rows and are normalised afterwards. Only classes that both views have take part, as
    anchors and as keys; with none the loss and its gradients are 0.

    Args:
        o: clean representations [N, D].
        n: noisy representations [N, D].
        labels: classes of the rows of ``o``, int64 [N] in [0, ``num_classes``).
        num_classes: K.
        labels_n: classes of the rows of ``n``; ``labels`` unless given.
        temperature, symmetric, detach_clean, backend, precision: as in ``contrastive_loss``.

    Raises:
        ValueError: as in ``contrastive_loss``; labels of another shape or, on the CPU, out of range (on CUDA
            and under torch.compile reading them would wait: such a label makes the loss NaN).
    """
    checks.views(o, n)
    checks.temperature(temperature, o)
    checks.num_classes(num_classes)
    verify = functools.partial(checks.values, o=o, n=n)
    labels_n = labels if labels_n is None else labels_n
    for name, value in {"labels": labels, "labels_n": labels_n}.items():
        if name == "labels" or value is not labels:
            checks.labels(name, value, o)
            checks.label_range(name, value, num_classes)
    requested = precision
    backend, precision = _choose("group_contrastive_loss", backend, precision, o)
    o = o.detach() if detach_clean else o
    if backend == "triton":
        if requested == "auto" and precision == "bf16":
            precision = "tf32"  # the means are float32, and few
        mean_o, mean_n, counts = class_means(o, n, labels, labels_n, num_classes)
        mean_o = mean_o.detach() if detach_clean else mean_o
    else:
        with torch.autocast(o.device.type, enabled=False):
            o, n = _widened(o), _widened(n)
            if backend == "reference":
                verify()
                return reference.group_loss(o, n, labels, labels_n, num_classes, temperature, symmetric)
            mean_o, count_o = reference.class_means(o, labels, num_classes)
            counted = count_o if labels_n is labels else None
            mean_n, count_n = reference.class_means(n, labels_n, num_classes, counted)
            counts = torch.stack([count_o, count_n])
    return differentiable_loss(
        mean_o, mean_n, None, counts, temperature, symmetric, "mean", precision, backend, verify
    )


def supervised_contrastive_loss(
    z: Tensor,
    labels: Tensor,
    temperature: float | Tensor = 0.1,
    reduction: str = "mean",
    backend: str = "auto",
    precision: str = "auto",
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
        backend, precision: as in ``contrastive_loss``.

    Raises:
        ValueError: as in ``contrastive_loss``; labels of another shape or dtype.
    """
    checks.reduction(reduction)
    checks.rows("z", z)
    checks.temperature(temperature, z)
    checks.labels("labels", labels, z)
    verify = functools.partial(checks.values, z=z)
    backend, precision = _choose("supervised_contrastive_loss", backend, precision, z)
    if backend != "reference":
        (z,) = _operands(backend, z)
        return differentiable_loss(
            z, None, labels, None, temperature, False, reduction, precision, backend, verify
        )
    verify()
    with torch.autocast(z.device.type, enabled=False):
        losses, has_positive = reference.supervised_losses(_widened(z), labels, temperature)
    if reduction == "none":
        return losses
    return losses.sum() / has_positive.sum().clamp_min(1) if reduction == "mean" else losses.sum()


def _choose(op: str, backend: str, precision: str, x: Tensor) -> tuple[str, str]:
    """Return the backend that serves these rows, and the precision of its operands."""
    if precision not in ("auto", *OPERANDS):
        raise ValueError(f"{op}: precision must be one of auto, {', '.join(OPERANDS)}, got {precision!r}")
    if backend == "auto" and precision == "auto" and x.device.type == "cpu" and not interpreting():
        # what follows, in a third of its time, which counts in losses of few rows
        return "reference" if torch.compiler.is_exporting() else "blocked", "fp32"
    obstacle = None if x.dtype in DEFAULT_PRECISION else f"does not take {x.dtype}"
    if not (backend == "triton" and interpreting()):
        obstacle = triton_device_obstacle(x) or obstacle
    backend = resolve_backend(op, backend, {"triton": obstacle, "blocked": None})
    if backend == "triton":
        return backend, DEFAULT_PRECISION[x.dtype] if precision == "auto" else precision
    if precision not in ("auto", "fp32"):
        raise ValueError(f"{op}: precision={precision!r} needs backend='triton', got {backend!r}")
    return backend, "fp32"


def _operands(backend: str, *rows: Tensor) -> tuple[Tensor, ...]:
    return rows if backend == "triton" else tuple(_widened(x) for x in rows)


def _widened(x: Tensor) -> Tensor:
    return x.float() if x.dtype.itemsize < 4 else x
