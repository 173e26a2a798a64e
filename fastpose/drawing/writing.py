"""Pictures of a clip as files, of the kind that the file's ending says."""

from collections.abc import Callable
from pathlib import Path

from fastpose.drawing.animation import load_av, write_gif, write_mp4
from fastpose.drawing.page import write_page
from fastpose.drawing.sheet import write_sheet
from fastpose.drawing.takes import Scene
from fastpose.system.files import check_target

LEAST_FPS, MOST_FPS = 0.1, 1000.0
WRITERS: dict[str, Callable[[Path, Scene, float], None]] = {
    ".png": lambda path, scene, fps: write_sheet(path, scene),
    ".gif": write_gif,
    ".mp4": write_mp4,
    ".html": write_page,
}


def check_picture(path: Path) -> None:
    """Refuse a file that cannot be written, before any work is done for it.

    Raises:
        ValueError: its ending is none of ``WRITERS``, or what would write it is not installed.
        OSError: its folder is missing, or it is a folder or a device.
    """
    suffix = path.suffix.lower()
    if suffix not in WRITERS:
        raise ValueError(f"--out {path}: expected a file that ends in one of {', '.join(WRITERS)}")
    check_target(path)
    if suffix == ".mp4":
        load_av()


def write_picture(path: Path, scene: Scene, fps: float) -> None:
    """Write a clip as image (.png), animation (.gif, .mp4) or page (.html), atomically.

    Args:
        path: that ``check_picture`` has passed.
        scene: the clip.
        fps: frames of the clip per second; sampled frames alone last as long as all of them.

    Raises:
        ValueError: ``fps`` is out of range.
    """
    if not LEAST_FPS <= fps <= MOST_FPS:
        raise ValueError(f"--fps must be from {LEAST_FPS:g} to {MOST_FPS:g}, got {fps:g}")
    shown = fps * scene.length / scene.num_frames if scene.is_input else fps
    WRITERS[path.suffix.lower()](path, scene, shown)
