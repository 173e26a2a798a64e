"""How keypoints are found in videos."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fastpose.settings.checks import check, require

EstimatorName = Literal["mediapipe", "rtmlib"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoConfig:
    """How keypoints are found in videos (.mp4, .avi, .mov, .mkv, .webm)."""

    pose: EstimatorName | None = None
    """Find keypoints in videos with this estimator."""
    pose_weights: str | None = None
    """Its weights: .task for mediapipe, DETECTOR.onnx,POSE.onnx for rtmlib; else rtmlib downloads its own."""
    pose_persons: int = 2
    """Most persons to keep of a video; mediapipe looks for no more in a frame."""
    save_keypoints: bool = False
    """Keep each video's keypoints beside it, as VIDEO.keypoints.npz, and take them from there the next time."""
    keypoints_folder: Path | None = None
    """Keep them in this folder instead."""

    def __post_init__(self) -> None:
        given = self.pose_weights or self.save_keypoints or self.keypoints_folder
        require(
            self.pose is not None or not given,
            "pose = None: expected mediapipe or rtmlib, as other settings of videos are given",
        )
        check(self, "1 to 100 persons", lambda n: 1 <= n <= 100, "pose_persons")
