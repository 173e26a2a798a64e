"""The first convolution of a network on maps of joints or limbs, straight from the keypoints."""

from fastpose.ops.stem.op import pose_stem

__all__ = ["pose_stem"]
