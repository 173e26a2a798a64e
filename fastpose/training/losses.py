"""The training objective: cross-entropy, and contrast between clean and noisy views."""

from dataclasses import dataclass, field
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from fastpose.models.outputs import ModelOutput
from fastpose.ops import contrastive_loss, group_contrastive_loss, supervised_contrastive_loss
from fastpose.settings import LossConfig


@dataclass(frozen=True, slots=True)
class PoseLoss:
    """L = L_ce + γ1·L_inst + γ2·L_gr + w·L_supcon; a term without weight is not computed.

    Args:
        settings: weights, temperatures and forms of the terms.
        contrasts: whether views are contrasted at all; without it the loss is the cross-entropy alone.
        precision: of the products of the instance and supervised contrastive terms on CUDA, as in
            ``contrastive_loss``, where the settings say "auto". The rows themselves, each positive's cosine and
            the group term, whose means are few, stay float32; so does the CPU.
        partial: whether labels may be unknown, -1.
        class_weights: of the cross-entropy of the clips of each class, float32 [K] where the logits are; 1 by default.

    A label of -1 is unknown: such a clip is no part of the cross-entropy and of the groups; in the supervised contrast
    its two views are a class of their own.
    """

    settings: LossConfig = field(default_factory=LossConfig)
    contrasts: bool = True
    precision: str = "auto"
    class_weights: Tensor | None = None
    partial: bool = False

    @property
    def product_precision(self) -> str:
        """Precision of the products of the instance and supervised contrastive terms on CUDA."""
        return (
            self.precision if self.settings.contrast_precision == "auto" else self.settings.contrast_precision
        )

    def needs_views(self, epoch: int = 0) -> bool:
        """Return whether ``epoch`` (from 0) has a term that contrasts clean and noisy views."""
        s = self.settings
        return self.contrasts and max(s.gamma1, s.gamma2, s.supcon_weight) > 0 and epoch >= s.sup_thresh

    def __call__(
        self,
        supervised: ModelOutput,
        labels: Tensor,
        clean: ModelOutput | None = None,
        noisy: ModelOutput | None = None,
        view_labels: Tensor | None = None,
        guessed: Tensor | None = None,
        epoch: int = 0,
    ) -> dict[str, Tensor]:
        """Compute the loss and its terms.

        Args:
            supervised: of the clips that cross-entropy sees.
            labels: their classes, int64 [B].
            clean: of the clean views [N], needed where ``needs_views``; may be ``supervised`` itself.
            noisy: of the noisy views of the same clips [N].
            view_labels: classes of the views, int64 [N]; ``labels`` unless given.
            guessed: ``labels`` [B], and those that were guessed for clips without one (``guess``).
            epoch: from 0.

        Returns:
            "loss", to be differentiated, and its unweighted terms "loss_ce", "loss_instance", "loss_group",
            "loss_supcon", detached, 0 where not computed. All float32 scalars, float64 for such input.

        Raises:
            ValueError: a view is missing, or an operator's own complaint.
        """
        logits = _at_least_float32(supervised.logits)
        terms = {"ce": self._cross_entropy(logits, labels, guessed)}
        weights = {"ce": 1.0}
        if self.needs_views(epoch):
            if clean is None or noisy is None:
                raise ValueError(f"epoch {epoch} contrasts views: both clean and noisy outputs are needed")
            terms |= self._contrast(clean, noisy, labels if view_labels is None else view_labels)
            weights |= self._weights()
        zero = logits.new_zeros(())
        result = {"loss": cast(Tensor, sum(weights[name] * term for name, term in terms.items()))}
        for name in ("ce", "instance", "group", "supcon"):
            result[f"loss_{name}"] = terms.get(name, zero).detach()
        return result

    def guess(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return ``labels`` [B] with the model's own answers in place of those that are unknown, where it is sure.

        Source: D.-H. Lee, "Pseudo-Label", 2013; the threshold as in Sohn et al., "FixMatch", 2020.
        """
        probability, answer = _at_least_float32(logits.detach()).softmax(dim=1).max(dim=1)
        sure = (labels < 0) & (probability >= self.settings.pseudo_threshold)
        return torch.where(sure, answer, labels)

    def _cross_entropy(self, logits: Tensor, labels: Tensor, guessed: Tensor | None) -> Tensor:
        """Return the mean over labelled clips, and that over the others, of which those not guessed count 0."""
        smoothing = self.settings.label_smoothing
        if not self.partial and self.class_weights is None:
            return F.cross_entropy(logits, labels, label_smoothing=smoothing)
        known = labels >= 0
        classes = (labels if guessed is None else guessed).clamp_min(0)
        each = F.cross_entropy(logits, classes, label_smoothing=smoothing, reduction="none")
        if self.class_weights is not None:
            each = each * self.class_weights[classes]
        loss = torch.where(known, each, 0).sum() / known.sum().clamp_min(1)
        if guessed is None:
            return loss
        others = torch.where(~known & (guessed >= 0), each, 0).sum() / (~known).sum().clamp_min(1)
        return loss + others

    def _weights(self) -> dict[str, float]:
        s = self.settings
        return {"instance": s.gamma1, "group": s.gamma2, "supcon": s.supcon_weight}

    def _contrast(self, clean: ModelOutput, noisy: ModelOutput, labels: Tensor) -> dict[str, Tensor]:
        s, weights = self.settings, self._weights()
        o, n = self._represent(clean), self._represent(noisy)  # [N, D]
        form = {"temperature": s.temperature, "symmetric": s.symmetric, "detach_clean": s.detach_clean}
        precision = self.product_precision if o.device.type == "cuda" else "auto"
        terms = {}
        if weights["instance"] > 0:
            terms["instance"] = contrastive_loss(o, n, **form, precision=precision)
        if weights["group"] > 0:
            num_classes = clean.logits.shape[1]
            if s.group_labels == "pseudo":
                groups, groups_n = clean.logits.argmax(dim=1), noisy.logits.argmax(dim=1)
            elif self.partial:  # a class that one view alone has takes no part
                groups = torch.where(labels < 0, num_classes, labels)
                groups_n = torch.where(labels < 0, num_classes + 1, labels)
                num_classes += 2
            else:
                groups, groups_n = labels, labels
            terms["group"] = group_contrastive_loss(o, n, groups, num_classes, groups_n, **form)
        if weights["supcon"] > 0:
            both = torch.cat([o, n])  # [2N, D]
            if self.partial:
                alone = clean.logits.shape[1] + torch.arange(len(labels), device=labels.device)
                labels = torch.where(labels < 0, alone, labels)
            terms["supcon"] = supervised_contrastive_loss(
                both, labels.repeat(2), s.supcon_temperature, precision=precision
            )
        return terms

    def _represent(self, output: ModelOutput) -> Tensor:
        if self.settings.representation == "features":
            return _at_least_float32(output.features)
        logits = _at_least_float32(output.logits)
        return logits.softmax(dim=1) if self.settings.representation == "softmax" else logits


def _at_least_float32(x: Tensor) -> Tensor:
    return x.float() if x.dtype.itemsize < 4 else x


def class_weights(labels: NDArray[np.int64], num_classes: int, rule: str) -> Tensor | None:
    """Return weights of classes, float32 [K], of mean 1 over the clips of classes ``labels``; None for no weights.

    Args:
        labels: of the labelled training clips, int64 [n].
        num_classes: K; a class without clips has weight 0.
        rule: as ``LossConfig.class_weights``.
    """
    if rule == "none":
        return None
    sizes = np.bincount(labels, minlength=num_classes).astype(float)
    met = sizes > 0
    weights = np.zeros(num_classes)
    weights[met] = sizes[met] ** (-0.5 if rule == "sqrt" else -1.0)
    return torch.from_numpy((weights / weights[labels].mean()).astype(np.float32))
