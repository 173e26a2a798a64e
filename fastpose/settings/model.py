"""The network and what it sees."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fastpose.settings.checks import check, check_words


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Backbone and its input."""

    model: str = "posec3d"
    """posec3d, x3d_shallow, dct_mlp, motionbert, or another; also posec3d_k400, c3d_light, motionbert_lite, or your own
    package.module:Class."""
    input: Literal["skeleton", "heatmap", "grayscale", "limb"] = "skeleton"
    """What the backbone sees."""
    dropout: float = 0.5
    """Dropout before the classifier."""
    score_channel: bool = False
    """Skeleton input: give each joint's score beside its coordinates."""
    normalize: bool = True
    """Skeleton input: coordinates to [-1, 1]; off feeds raw pixels, as the report's code does."""
    duplicate_person: bool = False
    """Skeleton input: copy a lone person into the second slot, as the report's code does."""
    sigma: float = 0.6
    """Standard deviation of the heatmaps' Gaussians in pixels."""
    joint_merge: Literal["sum", "max"] = "sum"
    """Grayscale input: how joints are merged."""
    heatmaps: Literal["implicit", "explicit"] = "implicit"
    """Other inputs than skeletons: implicit computes the first convolution from the keypoints, explicit draws them."""
    joints: Literal["h36m17", "own"] = "h36m17"
    """MotionBERT: h36m17, made from the data's joints; own: the data's joints, to train from scratch."""
    published: bool = False
    """MotionBERT: make joints as its published code does, faults included: what published weights expect."""
    init: str | None = None
    """Checkpoint, or folder of a finished run, to fine-tune from; a head for other classes is initialised anew."""

    def __post_init__(self) -> None:
        check_words(self)
        check(self, "0 ≤ dropout < 1", lambda p: 0 <= p < 1, "dropout")
        check(self, "a positive number of pixels", lambda x: 0 < x < math.inf, "sigma")


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointConfig:
    """What a checkpoint of others holds; fastpose's own runs record this themselves."""

    model: str | None = None
    """Its name in the model registry, such as posec3d."""
    input: str | None = None
    """skeleton, heatmap, grayscale or limb; by default what --preset says."""
    preset: str | None = None
    """Settings of network and sampling, such as pyskl-test; by default report, of MotionBERT motionbert-published."""
    model_layout: str | None = None
    """Joints that it takes; by default those of --layout, else coco17."""
    class_names: Path | None = None
    """Text file of class names, one a line; by default they are numbered."""
    max_persons: int = 2
    """Persons that it takes."""
