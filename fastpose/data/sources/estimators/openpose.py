"""OpenPose: one JSON file a frame, {people: [{pose_keypoints_2d}]}; a folder of them is a clip."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from fastpose.data.sources.estimators.coco import person_id, video_name
from fastpose.data.sources.found_clip import FoundClip, clip_of_detections, frame_number, split_flat

_LAYOUT_OF = {18: "openpose18", 25: "body25"}
_KEYS = ("pose_keypoints_2d", "pose_keypoints")  # the second of versions before 1.2


def is_frame(content: object) -> bool:
    """Whether it is {people: […]}."""
    return isinstance(content, dict) and isinstance(content.get("people"), list)


def is_frames(content: object) -> bool:
    """Whether it is such frames by the names of their pictures, as AlphaPose writes them for OpenPose's users."""
    return (
        isinstance(content, dict)
        and bool(content)
        and all(is_frame(frame) and frame_number(name) is not None for name, frame in content.items())
    )


def bodies_of(frame: Mapping[str, Any]) -> dict[str, Any]:
    """Return a frame without hands and faces, which outweigh the bodies where a long video waits to be read."""
    kept = (*_KEYS, "person_id")
    return {
        "people": [
            {key: person[key] for key in kept if key in person} if isinstance(person, dict) else person
            for person in frame["people"]
        ]
    }


def read_frames(frames: Sequence[tuple[int, Mapping[str, Any]]]) -> FoundClip:
    """Read the frames of a clip, each with its number.

    Raises:
        ValueError: nobody in any frame, or a person without 2D keypoints.
    """
    rows, numbers, ids = [], [], []
    for number, frame in frames:
        for person in frame["people"]:
            flat = (
                next((person[key] for key in _KEYS if key in person), None)
                if isinstance(person, dict)
                else None
            )
            if not isinstance(flat, list):
                raise ValueError(f"frame {number}: a person without {_KEYS[0]}")
            if flat:
                rows.append(flat)
                numbers.append(number)
                ids.append(person_id(person.get("person_id")))
    if not rows:
        raise ValueError("nobody was detected in any frame")
    keypoints, scores = split_flat(rows, _KEYS[0])
    return clip_of_detections(
        numbers,
        keypoints,
        scores,
        ids,
        [number for number, _ in frames],
        usual_layout=_LAYOUT_OF.get(keypoints.shape[1]),
    )


def read_named_frames(content: Mapping[str, Any]) -> list[FoundClip]:
    """Read frames by the names of their pictures: a clip for each video that the names tell apart."""
    videos: dict[str, list[tuple[int, Any]]] = {}
    for name, frame in content.items():
        place = frame_number(name)
        assert place is not None
        videos.setdefault(place[0], []).append((place[1], frame))
    return [
        replace(read_frames(frames), name=video_name(video) if len(videos) > 1 else None)
        for video, frames in videos.items()
    ]
