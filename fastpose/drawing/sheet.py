"""A clip as one image: the frames that a model is given, clean above noisy."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from fastpose.drawing.parts import (
    LINE,
    TEXT,
    draw_frame,
    draw_head,
    draw_heatmaps,
    draw_legend,
    draw_time_line,
    enlarged,
    window_of,
)
from fastpose.drawing.style import INK, PAPER, font, shortened
from fastpose.drawing.takes import Scene
from fastpose.system.files import atomic_path

COLUMNS = 8
CELL = 200  # width in pixels
GAP = 6
LEAST_WIDTH = 640


def write_sheet(path: Path, scene: Scene) -> None:
    """Write the sheet as PNG, atomically."""
    with atomic_path(path) as partial:
        Image.fromarray(draw_sheet(scene)).save(partial, format="PNG")


def draw_sheet(scene: Scene) -> NDArray[np.uint8]:
    """Return [H, W, 3]: bands of eight frames, in each a row for every take, and its heatmaps below."""
    count = len(scene.takes[0].sampled)
    columns = min(COLUMNS, count)
    width = max(LEAST_WIDTH, GAP + columns * (CELL + GAP))
    bands = [
        _draw_band(scene, begin, min(begin + columns, count), width) for begin in range(0, count, columns)
    ]
    parts = [draw_head(scene, width), draw_legend(scene, width), *bands, draw_time_line(scene, width)]
    return np.concatenate(parts)


def _draw_band(scene: Scene, begin: int, end: int, width: int) -> NDArray[np.uint8]:
    """Return samples ``begin`` to ``end`` - 1 of all takes."""
    window = window_of(scene)
    rows = []
    for take in scene.takes:
        maps = draw_heatmaps(scene, take) if scene.heatmaps else None
        cells = [draw_frame(scene, take, take.sampled[i], window, CELL) for i in range(begin, end)]
        height = len(cells[0])
        row = Image.new("RGB", (width, 2 * LINE + (1 + scene.heatmaps) * (height + GAP)), PAPER)
        draw = ImageDraw.Draw(row)
        draw.text((8, 4), shortened(take.title, TEXT, width - 16), fill=INK, font=font(TEXT))
        for i, cell in enumerate(cells):
            x, y = GAP + i * (CELL + GAP), 2 * LINE
            frame = f"frame {take.given[begin + i]}"
            draw.text((x + 2, y - LINE + 3), frame, fill=INK, font=font(TEXT))
            row.paste(Image.fromarray(cell), (x, y))
            if maps is not None:
                large = enlarged(maps[take.sampled[begin + i]], CELL, height)
                row.paste(Image.fromarray(large), (x, y + height + GAP))
        rows.append(np.asarray(row))
    return np.concatenate(rows)
