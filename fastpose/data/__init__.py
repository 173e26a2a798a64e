"""From files on disk to sampled, noised batches."""

from fastpose._lazy import attach

__getattr__, __dir__ = attach(
    __name__,
    {
        "AlphaRange": "sampling",
        "ClipSampler": "sampling",
        "DecodeError": "skeleton",
        "Layout": "layouts",
        "LAYOUTS": "layouts",
        "PackedClips": "packed",
        "PoseBatch": "sampling",
        "PoseClip": "packed",
        "PoseDataset": "loader",
        "Skeleton": "skeleton",
        "SkeletonBody": "skeleton",
        "get_layout": "layouts",
        "pose_loader": "loader",
        "make_synthetic_ntu": "synthetic",
        "read_skeleton": "skeleton",
        "select_bodies": "skeleton",
        "total_difference": "sampling",
    },
)
