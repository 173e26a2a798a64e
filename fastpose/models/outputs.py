"""What every model returns."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class ModelOutput:
    """Logits and the representation they were computed from, one row per clip."""

    logits: Tensor  # [B, K]
    features: Tensor  # [B, D]
