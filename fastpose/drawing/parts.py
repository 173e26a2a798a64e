"""Parts of a picture of a clip, each an RGB image: one frame, heatmaps, title, legend, time line."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from fastpose.data.pack.layouts import Layout
from fastpose.data.pack.presence import present_joints
from fastpose.drawing.skeleton import draw_skeletons
from fastpose.drawing.style import (
    FAINT,
    INK,
    LEFT,
    NEITHER,
    PAPER,
    RIGHT,
    SAMPLED,
    SIDE_COLOURS,
    Colour,
    font,
    joint_sides,
    shortened,
)
from fastpose.drawing.takes import SEPARATOR, Scene, Take
from fastpose.ops.heatmap import render_heatmaps

TEXT, TITLE = 13, 19  # heights of letters in pixels
LINE = 20  # height of a line of text
OUTSIDE: Colour = (238, 238, 238)  # what lies beside the video's picture
LEGEND_PERSONS = 9  # looks of persons that differ
SIDE_TEXTS = {LEFT: "left", RIGHT: "right", NEITHER: "neither"}
# A limb of each side, at joints 2 · side and 2 · side + 1.
LEGEND_BODY = Layout(
    name="legend",
    joints=("neck", "head", "left_hand", "left_arm", "right_hand", "right_arm"),
    pairs=((2, 4), (3, 5)),
    limbs=((0, 1), (2, 3), (4, 5)),
)


@dataclass(frozen=True, slots=True)
class Window:
    """The part of a picture that cells show: its top left corner and its size, in pixels of the picture.

    Pixel 0 reaches from -0.5 to 0.5.
    """

    left: float
    top: float
    width: float
    height: float

    def placed(self, points: NDArray[np.floating], scale: float) -> NDArray[np.floating]:
        """Return points [..., 2] in pixels of a cell that is ``scale`` times as large."""
        return (points - np.array([self.left, self.top])) * scale - 0.5


def window_of(scene: Scene) -> Window:
    """Return what to show: a model's whole input, or of a video as much as holds the persons in all frames."""
    height, width = scene.size
    if scene.is_input:
        return Window(-0.5, -0.5, width, height)
    size = np.array([width, height])
    takes = [take.keypoints[present_joints(take.keypoints, take.scores)] for take in scene.takes]
    points = np.concatenate(takes)
    if not len(points):
        points = np.stack([0 * size, size])
    # Without the outermost, so that a few joints far away do not make all others small.
    low, high = np.percentile(points, [0.5, 99.5], axis=0)
    low, high = np.clip(low, -size / 2, 1.5 * size), np.clip(high, -size / 2, 1.5 * size)
    sides = np.maximum(1.3 * (high - low), 0.1 * size.max())
    sides = np.maximum(sides, 0.7 * sides[::-1])  # neither a strip nor a column
    left, top = ((low + high - sides) / 2).tolist()
    return Window(left, top, *sides.tolist())


def draw_frame(scene: Scene, take: Take, position: int, window: Window, width: int) -> NDArray[np.uint8]:
    """Return one frame of a take as a cell ``width`` pixels wide, as high as the window asks for."""
    scale = width / window.width
    cell = Image.new("RGB", (width, max(1, round(window.height * scale))), OUTSIDE)
    height_of, width_of = scene.size
    corners = np.array([[-0.5, -0.5], [width_of - 0.5, height_of - 0.5]])
    (x0, y0), (x1, y1) = window.placed(corners, scale).tolist()
    draw = ImageDraw.Draw(cell)
    draw.rectangle([x0, y0, x1, y1], fill=PAPER)
    if take.left_out[position]:
        draw.text((8, 8), "left out by the noise", fill=INK, font=font(TEXT))
    points = window.placed(take.keypoints[:, position], scale)
    drawn = draw_skeletons(np.array(cell), points, take.scores[:, position], scene.layout)
    return framed(drawn, FAINT, 1)


def framed(image: NDArray[np.uint8], colour: Colour, width: int) -> NDArray[np.uint8]:
    """Return an image with a frame of ``width`` pixels drawn onto its edge."""
    result = image.copy()
    for edge in (np.s_[:width], np.s_[-width:], np.s_[:, :width], np.s_[:, -width:]):
        result[edge] = colour
    return result


def draw_heatmaps(scene: Scene, take: Take) -> NDArray[np.uint8]:
    """Return [F, H, W, 3], the heatmaps that a model is given of each frame, joints of one side in its colour."""
    joints = np.concatenate([take.keypoints, take.scores[..., None]], axis=-1)
    rendered = render_heatmaps(torch.from_numpy(joints)[None], size=scene.size)
    maps = rendered[0].clamp(0, 1).numpy()  # [V, F, H, W]
    sides = np.array(joint_sides(scene.layout))
    image = np.ones((*maps.shape[1:], 3), np.float32)
    for side, colour in enumerate(SIDE_COLOURS):
        if (sides == side).any():
            strength = maps[sides == side].max(axis=0)[..., None]
            image *= 1 - strength * (1 - np.array(colour, np.float32) / 255)
    return np.round(255 * image).astype(np.uint8)


def enlarged(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Return an image as a cell of that size, in which its pixels are squares."""
    large = Image.fromarray(image).resize((width, height), Image.Resampling.NEAREST)
    return framed(np.asarray(large), FAINT, 1)


def draw_head(scene: Scene, width: int) -> NDArray[np.uint8]:
    """Return the clip's name and what is known of it, in as many lines as ``width`` pixels ask for."""
    lines: list[str] = []
    for detail in scene.details:
        longer = SEPARATOR.join([*lines[-1:], detail])
        if lines and font(TEXT).getlength(longer) <= width - 16:
            lines[-1] = longer
        else:
            lines.append(detail)
    image = Image.new("RGB", (width, 12 + LINE * (1 + len(lines))), PAPER)
    draw = ImageDraw.Draw(image)
    draw.text((8, 6), shortened(scene.name, TITLE, width - 16), fill=(0, 0, 0), font=font(TITLE))
    for i, line in enumerate(lines):
        y = 12 + LINE * (1 + i)
        draw.text((8, y), shortened(line, TEXT, width - 16), fill=INK, font=font(TEXT))
    return np.asarray(image)


def legend_entries(scene: Scene) -> list[tuple[str, int, int]]:
    """Return what colours and lines mean: a text, and the person and the side that look like it."""
    persons, sides = len(scene.takes[0].keypoints), set(joint_sides(scene.layout))
    entries = [(text, 0, side) for side, text in SIDE_TEXTS.items() if side in sides and len(sides) > 1]
    if persons > 1:
        shown = min(persons, LEGEND_PERSONS)
        texts = [f"person {i + 1}" for i in range(shown)]
        texts[-1] += ", and so on" if persons > shown else ""
        entries += [(text, i, NEITHER) for i, text in enumerate(texts)]
    return entries


def draw_legend(scene: Scene, width: int) -> NDArray[np.uint8]:
    """Return the legend in as many lines as ``width`` pixels ask for."""
    entries = legend_entries(scene)
    places, x, y = [], 8.0, 0
    for text, _, _ in entries:
        wide = 44 + font(TEXT).getlength(text) + 22
        if x + wide > width and x > 8:
            x, y = 8.0, y + LINE
        places.append((x, y))
        x += wide
    image = np.full((y + LINE + 4, width, 3), PAPER, np.uint8)
    for (_, person, side), (x, y) in zip(entries, places, strict=True):
        points, scores = np.zeros((person + 1, 6, 2)), np.zeros((person + 1, 6))
        ends = [2 * side, 2 * side + 1]
        points[person, ends] = [(x + 5, y + 10), (x + 35, y + 10)]
        scores[person, ends] = 1
        image = draw_skeletons(image, points, scores, LEGEND_BODY, width=2.5)
    picture = Image.fromarray(image)
    draw = ImageDraw.Draw(picture)
    for (text, _, _), (x, y) in zip(entries, places, strict=True):
        draw.text((x + 44, y + 2), text, fill=INK, font=font(TEXT))
    return np.asarray(picture)


def frame_centre(scene: Scene, frame: int, width: int) -> float:
    """Return where a frame lies on a time line ``width`` pixels wide."""
    return 8 + (width - 16) * (frame + 0.5) / scene.num_frames


def time_lines(scene: Scene) -> list[tuple[int, Take]]:
    """Return the height in pixels at which each time line lies, and its take: one line where all takes agree."""
    first = set(scene.takes[0].given.tolist())
    if all(set(take.given.tolist()) == first and not take.left_out.any() for take in scene.takes):
        return [(12, scene.takes[0])]
    return [(LINE + 10 + i * (LINE + 20), take) for i, take in enumerate(scene.takes)]


def draw_time_line(scene: Scene, width: int) -> NDArray[np.uint8]:
    """Return lines through all frames of the clip, with those marked that a model is given, and without those that
    the noise leaves out."""
    lines = time_lines(scene)
    image = Image.new("RGB", (width, lines[-1][0] + 12 + LINE), PAPER)
    draw = ImageDraw.Draw(image)
    for y, take in lines:
        if len(lines) > 1:
            title = shortened(take.title, TEXT, width - 16)
            draw.text((8, y - 10 - LINE), title, fill=INK, font=font(TEXT))
        draw.line([8, y, width - 8, y], fill=FAINT, width=3)
        half = max(0.5, (width - 16) / scene.num_frames / 2)
        for frame in take.frames[take.left_out].tolist():
            x = frame_centre(scene, frame, width)
            draw.rectangle([x - half, y - 2, x + half, y + 2], fill=PAPER)
        for frame in set(take.given.tolist()):
            x = round(frame_centre(scene, frame, width))
            draw.rectangle([x - 1, y - 6, x + 1, y + 6], fill=SAMPLED)
    y = image.height - LINE - 2
    last = str(scene.num_frames - 1)
    draw.text((8, y), "0", fill=INK, font=font(TEXT))
    draw.text((width - 8 - font(TEXT).getlength(last), y), last, fill=INK, font=font(TEXT))
    text = shortened("frames that a model is given", TEXT, width - 130)
    x = round((width - font(TEXT).getlength(text)) / 2)
    draw.rectangle([x - 10, y + 2, x - 8, y + 14], fill=SAMPLED)
    draw.text((x, y), text, fill=INK, font=font(TEXT))
    return np.asarray(image)
