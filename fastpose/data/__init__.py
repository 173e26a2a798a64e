"""From files on disk to sampled, noised batches."""

from fastpose._lazy import attach

__getattr__, __dir__ = attach(
    __name__,
    {
        "AlphaRange": "sampling.batch",
        "ClipSampler": "sampling.sampler",
        "DecodeError": "sources.skeleton",
        "DeviceClipSampler": "sampling.device",
        "Layout": "pack.layouts",
        "LAYOUTS": "pack.layouts",
        "PackedClips": "pack.packed",
        "PoseBatch": "sampling.batch",
        "PoseClip": "pack.packed",
        "PoseDataset": "sampling.loader",
        "Skeleton": "sources.skeleton",
        "SkeletonBody": "sources.skeleton",
        "get_layout": "pack.layouts",
        "pose_loader": "sampling.loader",
        "make_synthetic_ntu": "synthetic.dataset",
        "read_skeleton": "sources.skeleton",
        "select_bodies": "sources.skeleton",
        "total_difference": "sampling.noise",
    },
)
