"""One row a person and picture: AlphaPose, results in COCO's form, and COCO's annotations."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fastpose.data.pack.coordinates import HIDDEN_FLAGS
from fastpose.data.pack.layouts import LAYOUTS, Layout
from fastpose.data.sources.found_clip import FoundClip, clip_of_detections, frame_number, split_flat

# Numbers alone do not say that pictures are frames.
_PICTURES = {False: ("pictures taken for the frames of one video, in the order of their numbers",), True: ()}
LAYOUT_OF = {17: "coco17", 26: "halpe26", 133: "coco_wholebody133", 136: "halpe136"}


def is_results(content: object) -> bool:
    """Whether it is a list of {image_id, keypoints, …}."""
    return (
        isinstance(content, list)
        and bool(content)
        and isinstance(content[0], dict)
        and {"image_id", "keypoints"} <= content[0].keys()
    )


def is_annotations(content: object) -> bool:
    """Whether it is {images, annotations, …}."""
    return isinstance(content, dict) and {"images", "annotations"} <= content.keys()


def read_results(content: Sequence[Any]) -> list[FoundClip]:
    """Read AlphaPose's or COCO's results: a clip for each video that the pictures' names tell apart.

    ``idx`` of AlphaPose is the person. COCO's results have none, and number pictures rather than frames; they are
    taken in the order of their numbers.

    Raises:
        ValueError: a row without a picture or keypoints, or of another number of joints.
    """
    clips: dict[str, list[int]] = {}
    numbers, ids = [], []
    for i, row in enumerate(content):
        if not isinstance(row, dict) or not isinstance(row.get("keypoints"), list):
            raise ValueError(f"row {i} has no list of keypoints")
        if (place := frame_number(row.get("image_id"))) is None:
            raise ValueError(f"row {i}: image_id {row.get('image_id')!r:.60} holds no number of a frame")
        clips.setdefault(place[0], []).append(i)
        numbers.append(place[1])
        ids.append(person_id(row.get("idx", row.get("track_id"))))
    keypoints, scores = split_flat([row["keypoints"] for row in content], "keypoints")
    return [
        clip_of_detections(
            [numbers[i] for i in rows],
            keypoints[rows],
            scores[rows],
            [ids[i] for i in rows],
            name=video_name(prefix) if len(clips) > 1 else None,
            usual_layout=LAYOUT_OF.get(keypoints.shape[1]),
            notes=_PICTURES[isinstance(content[rows[0]]["image_id"], str) or None not in ids],
        )
        for prefix, rows in clips.items()
    ]


def read_annotations(content: Mapping[str, Any]) -> list[FoundClip]:
    """Read COCO's annotations: a clip for each video that ``video_id``, or the pictures' names, tell apart.

    The third number of a joint is a flag, not a score: labelled joints have score 1, hidden or not.

    Raises:
        ValueError: an annotation of no known image, or keypoints that do not fit.
    """
    images, annotations = content["images"], content["annotations"]
    if not isinstance(images, list) or not isinstance(annotations, list):
        raise ValueError("images and annotations must be lists")
    place_of: dict[object, tuple[str, int]] = {}
    sizes_of: dict[str, set[tuple[Any, Any]]] = {}
    for i, image in enumerate(images):
        if not isinstance(image, dict) or not isinstance(image.get("id"), int | str):
            raise ValueError(f"image {i} has no id")
        place = frame_number(image.get("file_name", "")) or frame_number(image["id"]) or ("", i)
        if "video_id" in image:
            number = image.get("frame_id", image.get("frame_index", place[1]))
            place = (str(image["video_id"]), number if isinstance(number, int) else place[1])
        place_of[image["id"]] = place
        sizes_of.setdefault(place[0], set()).add((image.get("height"), image.get("width")))
    listed: dict[str, list[int]] = {}
    for video, number in place_of.values():
        listed.setdefault(video, []).append(number)
    clips: dict[str, list[tuple[int, dict[str, Any]]]] = {}
    for i, annotation in enumerate(annotations):
        if not isinstance(annotation, dict) or not isinstance(annotation.get("keypoints"), list):
            continue  # boxes and masks of other categories
        image_id = annotation.get("image_id")
        if not isinstance(image_id, int | str) or image_id not in place_of:
            raise ValueError(f"annotation {i}: there is no image {image_id!r:.60}")
        video, number = place_of[image_id]
        clips.setdefault(video, []).append((number, annotation))
    if not clips:
        raise ValueError("no annotation holds keypoints")
    found = []
    for video, rows in clips.items():
        keypoints, flags = split_flat([annotation["keypoints"] for _, annotation in rows], "keypoints")
        sizes = sizes_of[video]
        size = next(iter(sizes))
        found.append(
            clip_of_detections(
                [number for number, _ in rows],
                keypoints,
                np.minimum(flags, 1),
                [person_id(row.get("track_id", row.get("instance_id"))) for _, row in rows],
                listed[video],
                name=video_name(video) if len(clips) > 1 else None,
                image_size=None if None in size else size,
                layout=_named_layout(content.get("categories"), keypoints.shape[1]),
                usual_layout=LAYOUT_OF.get(keypoints.shape[1]),
                notes=(HIDDEN_FLAGS, *_PICTURES[video != ""]),
                fault=None
                if len(sizes) == 1
                else f"its pictures have {len(sizes)} sizes: no frames of one video",
            )
        )
    return found


def _named_layout(categories: object, joints: int) -> Layout | None:
    """Return the layout whose joints the categories name."""
    for category in categories if isinstance(categories, list) else ():
        names = category.get("keypoints") if isinstance(category, dict) else None
        if isinstance(names, list) and len(names) == joints:
            return layout_of_names(names)
    return None


def layout_of_names(names: Sequence[object]) -> Layout | None:
    """Return the built-in layout of these joints, or a layout of its own that they make; None if they are no names."""
    if not all(isinstance(name, str) and name for name in names) or len(set(names)) != len(names):
        return None
    joints = tuple(str(name).lower().replace(" ", "_").replace("-", "_") for name in names)
    for layout in LAYOUTS.values():
        if layout.joints == joints:
            return layout
    pairs = tuple(
        (left, joints.index(joint.replace("left", "right", 1)))
        for left, joint in enumerate(joints)
        if "left" in joint and joint.replace("left", "right", 1) in joints
    )
    return Layout("named by the file", joints, pairs) if len(set(joints)) == len(joints) else None


def person_id(value: object) -> int | None:
    """Return a person's number from 0, however it is wrapped; None for anything else."""
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    value = int(value) if isinstance(value, float) and value.is_integer() else value
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return value if isinstance(value, int) and is_number and 0 <= value < 2**63 else None


def video_name(prefix: str) -> str:
    """Return the name of a video whose frames' names begin with ``prefix``."""
    return prefix.rstrip("/_-. ") or "clip"
