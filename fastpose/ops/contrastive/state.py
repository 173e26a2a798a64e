"""What the forward direction keeps for the backward one."""

from typing import NamedTuple

from torch import Tensor


class State(NamedTuple):
    """Of R rows: clean ones before noisy ones, or all rows where labels make the positives."""

    z: Tensor  # [R, D] normalised; in the Triton kernels padded with zeros, in the operands' format
    inverse: Tensor  # [R] 1 / length; 0 for rows of zeros and absent classes
    log_sums: Tensor  # [R] log of each anchor's denominator; +inf for rows that are no anchors
    pulls: Tensor  # [R] 1 - P(positive) of an anchor, or 1 / positives with labels; 0 for rows that are no anchors
    scale: Tensor  # []: what a unit gradient of the loss gives each anchor
