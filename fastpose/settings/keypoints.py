"""How keypoints are to be taken, where their source does not say."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Camera:
    """A pinhole: u = cx + f·x/z, v = cy − f·y/z, for x to the right, y up and z ahead in metres."""

    focal: float
    center: tuple[float, float]
    image_size: tuple[int, int]


# The focal lengths of the sensors: colour of Kinect v1, depth of Kinect v2.
CAMERAS = {
    "kinect_v1": Camera(525.0, (320.0, 240.0), (480, 640)),
    "kinect_v2": Camera(365.5, (256.0, 212.0), (424, 512)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class KeypointOptions:
    """How keypoints are to be taken, where their source does not say."""

    min_score: float = 0.0
    """A joint with a smaller score is missing, for estimators that guess what they do not see."""
    normalised: bool = False
    """Coordinates are shares of the image, to be made pixels."""
    project: str | None = None
    """Joints are x, y, z in metres, to be seen through this camera: kinect_v1 or kinect_v2."""
    distance: float = 0.0
    """Metres added to z first, for joints whose origin is not the camera."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.min_score) and self.min_score >= 0):
            raise ValueError(f"min_score must be at least 0, got {self.min_score}")
        if self.project is not None and self.project not in CAMERAS:
            raise ValueError(f"project must be one of {', '.join(CAMERAS)}, got {self.project!r}")
        if not math.isfinite(self.distance):
            raise ValueError(f"distance must be finite metres, got {self.distance}")
        if self.distance and self.project is None:
            raise ValueError("distance has no meaning without project")
        if self.normalised and self.project is not None:
            raise ValueError("keypoints are shares of the image (normalised) or metres (project), not both")
