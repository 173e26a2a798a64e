"""The terms of the training objective."""

import math
from dataclasses import dataclass
from typing import Literal

from fastpose.settings.checks import MOST_EPOCHS, check, check_words


@dataclass(frozen=True, slots=True, kw_only=True)
class LossConfig:
    """Terms of the loss: L = L_ce + gamma1 L_inst + gamma2 L_gr + supcon_weight L_sup."""

    gamma1: float = 1.0
    """Weight of the instance contrastive loss."""
    gamma2: float = 0.3
    """Weight of the group contrastive loss."""
    sup_thresh: int = 0
    """Epochs of purely supervised training at the start."""
    temperature: float = 1.0
    """Temperature of the instance and group losses."""
    symmetric: bool = False
    """Contrast over all 2N anchors, as the report's code does, instead of over the clean ones."""
    detach_clean: bool = False
    """No gradient into the clean view from the contrastive losses."""
    representation: Literal["features", "logits", "softmax"] = "features"
    """What is contrasted."""
    group_labels: Literal["true", "pseudo"] = "true"
    """Classes of the group loss: the labels, or each view's own prediction."""
    supcon_weight: float = 0.0
    """Weight of the supervised contrastive loss (Khosla et al. 2020) over both views."""
    supcon_temperature: float = 0.1
    """Its temperature."""
    contrast_precision: Literal["auto", "bf16", "tf32", "fp32"] = "auto"
    """Products of the instance and supervised contrastive losses on CUDA; auto: bf16 where training is in bf16."""
    label_smoothing: float = 0.0
    """Smoothing of the cross-entropy's targets."""
    class_weights: Literal["none", "sqrt", "balanced"] = "none"
    """Weight of a clip's cross-entropy; balanced: in proportion to 1 / the clips of its class, sqrt: to its root."""
    pseudo_threshold: float = 0.7
    """Unlabelled clips: probability of the clean view's best class from which on it counts as their label; 1: never."""
    pseudo_after: int = 5
    """Epochs before the first such label."""
    ce_views: Literal["clean", "noisy", "both"] = "clean"
    """Views under the cross-entropy in the contrastive arm (the augmented arm: noisy, or both)."""

    def __post_init__(self) -> None:
        check_words(self)
        weights = ("gamma1", "gamma2", "supcon_weight")
        check(self, "a weight ≥ 0", lambda x: 0 <= x < math.inf, *weights)
        check(self, "a number > 0", lambda x: 0 < x < math.inf, "temperature", "supcon_temperature")
        check(self, "0 ≤ smoothing < 1", lambda x: 0 <= x < 1, "label_smoothing")
        check(self, "0 < probability ≤ 1", lambda x: 0 < x <= 1, "pseudo_threshold")
        check(self, f"0 or more epochs, at most {MOST_EPOCHS:,}",
              lambda n: 0 <= n <= MOST_EPOCHS, "sup_thresh", "pseudo_after")  # fmt: skip
