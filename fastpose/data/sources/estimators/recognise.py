"""Which form a JSON file has, by its content."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastpose.data.sources.estimators import coco, kinetics_skeleton, mediapipe, mmpose, openpose, ultralytics
from fastpose.data.sources.found_clip import FoundClip

FORMS = (
    "OpenPose, AlphaPose, COCO results and annotations, MMPose, Ultralytics, MediaPipe, Kinetics-skeleton, "
    "and fastpose's own {keypoints, …}"
)


@dataclass(frozen=True, slots=True)
class OneFrame:
    """A file that holds one frame of a clip, and what reads all frames of that clip."""

    content: Any
    read: Callable[[list[tuple[int, Any]]], FoundClip]


def recognise(content: object) -> OneFrame | list[FoundClip] | None:
    """Return the clips of an estimator's file, or its one frame; None for any other content.

    Raises:
        ValueError: the form is known, but its content does not fit.
    """
    if openpose.is_frame(content):
        assert isinstance(content, dict)
        return OneFrame(openpose.bodies_of(content), openpose.read_frames)
    if openpose.is_frames(content):
        assert isinstance(content, dict)
        return openpose.read_named_frames(content)
    if coco.is_annotations(content):
        assert isinstance(content, dict)
        return coco.read_annotations(content)
    if coco.is_results(content):
        assert isinstance(content, list)
        return coco.read_results(content)
    if mmpose.is_demo(content):
        assert isinstance(content, dict)
        return mmpose.read_demo(content)
    if kinetics_skeleton.is_clip(content):
        assert isinstance(content, dict)
        return kinetics_skeleton.read(content)
    if ultralytics.is_frames(content):
        assert isinstance(content, list)
        return [ultralytics.read_frames(list(enumerate(content)))]
    if ultralytics.is_frame(content):
        return OneFrame(content, ultralytics.read_frames)
    if mmpose.is_frames(content):
        assert isinstance(content, list)
        return mmpose.read_frames(content)
    if (frames := mediapipe.frames_of(content)) is not None:
        return [mediapipe.read_frames(frames)]
    return None
