"""A clip as one page of HTML that plays it, in any browser and without a network."""

import base64
import html
import io
import json
import re
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fastpose.data.pack.presence import present_joints
from fastpose.drawing.parts import LEGEND_PERSONS, OUTSIDE, draw_heatmaps, legend_entries, window_of
from fastpose.drawing.skeleton import DENSE
from fastpose.drawing.style import (
    FAINT,
    PALEST,
    SAMPLED,
    SIDE_COLOURS,
    joint_sides,
    limb_sides,
    person_style,
)
from fastpose.drawing.takes import Scene, Take
from fastpose.system.files import write_text

LEAST_SCORE = 0.001  # that a present joint's score is rounded to


def write_page(path: Path, scene: Scene, fps: float) -> None:
    """Write the page, atomically."""
    write_text(path, format_page(scene, fps))


def format_page(scene: Scene, fps: float) -> str:
    """Return the page: all that it shows is data in it, which no name of a clip or joint can end or add code to."""
    template = resources.files("fastpose.drawing").joinpath("page.html").read_text(encoding="utf-8")
    data = json.dumps(_page_data(scene, fps), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    texts = {"TITLE": html.escape(f"{scene.name} - fastpose show"), "DATA": data.replace("<", "\\u003c")}
    return re.sub(r"\{\{(\w+)\}\}", lambda found: texts[found[1]], template)


def _page_data(scene: Scene, fps: float) -> dict[str, Any]:
    window = window_of(scene)
    return {
        "name": scene.name,
        "details": scene.summary,
        "joints": scene.layout.joints,
        "jointSides": joint_sides(scene.layout),
        "limbs": scene.layout.limbs,
        "limbSides": limb_sides(scene.layout),
        "size": scene.size,
        "window": [round(edge, 2) for edge in (window.left, window.top, window.width, window.height)],
        "numFrames": scene.num_frames,
        "fps": fps,
        "takes": [_take_data(scene, take) for take in scene.takes],
        "styles": [person_style(person) for person in range(LEGEND_PERSONS)],
        "legend": legend_entries(scene),
        "colours": SIDE_COLOURS,
        "sampledColour": SAMPLED,
        "faint": FAINT,
        "outside": OUTSIDE,
        "palest": PALEST,
        "dense": DENSE,
    }


def _take_data(scene: Scene, take: Take) -> dict[str, Any]:
    """Return a take's numbers; a person is x, y and score of each joint in one row, [] in a frame without it."""
    present = present_joints(take.keypoints, take.scores)
    digits = 2 if scene.is_input else 1
    scores = np.where(present, np.maximum(take.scores.astype(np.float64).round(3), LEAST_SCORE), 0)
    joints = np.concatenate([take.keypoints.astype(np.float64).round(digits), scores[..., None]], axis=-1)
    seen = np.asarray(present.any(axis=2))  # [M, F]
    persons, frames = seen.shape
    rows = joints.reshape(persons, frames, -1).tolist()
    points = [[rows[i][j] if seen[i, j] else [] for i in range(persons)] for j in range(frames)]
    return {
        "title": take.title,
        "frames": take.frames.tolist(),
        "leftOut": np.flatnonzero(take.left_out).tolist(),
        "sampled": take.sampled.tolist(),
        "points": points,
        "heatmaps": _heatmaps_url(scene, take) if scene.heatmaps else None,
    }


def _heatmaps_url(scene: Scene, take: Take) -> str:
    """Return all heatmaps of a take, one below the other, as an image in the text of an address."""
    maps = draw_heatmaps(scene, take)
    file = io.BytesIO()
    Image.fromarray(maps.reshape(-1, *maps.shape[2:])).save(file, format="PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")
