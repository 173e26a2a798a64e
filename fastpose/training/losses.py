"""The training objective: cross-entropy, and contrast between clean and noisy views."""

from dataclasses import dataclass, field
from typing import cast

import torch
import torch.nn.functional as F
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
    """

    settings: LossConfig = field(default_factory=LossConfig)
    contrasts: bool = True
    precision: str = "auto"

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
        epoch: int = 0,
    ) -> dict[str, Tensor]:
        """Compute the loss and its terms.

        Args:
            supervised: of the clips that cross-entropy sees.
            labels: their classes, int64 [B].
            clean: of the clean views [N], needed where ``needs_views``; may be ``supervised`` itself.
            noisy: of the noisy views of the same clips [N].
            view_labels: classes of the views, int64 [N]; ``labels`` unless given.
            epoch: from 0.

        Returns:
            "loss", to be differentiated, and its unweighted terms "loss_ce", "loss_instance", "loss_group",
            "loss_supcon", detached, 0 where not computed. All float32 scalars, float64 for such input.

        Raises:
            ValueError: a view is missing, or an operator's own complaint.
        """
        logits = _at_least_float32(supervised.logits)
        terms = {"ce": F.cross_entropy(logits, labels, label_smoothing=self.settings.label_smoothing)}
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
            groups, groups_n = labels, labels
            if s.group_labels == "pseudo":
                groups, groups_n = clean.logits.argmax(dim=1), noisy.logits.argmax(dim=1)
            terms["group"] = group_contrastive_loss(o, n, groups, clean.logits.shape[1], groups_n, **form)
        if weights["supcon"] > 0:
            both = torch.cat([o, n])  # [2N, D]
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
