"""`fastpose show FILE --out PICTURE`: skeletons of a clip over time."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from fastpose._command import Command, parse_arguments
from fastpose.settings.keypoints import KeypointOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """Draw a clip: as an image of the frames that a model is given, or all its frames as an animation or a page.

    Left is blue, right vermilion; persons differ in their lines; frames that a model is given are marked green.
    """

    file: Annotated[str, tyro.conf.Positional]
    """File of keypoints, of any kind that predict reads; or a folder, or a glob pattern."""
    out: Path
    """File to write: .png, .gif, .mp4 or .html. Replaced if it exists."""
    clip: str | None = None
    """Name of the clip; by default the first one."""
    layout: str | None = None
    """What joints are, where files do not say: a built-in layout such as coco17, or a JSON file that describes them."""
    image_size: tuple[int, int] | None = None
    """Height and width in pixels of clips that do not state theirs."""
    split: str | None = None
    """Only the clips of this split of .pkl and .safetensors files."""
    noise: float | None = None
    """Also draw the clip with noise of this strength, as evaluation has it."""
    family: str | None = None
    """Kind of the noise, gaussian by default: one of those that `evaluate --families` measures."""
    seed: int = 0
    """Of the noise."""
    clip_len: int = 24
    """Frames that a model is given."""
    crop: bool = False
    """Draw what a model is given: those frames alone, cropped to the persons."""
    heatmap: bool = False
    """Also draw the heatmaps that it is given; implies --crop."""
    size: tuple[int, int] | None = None
    """Height and width in pixels of what a model is given; 56 56 by default."""
    fps: float = 25.0
    """Frames of the clip per second of an animation."""
    kpfiles: Path | None = None
    """Folder of the keypoint files that an index of Kinetics-400 points to."""
    coordinates: KeypointOptions = field(default_factory=KeypointOptions)


def run(arguments: Arguments) -> str:
    from fastpose.data.pack.layouts import get_layout
    from fastpose.data.sources.found_files import ReadOptions
    from fastpose.data.sources.one_clip import find_clip
    from fastpose.drawing.takes import make_scene
    from fastpose.drawing.writing import check_picture, write_picture

    check_picture(arguments.out)
    cropped = arguments.crop or arguments.heatmap
    if arguments.family is not None and arguments.noise is None:
        raise ValueError("--family has no effect without --noise")
    if arguments.size is not None and not cropped:
        raise ValueError("--size has no effect without --crop or --heatmap")
    layout = get_layout(arguments.layout) if arguments.layout else None
    options = ReadOptions(
        layout=layout,
        image_size=arguments.image_size,
        split=arguments.split,
        keypoints=arguments.coordinates,
        kpfiles=arguments.kpfiles,
    )
    found = find_clip(arguments.file, options, arguments.clip)
    for note in found.notes():
        print(f"note: {note}", file=sys.stderr)
    scene = make_scene(
        found.packed,
        noise=arguments.noise,
        family=arguments.family or "gaussian",
        seed=arguments.seed,
        clip_len=arguments.clip_len,
        input_size=(arguments.size or (56, 56)) if cropped else None,
        heatmaps=arguments.heatmap,
    )
    write_picture(arguments.out, scene, arguments.fps)
    return f"{scene.name}: {scene.summary}\nwrote {arguments.out}"


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status, 2 for what the user can mend."""
    with Command() as command:
        print(run(parse_arguments(Arguments, argv, "show")))
    return command.status


if __name__ == "__main__":
    sys.exit(main())
