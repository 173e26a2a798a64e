"""A clip as an animation, GIF or MP4: all its frames in turn, clean beside noisy."""

import importlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from tqdm import tqdm

from fastpose.drawing.parts import (
    LINE,
    TEXT,
    draw_frame,
    draw_head,
    draw_heatmaps,
    draw_legend,
    draw_time_line,
    enlarged,
    frame_centre,
    framed,
    time_lines,
    window_of,
)
from fastpose.drawing.style import INK, PAPER, SAMPLED, SIDE_COLOURS, font, shortened
from fastpose.drawing.takes import Scene
from fastpose.system.files import atomic_path

CELL = 400  # width in pixels
GAP = 8
SHADES = 16  # of each colour in a GIF, from white


def write_gif(path: Path, scene: Scene, fps: float) -> None:
    """Write all frames as GIF, atomically; it counts time in hundredths of a second."""
    palette = _palette()
    images = (
        Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE)
        for frame in _with_progress(scene)
    )
    first = next(images)
    duration = max(20, 10 * round(100 / fps))
    with atomic_path(path) as partial:
        first.save(
            partial, format="GIF", save_all=True, append_images=images, duration=duration, loop=0, disposal=1
        )


def _palette() -> Image.Image:
    """Return an image whose palette is every colour that is drawn, in its shades from white."""
    shares = np.linspace(0, 1, SHADES)[:, None]
    shades = [255 - shares * (255 - np.array(colour)) for colour in (*SIDE_COLOURS, SAMPLED)]
    image = Image.new("P", (1, 1))
    image.putpalette(np.round(np.concatenate(shades)).astype(np.uint8).tobytes())
    return image


def write_mp4(path: Path, scene: Scene, fps: float) -> None:
    """Write all frames as H.264, atomically.

    Raises:
        ValueError: the package av, which encodes it, is not installed.
    """
    av = load_av()
    with atomic_path(path) as partial, av.open(str(partial), "w", format="mp4") as container:
        stream = None
        for frame in _with_progress(scene):
            if stream is None:
                stream = container.add_stream("h264", rate=Fraction(fps).limit_denominator(1001))
                stream.height, stream.width = frame.shape[:2]
                stream.pix_fmt = "yuv420p"  # which every player knows
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        assert stream is not None
        container.mux(stream.encode())


def load_av() -> Any:
    """Import PyAV; ValueError, which says how to get it, where it is not installed."""
    try:
        return importlib.import_module("av")
    except ImportError as error:
        raise ValueError(
            "an .mp4 needs the package av: pip install av; .gif, .html and .png need nothing more"
        ) from error


def _with_progress(scene: Scene) -> Iterator[NDArray[np.uint8]]:
    return iter(tqdm(draw_frames(scene), total=scene.length, unit=" frames", desc="drawing", disable=None))


def draw_frames(scene: Scene) -> Iterator[NDArray[np.uint8]]:
    """Yield [H, W, 3] for each of the frames; H and W are even, as video has them."""
    window = window_of(scene)
    width = GAP + 2 * (CELL + GAP)  # that of two cells, also where there is one, so that texts have room
    head = np.concatenate([draw_head(scene, width), draw_legend(scene, width)])
    line = draw_time_line(scene, width)
    maps = [draw_heatmaps(scene, take) for take in scene.takes] if scene.heatmaps else []
    sampled = [set(take.sampled.tolist()) for take in scene.takes]
    for position in range(scene.length):
        cells = [draw_frame(scene, take, position, window, CELL) for take in scene.takes]
        height = len(cells[0])
        body = Image.new("RGB", (width, 2 * LINE + (1 + scene.heatmaps) * (height + GAP)), PAPER)
        draw = ImageDraw.Draw(body)
        for i, (take, cell) in enumerate(zip(scene.takes, cells, strict=True)):
            x, y = GAP + i * (CELL + GAP), 2 * LINE
            draw.text((x, 4), shortened(take.title, TEXT, CELL), fill=INK, font=font(TEXT))
            draw.text((x, LINE), f"frame {take.frames[position]}", fill=INK, font=font(TEXT))
            marked = framed(cell, SAMPLED, 3) if position in sampled[i] else cell
            body.paste(Image.fromarray(marked), (x, y))
            if maps:
                large = enlarged(maps[i][position], CELL, height)
                body.paste(Image.fromarray(large), (x, y + height + GAP))
        parts = [head, np.asarray(body), _with_playhead(scene, line, position)]
        image = np.concatenate(parts)
        yield np.pad(image, ((0, len(image) % 2), (0, 0), (0, 0)), constant_values=255)


def _with_playhead(scene: Scene, line: NDArray[np.uint8], position: int) -> NDArray[np.uint8]:
    """Return the time lines with a mark at the frame that is shown."""
    image = Image.fromarray(line)
    draw = ImageDraw.Draw(image)
    lines = time_lines(scene)
    for y, take in lines:
        x = frame_centre(scene, int(take.frames[position]), image.width)
        draw.polygon([(x - 5, y - 11), (x + 5, y - 11), (x, y - 3)], fill=INK)
        draw.line([x, y - 4, x, y + 7], fill=INK, width=1)
    return np.asarray(image)
