"""The training objective: cross-entropy, and contrast between clean and noisy views."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fastpose.models.outputs import ModelOutput
from fastpose.ops import contrastive_loss, group_contrastive_loss, supervised_contrastive_loss

REPRESENTATIONS = ("features", "logits", "softmax")
GROUP_LABELS = ("true", "pseudo")
PRECISIONS = ("auto", "bf16", "tf32", "fp32")


@dataclass(frozen=True, slots=True, kw_only=True)
class PoseLoss:
    """L = L_ce + γ1·L_inst + γ2·L_gr + w·L_supcon; a term without weight is not computed."""

    instance_weight: float = 0.0  # γ1
    group_weight: float = 0.0  # γ2
    supcon_weight: float = 0.0  # w
    label_smoothing: float = 0.0  # of the cross-entropy
    temperature: float = 1.0  # of the instance and group terms
    supcon_temperature: float = 0.1
    representation: str = "features"  # what is contrasted: "features", "logits" or "softmax" of the logits
    group_labels: str = "true"  # "true", or "pseudo": each view's own most probable class
    symmetric: bool = False
    detach_clean: bool = False  # no gradient of the instance and group terms into the clean view
    sup_thresh: int = 0  # epochs of cross-entropy alone before the other terms begin
    # Of the instance and supervised contrastive terms' products on CUDA, as in `contrastive_loss`. The rows
    # themselves, each positive's cosine and the group term, whose means are few, stay float32; so does the CPU.
    precision: str = "auto"

    def __post_init__(self) -> None:
        for name in ("instance_weight", "group_weight", "supcon_weight", "sup_thresh"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} must be 0 or more, got {value!r}")
        for name in ("temperature", "supcon_temperature"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} must be positive, got {value!r}")
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing must lie in [0, 1), got {self.label_smoothing!r}")
        choices = {
            "representation": REPRESENTATIONS,
            "group_labels": GROUP_LABELS,
            "precision": PRECISIONS,
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}")

    def needs_views(self, epoch: int = 0) -> bool:
        """Whether ``epoch`` (from 0) has a term that contrasts clean and noisy views."""
        weighted = self.instance_weight > 0 or self.group_weight > 0 or self.supcon_weight > 0
        return weighted and epoch >= self.sup_thresh

    def __call__(
        self,
        supervised: ModelOutput,
        labels: Tensor,
        clean: ModelOutput | None = None,
        noisy: ModelOutput | None = None,
        view_labels: Tensor | None = None,
        epoch: int = 0,
    ) -> dict[str, Tensor]:
        """Compute the loss and its parts.

        Args:
            supervised: of the clips that cross-entropy sees.
            labels: their classes, int64 [B].
            clean: of the clean views [N], needed where ``needs_views``; may be ``supervised`` itself.
            noisy: of the noisy views of the same clips [N].
            view_labels: classes of the views, int64 [N]; ``labels`` unless given.
            epoch: from 0.

        Returns:
            "loss", to be differentiated, and its unweighted parts "loss_ce", "loss_instance", "loss_group",
            "loss_supcon", detached, 0 where not computed. All float32 scalars, float64 for such input.

        Raises:
            ValueError: a view is missing, or an operator's own complaint.
        """
        logits = _at_least_float32(supervised.logits)
        parts = {"ce": F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)}
        weights = {"ce": 1.0}
        if self.needs_views(epoch):
            if clean is None or noisy is None:
                raise ValueError(f"epoch {epoch} contrasts views: both clean and noisy outputs are needed")
            parts |= self._contrast(clean, noisy, labels if view_labels is None else view_labels)
            weights |= {
                "instance": self.instance_weight,
                "group": self.group_weight,
                "supcon": self.supcon_weight,
            }
        zero = logits.new_zeros(())
        result = {"loss": sum(weights[name] * part for name, part in parts.items())}
        for name in ("ce", "instance", "group", "supcon"):
            result[f"loss_{name}"] = parts.get(name, zero).detach()
        return result

    def _contrast(self, clean: ModelOutput, noisy: ModelOutput, labels: Tensor) -> dict[str, Tensor]:
        o, n = self._represent(clean), self._represent(noisy)  # [N, D]
        settings = {
            "temperature": self.temperature,
            "symmetric": self.symmetric,
            "detach_clean": self.detach_clean,
        }
        precision = self.precision if o.device.type == "cuda" else "auto"
        parts = {}
        if self.instance_weight > 0:
            parts["instance"] = contrastive_loss(o, n, **settings, precision=precision)
        if self.group_weight > 0:
            groups, groups_n = labels, labels
            if self.group_labels == "pseudo":
                groups, groups_n = clean.logits.argmax(dim=1), noisy.logits.argmax(dim=1)
            num_classes = clean.logits.shape[1]
            parts["group"] = group_contrastive_loss(o, n, groups, num_classes, groups_n, **settings)
        if self.supcon_weight > 0:
            both = torch.cat([o, n])  # [2N, D]
            parts["supcon"] = supervised_contrastive_loss(
                both, labels.repeat(2), self.supcon_temperature, precision=precision
            )
        return parts

    def _represent(self, output: ModelOutput) -> Tensor:
        if self.representation == "features":
            return _at_least_float32(output.features)
        logits = _at_least_float32(output.logits)
        return logits.softmax(dim=1) if self.representation == "softmax" else logits


def _at_least_float32(x: Tensor) -> Tensor:
    return x.float() if x.dtype.itemsize < 4 else x
