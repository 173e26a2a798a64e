"""Operators: one folder each, with a reference, kernels, and the public function that chooses among them."""

from fastpose._lazy import attach

__getattr__, __dir__ = attach(
    __name__,
    {
        "DeviceClipSampler": "sampling",
        "attend": "attention",
        "contrastive_loss": "contrastive",
        "group_contrastive_loss": "contrastive",
        "render_heatmaps": "heatmap",
        "supervised_contrastive_loss": "contrastive",
    },
)
