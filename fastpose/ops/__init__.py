"""Operators: one folder each, with a reference, kernels, and the public function that chooses among them."""

from fastpose._lazy import attach

__getattr__, __dir__ = attach(
    __name__,
    {
        "attend": "layers.attention",
        "batch_norm_depthwise": "layers.norm_depthwise",
        "batch_norm_relu": "layers.batch_norm",
        "contrastive_loss": "contrastive",
        "depthwise_conv3d": "layers.depthwise",
        "group_contrastive_loss": "contrastive",
        "pose_stem": "stem",
        "render_heatmaps": "heatmap",
        "supervised_contrastive_loss": "contrastive",
    },
)
