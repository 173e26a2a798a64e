"""Which maps are drawn: the one vocabulary of the operators, their kernels and the C++ core."""

from typing import Literal

MODES = ("heatmap", "grayscale", "limb")
JOINT_MERGES = ("sum", "max")
# A mode with its merge of joints. In upper case these are the names of native.HeatmapMode.
HeatmapMode = Literal["heatmap", "limb", "grayscale_sum", "grayscale_max"]


def num_maps(mode: HeatmapMode, num_joints: int, num_limbs: int) -> int:
    """Return the number of maps of one clip and frame."""
    return {"heatmap": num_joints, "limb": num_limbs}.get(mode, 1)
