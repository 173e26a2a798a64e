"""What the numbers of a joint mean: pixels, shares of the image or metres, and what a third number is."""

import numpy as np

from fastpose.settings.keypoints import CAMERAS, KeypointOptions

LARGEST_SHARE = 1.5  # joints a little outside the image exceed 1; no clip in pixels is this small
LARGEST_METRES = 10.0  # nor this small, where the image is large
SMALLEST_IMAGE = 64  # pixels; in smaller images a person may be as small as metres are
USUAL_SHARE = 0.9  # of the joints; a stray one does not make the others pixels
LARGEST_SCORE = 2.0  # as a third number: some detectors exceed 1, depths in metres exceed this
LARGEST_USUAL_SCORE = 10.0  # half of a clip's; heatmaps' peaks exceed 1, not this
MOST_SLOTS = 5  # persons; more of them than frames are frames that come first
NEAREST = 0.05  # metres from a camera, below which nothing is seen

HIDDEN_FLAGS = (
    "the third numbers of joints are visibility flags (0, 1, 2), not scores: labelled joints have score 1"
)


def split_third(keypoints: np.ndarray) -> tuple[np.ndarray, np.ndarray, str | None]:
    """Split joints of three numbers into x, y and what the third is, a score or a visibility flag.

    Args:
        keypoints: real [..., 3].

    Returns:
        keypoints [..., 2]; scores [...], 1 for each labelled joint where the third numbers are COCO's flags; and
        a note if they are.

    Raises:
        ValueError: they are neither: joints in 3D.
    """
    points, third = keypoints[..., :2], keypoints[..., 2]
    values = third[np.isfinite(third) & np.isfinite(points).all(axis=-1)]
    if values.size and (values.min() < 0 or values.max() > LARGEST_SCORE):
        raise ValueError(
            f"keypoints {list(keypoints.shape)} have a third number from {values.min():.3g} to {values.max():.3g}, "
            "which is no score: of joints in 3D in metres say the camera (--project kinect_v1), of others give the "
            "pixels x, y alone, and scores in an array of their own"
        )
    if are_flags(values):
        return points, np.minimum(third, 1), HIDDEN_FLAGS
    return points, third, None


def are_flags(scores: np.ndarray) -> bool:
    """Return whether ``scores`` are COCO's visibility flags: whole numbers 0, 1 and 2, of which 2 occurs."""
    values = scores[np.isfinite(scores)]
    return bool(values.size) and values.max() == 2 and bool(np.isin(values, (0, 1, 2)).all())


def project(joints: np.ndarray, options: KeypointOptions) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    """See joints through ``options.project``.

    Args:
        joints: float [..., 3], metres: x to the right, y up, z ahead; (0, 0, 0) or NaN where missing.

    Returns:
        keypoints float64 [..., 2], pixels; scores [...], 1 or 0 where missing; the image's (h, w).

    Raises:
        ValueError: a joint lies at or behind the camera.
    """
    assert options.project is not None
    camera = CAMERAS[options.project]
    joints = joints.astype(np.float64)
    given = np.isfinite(joints).all(axis=-1) & (joints != 0).any(axis=-1)
    depth = joints[..., 2] + options.distance
    behind = given & (depth < NEAREST)
    if behind.any():
        raise ValueError(
            f"{np.count_nonzero(behind)} of {np.count_nonzero(given)} joints lie at or behind the camera (z from "
            f"{depth[given].min():.2g} m): if their origin is not the camera, --distance METRES moves them ahead"
        )
    depth = np.where(given, depth, 1)
    center_x, center_y = camera.center
    x = center_x + camera.focal * joints[..., 0] / depth
    y = center_y - camera.focal * joints[..., 1] / depth
    keypoints = np.where(given[..., None], np.stack([x, y], axis=-1), 0)
    return keypoints, given.astype(np.float32), camera.image_size


def to_pixels(keypoints: np.ndarray, present: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """Make shares of the image [..., 2] pixels, float64; missing joints stay where they are.

    Raises:
        ValueError: the joints that are ``present`` [...] lie too far out to be shares.
    """
    values = keypoints[present]
    reach = np.abs(values).max(axis=-1) if len(values) else np.zeros(1)
    if np.median(reach) > LARGEST_METRES:
        raise ValueError(
            f"the keypoints are said to be shares of the image, but reach {reach.max():.4g}: leave out --normalised"
        )
    height, width = image_size
    return np.where(present[..., None], keypoints.astype(np.float64) * (width, height), keypoints)


def find_fault(values: np.ndarray, image_size: tuple[int, int]) -> str | None:
    """Return why coordinates of present joints [n, 2] cannot be pixels of an image (h, w), or None."""
    if not len(values):
        return None
    reach = np.abs(values).max(axis=1)
    shares = np.count_nonzero(reach <= LARGEST_SHARE) >= USUAL_SHARE * len(values)
    metres = np.count_nonzero(reach <= LARGEST_METRES) >= USUAL_SHARE * len(values)
    if not (shares or (metres and max(image_size) >= SMALLEST_IMAGE)):
        return None
    usual = values[reach <= (LARGEST_SHARE if shares else LARGEST_METRES)]
    others = len(values) - len(usual)
    count = f"all but {others} of {len(values)}" if others else "all"
    span = f"{count} lie in {usual.min():.3g} to {usual.max():.3g}"
    if not shares:
        return (
            f"the keypoints look like metres ({span}), but pixels are needed: see 3D joints through a camera "
            "(--project kinect_v1)"
        )
    if usual.min() > 1 - LARGEST_SHARE:
        return (
            f"the keypoints look normalised ({span}), but pixels are needed: give --normalised, or multiply x by the "
            "image's width and y by its height"
        )
    return (
        f"the keypoints look normalised, or like metres ({span}), but pixels are needed: undo what made them so, for "
        "instance x = (x + 1) / 2 · width and y = (y + 1) / 2 · height; see 3D joints through a camera "
        "(--project kinect_v1)"
    )


def refuse_frames_first(shape: tuple[int, ...]) -> None:
    """Refuse keypoints [M, T, V, …] with so many persons in so few frames that they are frames that come first.

    Raises:
        ValueError: they are; the text names the transpose.
    """
    persons, frames = shape[:2]
    if persons > frames and persons > MOST_SLOTS:
        raise ValueError(
            f"keypoints {list(shape)} are {persons} persons in {frames} frame{'s' * (frames > 1)}; if frames come "
            "first, give keypoints.transpose(1, 0, 2, 3)"
        )
