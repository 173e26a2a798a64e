"""Pose estimators: from a frame to the persons in it."""

from pathlib import Path
from typing import Protocol, get_args

import numpy as np

from fastpose.data.pack.layouts import Layout
from fastpose.data.sources.linking import Detections
from fastpose.settings.video import EstimatorName


class PoseEstimator(Protocol):
    """Finds persons in the frames of videos.

    Attributes:
        layout: the joints that it finds.
    """

    layout: Layout

    def start(self) -> None:
        """Forget the video before."""
        ...

    def estimate(self, frame: np.ndarray, seconds: float) -> Detections:
        """Return the persons in a frame uint8 [H, W, 3] (RGB), in its pixels; frames come in order of time.

        Raises:
            ValueError: the estimator failed.
        """
        ...

    def close(self) -> None:
        """Release the model."""
        ...


def weight_files(name: EstimatorName, weights: str | None) -> list[Path]:
    """Return the files that ``--pose-weights`` names: one for mediapipe, none or two for rtmlib.

    Raises:
        ValueError: another number of them, or one that does not exist; the text says what is expected.
    """
    if name not in get_args(EstimatorName):
        raise ValueError(f"no pose estimator {name!r}; there are {', '.join(get_args(EstimatorName))}")
    if name == "mediapipe":
        if weights is None:
            raise ValueError(
                "mediapipe comes without weights: give --pose-weights pose_landmarker_full.task, a file that "
                "MediaPipe's documentation of its pose landmarker links to"
            )
        files = [Path(weights)]
    else:
        files = [] if weights is None else [Path(part) for part in weights.split(",")]
        if len(files) not in (0, 2):
            raise ValueError(f"rtmlib needs --pose-weights DETECTOR.onnx,POSE.onnx, got {weights!r}")
    for file in files:
        if not file.is_file():
            raise ValueError(f"{file}: no such file of pose weights")
    return files


def open_estimator(name: EstimatorName, weights: str | None, max_persons: int) -> PoseEstimator:
    """Load a pose estimator.

    Args:
        name: "mediapipe" or "rtmlib".
        weights: file for mediapipe; "DETECTOR.onnx,POSE.onnx" or None for rtmlib, which then downloads its own.
        max_persons: most persons to find in a frame.

    Raises:
        ValueError: the package or the weights are missing or do not fit.
    """
    files = weight_files(name, weights)
    if name == "mediapipe":
        from fastpose.video.pose_mediapipe import MediaPipePose

        return MediaPipePose(files[0], max_persons)
    from fastpose.video.pose_rtmlib import RtmlibPose

    return RtmlibPose(files)


def describe_estimator(name: EstimatorName, weights: str | None, max_persons: int) -> str:
    """Return one text for each choice of estimator, weights and persons, which saved keypoints are known by."""
    files = [f"{file.name} of {file.stat().st_size} bytes" for file in weight_files(name, weights)]
    return f"{name}, {', '.join(files) or 'its own weights'}, at most {max_persons} persons"
