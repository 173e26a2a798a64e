"""Contrastive losses between clean and noisy views."""

from fastpose.ops.contrastive.op import (
    contrastive_loss,
    group_contrastive_loss,
    supervised_contrastive_loss,
)

__all__ = ["contrastive_loss", "group_contrastive_loss", "supervised_contrastive_loss"]
