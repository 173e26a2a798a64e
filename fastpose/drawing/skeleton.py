"""The skeletons of one frame, drawn onto an image."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw

from fastpose.data.pack.layouts import Layout
from fastpose.data.pack.presence import present_joints
from fastpose.drawing.style import (
    PAPER,
    SIDE_COLOURS,
    Colour,
    font,
    joint_sides,
    limb_sides,
    paler,
    person_style,
    printable,
)

FINE = 3  # drawn this many times as large and then reduced, so that edges are smooth
DENSE = 40  # joints from which hands and faces are among them, whose joints lie close together
CASING = 0.5  # of white round lines and joints, in widths of a limb
Point = tuple[float, float]


def draw_skeletons(
    image: np.ndarray,
    keypoints: ArrayLike,
    scores: ArrayLike,
    layout: Layout,
    *,
    width: float | None = None,
    text_for_person: Sequence[str | None] | None = None,
) -> NDArray[np.uint8]:
    """Return an image with the persons of one frame drawn onto it, the first on top.

    Left is blue, right vermilion, what has no side black, all in white casing, so that it shows on any picture. The
    lower a joint's score, the paler it is; a missing joint is not drawn, nor a limb without both its ends. Persons
    differ in their limbs (solid, hollow, dashed) and joints (discs, squares, diamonds).

    Args:
        image: uint8 [H, W, 3], RGB; not changed.
        keypoints: [M, V, 2], pixels of the image: the centre of its first pixel is (0, 0).
        scores: [M, V]; a joint is present as ``fastpose.data.pack.presence`` says.
        layout: what the V joints are.
        width: of a limb in pixels; by default by the size of the image.
        text_for_person: M texts to write above the persons; None for a person without one.

    Raises:
        ValueError: arrays of other shapes or dtypes, or a width that is not above 0.
    """
    points, values = np.asarray(keypoints, np.float64), np.asarray(scores, np.float64)
    _check(image, points, values, layout, width, text_for_person)
    if width is None:
        width = max(1.5, min(image.shape[:2]) / (160 if layout.num_joints < DENSE else 320))
    present = present_joints(points, values)
    drawn = image.copy()
    box = _box(points[present], 3 * width + 2, image.shape)
    if box is not None:
        left, top, right, bottom = box
        pen = _Pen(((right - left), (bottom - top)), width)
        fine = (points - (left, top) + 0.5) * FINE - 0.5
        for person in reversed(range(len(points))):
            _draw_person(pen, fine[person], values[person], present[person], layout, person)
        part = Image.fromarray(drawn[top:bottom, left:right])
        part.paste(pen.picture.reduce(FINE), mask=pen.mask.reduce(FINE))
        drawn[top:bottom, left:right] = np.asarray(part)
    for person, text in enumerate(text_for_person or ()):
        if text and present[person].any():
            drawn = _with_text(drawn, text, points[person][present[person]], width)
    return drawn


def _check(
    image: np.ndarray,
    points: np.ndarray,
    scores: np.ndarray,
    layout: Layout,
    width: float | None,
    texts: Sequence[str | None] | None,
) -> None:
    if (
        not isinstance(image, np.ndarray)
        or image.dtype != np.uint8
        or image.ndim != 3
        or image.shape[2] != 3
        or 0 in image.shape
    ):
        got = f"{image.dtype} {list(image.shape)}" if isinstance(image, np.ndarray) else type(image).__name__
        raise ValueError(f"image must be uint8 [H, W, 3], got {got}")
    joints = layout.num_joints
    if points.ndim != 3 or points.shape[1:] != (joints, 2) or scores.shape != points.shape[:2]:
        raise ValueError(
            f"layout {layout.name!r} needs keypoints [M, {joints}, 2] and scores [M, {joints}], "
            f"got {list(points.shape)} and {list(scores.shape)}"
        )
    if width is not None and not 0 < width < math.inf:
        raise ValueError(f"width must be above 0 pixels, got {width}")
    if texts is not None and len(texts) != len(points):
        raise ValueError(
            f"text_for_person must hold a text for each of {len(points)} persons, got {len(texts)}"
        )


def _box(points: np.ndarray, margin: float, shape: tuple[int, ...]) -> tuple[int, int, int, int] | None:
    """Return (left, top, right, bottom) of what of an image points [n, 2] and their margin cover; None for nothing."""
    if not len(points):
        return None
    size = np.array([shape[1], shape[0]])
    low = np.clip(np.floor(points.min(axis=0) - margin), 0, size).astype(int)
    high = np.clip(np.ceil(points.max(axis=0) + margin), 0, size).astype(int)
    return (*low.tolist(), *high.tolist()) if (low < high).all() else None


class _Pen:
    """Draws lines and marks onto a picture of ``size`` (w, h) pixels, FINE times as large.

    Attributes:
        picture: RGB; white where nothing is drawn, as is the casing, so that edges need no transparent colours.
        mask: where there is casing, within which all else lies.
        width: of a limb, in pixels of the picture.
    """

    def __init__(self, size: tuple[int, int], width: float) -> None:
        fine = (size[0] * FINE, size[1] * FINE)
        self.picture, self.mask = Image.new("RGB", fine, PAPER), Image.new("L", fine, 0)
        self.draw, self.draw_mask = ImageDraw.Draw(self.picture), ImageDraw.Draw(self.mask)
        self.width = width * FINE

    def line(self, a: Point, b: Point, colour: Colour, width: float) -> None:
        """Draw a line; its width is in widths of a limb."""
        self.draw.line([a, b], fill=colour, width=max(1, round(width * self.width)))

    def mark(self, at: Point, shape: str, colour: Colour, radius: float) -> None:
        """Draw a disc, square or diamond of one area; its radius is in widths of a limb."""
        _mark(self.draw, at, shape, colour, radius * self.width)

    def case_line(self, a: Point, b: Point) -> None:
        """Draw the casing of a line."""
        self.line(a, b, PAPER, 1 + 2 * CASING)
        self.draw_mask.line([a, b], fill=255, width=max(1, round((1 + 2 * CASING) * self.width)))

    def case_mark(self, at: Point, shape: str, radius: float) -> None:
        """Draw the casing of a mark of that radius."""
        self.mark(at, shape, PAPER, radius + CASING)
        _mark(self.draw_mask, at, shape, 255, (radius + CASING) * self.width)

    def dashes(self, a: Point, b: Point, length: float) -> Iterator[tuple[Point, Point]]:
        """Yield the dashes of a line that lie within the image; their length is in widths of a limb."""
        start, way = np.array(a), np.subtract(b, a)
        count = max(1, int(np.hypot(*way) / (length * self.width)) // 2)  # dashes, each with a gap
        begins = start + np.arange(count)[:, None] * way / (count - 0.4)
        ends = begins + 0.6 * way / (count - 0.4)
        seen = (
            (ends >= 0) & (begins <= self.picture.size) | (begins >= 0) & (ends <= self.picture.size)
        ).all(axis=1)
        for begin, end in zip(begins[seen].tolist(), ends[seen].tolist(), strict=True):
            yield tuple(begin), tuple(end)


def _mark(draw: ImageDraw.ImageDraw, at: Point, shape: str, fill: Colour | int, radius: float) -> None:
    x, y = at
    if shape == "disc":
        draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=fill)
    elif shape == "square":
        half = radius * math.sqrt(math.pi) / 2
        draw.rectangle([x - half, y - half, x + half, y + half], fill=fill)
    else:
        half = radius * math.sqrt(math.pi / 2)
        draw.polygon([(x - half, y), (x, y - half), (x + half, y), (x, y + half)], fill=fill)


def _draw_person(
    pen: _Pen, points: np.ndarray, scores: np.ndarray, present: np.ndarray, layout: Layout, person: int
) -> None:
    limb_style, joint_style = person_style(person)
    radius = 1.4 if layout.num_joints < DENSE else 0.9
    at = [tuple(point) for point in points.tolist()]
    limbs = [
        (at[a], at[b], SIDE_COLOURS[side], float(min(scores[a], scores[b])))
        for (a, b), side in zip(layout.limbs, limb_sides(layout), strict=True)
        if present[a] and present[b]
    ]
    joints = [
        (at[joint], SIDE_COLOURS[side], float(scores[joint]))
        for joint, side in enumerate(joint_sides(layout))
        if present[joint]
    ]
    for a, b, _, _ in limbs:
        pen.case_line(a, b)
    for point, _, _ in joints:
        pen.case_mark(point, joint_style, radius)
    for a, b, colour, score in limbs:
        colour = paler(colour, score)
        for begin, end in pen.dashes(a, b, 2.5) if limb_style == "dashed" else [(a, b)]:
            pen.line(begin, end, colour, 1.4 if limb_style == "hollow" else 1)
        if limb_style == "hollow":
            pen.line(a, b, PAPER, 0.6)
    for point, colour, score in joints:
        pen.mark(point, joint_style, paler(colour, score), radius)
        if limb_style == "hollow":
            pen.mark(point, joint_style, PAPER, radius * 0.5)


def _with_text(image: np.ndarray, text: str, points: np.ndarray, width: float) -> NDArray[np.uint8]:
    """Return the image with a text above the points [n, 2] of a person, moved into the image where it is outside."""
    picture = Image.fromarray(image)
    draw = ImageDraw.Draw(picture)
    letters, stroke = font(max(11, round(6 * width))), max(1, round(width / 2))
    text = printable(text)
    x0, y0, x1, y1 = draw.textbbox((0, 0), text, font=letters, stroke_width=stroke)
    height, wide = image.shape[:2]
    x = (points[:, 0].min() + points[:, 0].max() - (x0 + x1)) / 2
    y = points[:, 1].min() - y1 - 3 * width
    x = max(-x0, min(x, wide - x1))
    y = max(-y0, min(y, height - y1))
    draw.text((x, y), text, fill=(0, 0, 0), font=letters, stroke_width=stroke, stroke_fill=PAPER)
    return np.array(picture)
