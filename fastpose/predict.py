"""`fastpose predict RUN FILE [FILE …]`: what a trained model says of clips."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from fastpose._command import Command, parse_arguments
from fastpose.settings import CheckpointConfig
from fastpose.settings.keypoints import KeypointOptions
from fastpose.settings.video import VideoConfig

COMMON = ("pose", "pose_weights")  # of the nested groups: listed in full by --help


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """Classify clips in files; prints the likeliest classes of each clip.

    Files are .json of pose estimators (OpenPose, AlphaPose, COCO, MMPose, Ultralytics, MediaPipe,
    Kinetics-skeleton) or of keypoints, .npz and .npy, .skeleton (NTU RGB+D), .pkl (PYSKL, MMAction2),
    .safetensors (packed by fastpose pack), and with --pose videos (.mp4, .avi, .mov, .mkv, .webm). A file that
    cannot be used is reported and makes the exit status 1; the others are classified all the same.
    """

    run: Annotated[Path, tyro.conf.Positional]
    """Folder of a finished run, its model.safetensors, penn-robust (comes with fastpose), hf://user/repo, or a
    checkpoint of others with --model."""
    files: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Files, folders and glob patterns."""
    layout: str | None = None
    """What joints are, where files do not say: a built-in layout such as coco17, or a JSON file that describes them."""
    image_size: tuple[int, int] | None = None
    """Height and width in pixels of clips that do not state theirs."""
    split: str | None = None
    """Only the clips of this split of .pkl and .safetensors files."""
    top_k: int = 5
    """Classes to name for each clip."""
    per_person: bool = False
    """Classify each person of a clip alone."""
    out: Path | None = None
    """Also write all results here, as .csv or .json."""
    embed: Path | None = None
    """Write each clip's features here, as .npz."""
    window: int | None = None
    """Frames of each window that a longer clip is cut into; 0 cuts none. By default 300, for clips of more than 900."""
    stride: int | None = None
    """Frames from the start of one window to the next; by default half a window."""
    num_clips: int = 1
    """Samplings of each clip whose scores are averaged."""
    flip: bool = False
    """Also average over mirror images."""
    denoise: str | None = None
    """Filter the noise out of the keypoints first: off, sure, or a prior that `fastpose denoise --fit` wrote. By
    default what the model's file says, as `fastpose export --denoise` wrote it."""
    convert: bool = False
    """Convert joints for a model of equally many others (coco17 for h36m17); else they are converted without it."""
    mirror: bool = True
    """Exchange left and right where Kinect's joints are converted; its picture is mirrored."""
    batch_size: int | None = None
    """Windows in one forward pass; by default 64 for joints, 16 for images."""
    device: str = "auto"
    """auto, cpu or cuda."""
    precision: str = "auto"
    """auto, bf16, fp32 or int8, of the matrix products."""
    kpfiles: Path | None = None
    """Folder of the keypoint files that an index of Kinetics-400 points to."""
    draw: Path | None = None
    """Write the video with skeletons and classes on it, or several to a folder."""
    coordinates: KeypointOptions = field(default_factory=KeypointOptions)
    video: VideoConfig = field(default_factory=VideoConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)


def run(arguments: Arguments) -> int:
    from fastpose.data.pack.layouts import get_layout
    from fastpose.data.sources.found_files import ReadOptions
    from fastpose.prediction import files as prediction_files
    from fastpose.prediction.predictor import Predictor
    from fastpose.weights.foreign import open_model

    prediction_files.check_targets(arguments.out, arguments.embed)
    layout = get_layout(arguments.layout) if arguments.layout else None
    options = ReadOptions(
        layout=layout,
        image_size=arguments.image_size,
        split=arguments.split,
        keypoints=arguments.coordinates,
        kpfiles=arguments.kpfiles,
    )
    settings = (
        "device",
        "precision",
        "batch_size",
        "num_clips",
        "flip",
        "window",
        "stride",
        "denoise",
        "convert",
    )
    model, card = open_model(arguments.run, arguments.checkpoint, layout)
    exchange_sides = None if arguments.mirror else False
    chosen = {name: getattr(arguments, name) for name in settings}
    predictor = Predictor(model, card, exchange_sides=exchange_sides, **chosen)
    outputs = {
        name: getattr(arguments, name) for name in ("top_k", "per_person", "out", "embed", "video", "draw")
    }
    return prediction_files.run(predictor, arguments.files, options, **outputs)


def main(argv: list[str] | None = None) -> int:
    with Command() as command:
        command.status = run(parse_arguments(Arguments, argv, "predict", common=COMMON))
    return command.status


if __name__ == "__main__":
    sys.exit(main())
