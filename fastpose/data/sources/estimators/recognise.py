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


def _whole_ultralytics(frames: list[Any]) -> list[FoundClip]:
    return [ultralytics.read_frames(list(enumerate(frames)))]


# Whether a file has a form, and what reads all of it. The first that fits counts: frames of Ultralytics are lists of
# persons with keypoints, as MMPose's are.
_WHOLE_FILES: tuple[tuple[Callable[[Any], bool], Callable[[Any], list[FoundClip]]], ...] = (
    (openpose.is_frames, openpose.read_named_frames),
    (coco.is_annotations, coco.read_annotations),
    (coco.is_results, coco.read_results),
    (mmpose.is_demo, mmpose.read_demo),
    (kinetics_skeleton.is_clip, kinetics_skeleton.read),
    (ultralytics.is_frames, _whole_ultralytics),
    (mmpose.is_frames, mmpose.read_frames),
)


def recognise(content: Any) -> OneFrame | list[FoundClip] | None:
    """Return the clips of an estimator's file, or its one frame; None for any other content.

    Raises:
        ValueError: the form is known, but its content does not fit.
    """
    if openpose.is_frame(content):
        return OneFrame(openpose.bodies_of(content), openpose.read_frames)
    if ultralytics.is_frame(content):
        return OneFrame(content, ultralytics.read_frames)
    for is_form, read in _WHOLE_FILES:
        if is_form(content):
            return read(content)
    frames = mediapipe.frames_of(content)
    return None if frames is None else [mediapipe.read_frames(frames)]
