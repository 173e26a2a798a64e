"""``fastpose pack``: turn a data set into one packed file."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from fastpose._command import Command, run_one_of
from fastpose.data.sources.pack_log import PackReport, pack_to_file, read_classes
from fastpose.settings.keypoints import KeypointOptions
from fastpose.settings.video import VideoConfig

if TYPE_CHECKING:
    from fastpose.data.sources.keypoint_folder import LabelOptions

Source = Positional[Annotated[Path, arg(help="File or folder to pack; subfolders are searched too.")]]
Out = Annotated[Path, arg(help="The packed file to write (safetensors); replaced if it exists.")]
OnError = Annotated[
    Literal["skip", "raise"],
    arg(
        help="Skip what cannot be used and report it at the end, or stop at the first such item and write nothing."
    ),
]
Threads = Annotated[int | None, arg(help="Decoder threads; by default all that this process may use.")]
FromKinect = Annotated[str, arg(help="Layout of the pack: kinect25 (native), or another built-in one.")]
Mirror = Annotated[
    bool,
    arg(help="Exchange left and right where Kinect's joints become another layout: its picture is mirrored."),
]
KeepFiles = Annotated[Path | None, arg(help="Keep the .skeleton files in this folder, new or empty.")]
ImageSize = Annotated[tuple[int, int] | None, arg(help="Height and width of clips that do not state theirs.")]
Classes = Annotated[
    str | None,
    arg(help="Their number, or a text file of names, one a line; by default the largest label + 1."),
]
TargetLayout = Annotated[
    str | None,
    arg(help="Layout of the pack, by default the file's; or a JSON file that describes its joints."),
]
SourceLayout = Annotated[str | None, arg(help="What the file's joints are; 17 are taken for coco17.")]
KpFiles = Annotated[
    Path | None, arg(help="Folder of the keypoint files that an index of Kinetics-400 points to.")
]
Videos = Positional[
    Annotated[tuple[str, ...], arg(help="Videos, folders and glob patterns; a video's folder is its class.")]
]
ConvertTo = Annotated[str | None, arg(help="Layout of the pack, by default the estimator's.")]
MinScore = Annotated[float, arg(help="A joint with a smaller score is missing.")]

AS_THEY_ARE = KeypointOptions()


def ntu(source: Source, *, out: Out, layout: FromKinect = "kinect25", mirror: Mirror = True,
        threads: Threads = None, on_error: OnError = "skip") -> PackReport:  # fmt: skip
    """Pack NTU RGB+D 60 or 120: .skeleton files."""
    from fastpose.data.sources.ntu import pack_ntu

    settings = {"layout": layout, **_sides(mirror), "threads": threads, "on_error": on_error}
    return pack_to_file(out, pack_ntu, source, **settings, progress=True)


def synthetic(*, out: Out, seed: int = 0, keep_files: KeepFiles = None, layout: FromKinect = "kinect25",
              mirror: Mirror = True, threads: Threads = None) -> PackReport:  # fmt: skip
    """Pack generated people in actions of NTU RGB+D, made as .skeleton files."""
    from fastpose.data.synthetic.builtin import pack_synthetic

    settings = {"seed": seed, "layout": layout, **_sides(mirror), "threads": threads}
    return pack_to_file(out, pack_synthetic, keep_files, **settings, progress=True)


def pyskl(source: Source, *, out: Out, layout: TargetLayout = None, source_layout: SourceLayout = None,
          mirror: Mirror = True, image_size: ImageSize = None, classes: Classes = None, kpfiles: KpFiles = None,
          coordinates: KeypointOptions = AS_THEY_ARE, on_error: OnError = "skip") -> PackReport:  # fmt: skip
    """Pack a PYSKL or MMAction2 annotation pickle."""
    from fastpose.data.sources.pyskl import pack_pyskl

    layouts = {"layout": layout, "source_layout": source_layout, **_sides(mirror)}
    settings = {"image_size": image_size, "class_names": read_classes(classes), "kpfiles": kpfiles}
    taken = {"keypoints": coordinates, "on_error": on_error}
    return pack_to_file(out, pack_pyskl, source, **layouts, **settings, **taken, progress=True)


def penn_action(source: Source, *, out: Out, on_error: OnError = "skip") -> PackReport:
    """Pack Penn Action: the data set's folder, or its labels folder."""
    from fastpose.data.sources.penn_action import pack_penn_action

    return pack_to_file(out, pack_penn_action, source, on_error=on_error, progress=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeypointFiles:
    """What keypoint files do not say themselves."""

    layout: str | None = None
    """What joints are, where files do not say: a built-in layout, or a JSON file {name, joints, pairs, limbs}."""
    convert_to: str | None = None
    """Layout of the pack; by default that of the first clip."""
    mirror: bool = True
    """Exchange left and right between Kinect's layouts, whose picture is a mirror image, and all others."""
    image_size: tuple[int, int] | None = None
    """Height and width of clips that do not state theirs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """Classes and splits, where files do not say them."""

    labels: Path | None = None
    """csv file clip,label[,split][,group]; without it, the files or the folders that hold them name the classes."""
    classes: str | None = None
    """Number of classes, or a text file of their names; by default the names met, or the largest label + 1."""
    val_fraction: float | None = None
    """Share of each class to hold out as split val, if there is no split."""
    seed: int = 0
    """Of the clips held out."""

    def options(self) -> "LabelOptions":
        """Return them as readers take them, with the names of classes read."""
        from fastpose.data.sources.keypoint_folder import LabelOptions

        return LabelOptions(
            labels=self.labels,
            class_names=read_classes(self.classes),
            val_fraction=self.val_fraction,
            seed=self.seed,
        )


FILES_SAY = KeypointFiles()
FOLDERS_SAY = Labels()
NO_VIDEO = VideoConfig()


def keypoints(source: Source, *, out: Out, files: KeypointFiles = FILES_SAY, labels: Labels = FOLDERS_SAY,
              coordinates: KeypointOptions = AS_THEY_ARE, on_error: OnError = "skip") -> PackReport:  # fmt: skip
    """Pack what pose estimators wrote, or your own keypoints: .json, .npz and .npy files."""
    from fastpose.data.sources.found_files import SUFFIXES

    return _pack_files(SUFFIXES, source, out, files, labels, coordinates, on_error)


def npz(source: Source, *, out: Out, files: KeypointFiles = FILES_SAY, labels: Labels = FOLDERS_SAY,
        coordinates: KeypointOptions = AS_THEY_ARE, on_error: OnError = "skip") -> PackReport:  # fmt: skip
    """Pack your own data: a folder of .npz files, one a clip."""
    return _pack_files((".npz",), source, out, files, labels, coordinates, on_error)


def _pack_files(suffixes: tuple[str, ...], source: Path, out: Path, files: KeypointFiles, labels: Labels,
                coordinates: KeypointOptions, on_error: OnError) -> PackReport:  # fmt: skip
    from fastpose.data.pack.layouts import get_layout
    from fastpose.data.sources.found_files import ReadOptions
    from fastpose.data.sources.keypoint_folder import pack_keypoints

    layout = None if files.layout is None else get_layout(files.layout)
    options = ReadOptions(layout=layout, image_size=files.image_size, keypoints=coordinates)
    settings = {
        "options": options,
        "labels": labels.options(),
        "suffixes": suffixes,
        "convert_to": files.convert_to,
    }
    settings |= {**_sides(files.mirror), "on_error": on_error}
    return pack_to_file(out, pack_keypoints, source, **settings, progress=True)


def video(source: Videos, *, out: Out, video: VideoConfig = NO_VIDEO, labels: Labels = FOLDERS_SAY,
          convert_to: ConvertTo = None, min_score: MinScore = 0.0,
          on_error: OnError = "skip") -> PackReport:  # fmt: skip
    """Pack videos in folders by class, FOLDER/CLASS/*.mp4, with a pose estimator."""
    from fastpose.video.packing import pack_videos

    settings = {"labels": labels.options(), "convert_to": convert_to, "min_score": min_score}
    return pack_to_file(out, pack_videos, source, video, **settings, on_error=on_error, progress=True)


def _sides(mirror: bool) -> dict[str, bool | None]:
    """Return the readers' setting of ``--mirror``: their own rule, or no exchange."""
    return {"exchange_sides": None if mirror else False}


COMMANDS: dict[str, Callable[..., PackReport]] = {
    "ntu": ntu,
    "pyskl": pyskl,
    "penn-action": penn_action,
    "keypoints": keypoints,
    "npz": npz,
    "synthetic": synthetic,
    "video": video,
}


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status, 1 where clips were left out, 2 for what the user can mend."""
    with Command() as command:
        report = run_one_of(COMMANDS, arguments, "pack", "Pack a data set into one file.")
        print(report.text)
        command.status = 0 if report.complete else 1
    return command.status


if __name__ == "__main__":
    sys.exit(main())
