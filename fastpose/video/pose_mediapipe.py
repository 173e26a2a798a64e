"""MediaPipe's pose landmarker (BlazePose) as pose estimator: 33 joints."""

from pathlib import Path
from typing import Any

import numpy as np

from fastpose.data.pack.layouts import get_layout
from fastpose.data.sources.linking import Detections
from fastpose.video.packages import first_line, quiet_native_code, video_package

LAYOUT = "mediapipe33"


class MediaPipePose:
    """The landmarker in its video mode, which follows a person from frame to frame.

    Args:
        weights: a `.task` file.
        max_persons: most persons in a frame.

    Raises:
        ValueError: mediapipe is missing, or the file is none of its models.
    """

    def __init__(self, weights: Path, max_persons: int) -> None:
        self.layout = get_layout(LAYOUT)
        self._mediapipe = video_package("mediapipe")
        self._vision = video_package("mediapipe.tasks.python.vision")
        self._weights, self._max_persons = weights, max_persons
        self._landmarker: Any = None
        self._last_milliseconds = -1
        self.start()

    def start(self) -> None:
        """Make a new landmarker: the one before remembers the persons of its video."""
        self.close()
        self._last_milliseconds = -1
        options = self._vision.PoseLandmarkerOptions(
            base_options=self._mediapipe.tasks.BaseOptions(model_asset_path=str(self._weights)),
            running_mode=self._vision.RunningMode.VIDEO,
            num_poses=self._max_persons,
        )
        try:
            with quiet_native_code():
                self._landmarker = self._vision.PoseLandmarker.create_from_options(options)
        except (RuntimeError, ValueError, OSError) as error:
            raise ValueError(
                f"{self._weights}: not a pose landmarker that mediapipe can load: {first_line(error)}"
            ) from error

    def estimate(self, frame: np.ndarray, seconds: float) -> Detections:
        """Return the persons in a frame; a joint's score is its visibility, and a hidden joint's place a guess."""
        first = self._last_milliseconds < 0
        self._last_milliseconds = max(
            self._last_milliseconds + 1, round(1000 * seconds)
        )  # they must increase
        image = self._mediapipe.Image(image_format=self._mediapipe.ImageFormat.SRGB, data=frame)
        try:
            if first:  # only then does it write to the error stream
                with quiet_native_code():
                    found = self._landmarker.detect_for_video(image, self._last_milliseconds)
            else:
                found = self._landmarker.detect_for_video(image, self._last_milliseconds)
        except (RuntimeError, ValueError) as error:
            raise ValueError(f"mediapipe failed at {seconds:.2f} s: {first_line(error)}") from error
        values = np.array(
            [[(joint.x, joint.y, joint.visibility) for joint in person] for person in found.pose_landmarks],
            np.float32,
        ).reshape(-1, self.layout.num_joints, 3)
        height, width = frame.shape[:2]
        return Detections(values[..., :2] * np.array([width, height], np.float32), values[..., 2])

    def close(self) -> None:
        """Release the landmarker."""
        if self._landmarker is not None:
            with quiet_native_code():
                self._landmarker.close()
            self._landmarker = None
