"""Joint layouts by name or file, and all that is known of layouts in one place to import from."""

from pathlib import Path

from fastpose.data.pack.built_in_layouts import (
    BODY25,
    COCO17,
    COCO_WHOLEBODY133,
    H36M17,
    HALPE26,
    HALPE136,
    KINECT20,
    KINECT25,
    LAYOUTS,
    MEDIAPIPE33,
    OPENPOSE18,
    PENN13,
)
from fastpose.data.pack.layout import Layout
from fastpose.data.pack.layout_conversion import conversion, convert, exchanges_sides, tell_conversion

__all__ = [
    "BODY25",
    "COCO17",
    "COCO_WHOLEBODY133",
    "H36M17",
    "HALPE26",
    "HALPE136",
    "KINECT20",
    "KINECT25",
    "LAYOUTS",
    "MEDIAPIPE33",
    "OPENPOSE18",
    "PENN13",
    "Layout",
    "conversion",
    "convert",
    "exchanges_sides",
    "get_layout",
    "tell_conversion",
]


def get_layout(layout: "str | Path | Layout") -> Layout:
    """Return the layout of that name, or in that JSON file; a ``Layout`` is returned as it is.

    Raises:
        ValueError: no built-in layout of that name and no such file, or a file that is no layout.
    """
    if isinstance(layout, Layout):
        return layout
    if str(layout) in LAYOUTS:
        return LAYOUTS[str(layout)]
    if isinstance(layout, str | Path) and Path(layout).is_file():
        return Layout.from_file(layout)
    raise ValueError(
        f"no layout {str(layout)!r}, and no file of that name: give one of {', '.join(LAYOUTS)}, "
        "or a JSON file {name, joints, pairs, limbs}"
    )
