"""``fastpose pack``: turn a data set into one packed file."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from fastpose._command import Command, run_one_of
from fastpose.data.sources.npz import pack_npz
from fastpose.data.sources.ntu import pack_ntu
from fastpose.data.sources.pack_log import pack_to_file, read_classes
from fastpose.data.sources.penn_action import pack_penn_action
from fastpose.data.sources.pyskl import pack_pyskl
from fastpose.data.synthetic.builtin import pack_synthetic

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
SourceLayout = Annotated[
    str | None, arg(help="What the file's joints are; by default coco17, kinect25 or penn13 by their number.")
]
OwnLayout = Annotated[str, arg(help="JSON file {name, joints, pairs, limbs}, or a built-in layout.")]


def ntu(source: Source, *, out: Out, layout: FromKinect = "kinect25", mirror: Mirror = True,
        threads: Threads = None, on_error: OnError = "skip") -> str:  # fmt: skip
    """Pack NTU RGB+D 60 or 120: .skeleton files."""
    settings = {"layout": layout, **_sides(mirror), "threads": threads, "on_error": on_error}
    return pack_to_file(out, pack_ntu, source, **settings, progress=True)


def synthetic(*, out: Out, seed: int = 0, keep_files: KeepFiles = None, layout: FromKinect = "kinect25",
              mirror: Mirror = True, threads: Threads = None) -> str:  # fmt: skip
    """Pack generated people in actions of NTU RGB+D, made as .skeleton files."""
    settings = {"seed": seed, "layout": layout, **_sides(mirror), "threads": threads}
    return pack_to_file(out, pack_synthetic, keep_files, **settings, progress=True)


def pyskl(source: Source, *, out: Out, layout: TargetLayout = None, source_layout: SourceLayout = None,
          mirror: Mirror = True, image_size: ImageSize = None, classes: Classes = None,
          on_error: OnError = "skip") -> str:  # fmt: skip
    """Pack a PYSKL or MMAction2 annotation pickle."""
    layouts = {"layout": layout, "source_layout": source_layout, **_sides(mirror)}
    settings = {"image_size": image_size, "class_names": read_classes(classes)}
    return pack_to_file(out, pack_pyskl, source, **layouts, **settings, on_error=on_error, progress=True)


def penn_action(source: Source, *, out: Out, on_error: OnError = "skip") -> str:
    """Pack Penn Action: the data set's folder, or its labels folder."""
    return pack_to_file(out, pack_penn_action, source, on_error=on_error, progress=True)


def npz(source: Source, *, out: Out, layout: OwnLayout, image_size: ImageSize = None, classes: Classes = None,
        on_error: OnError = "skip") -> str:  # fmt: skip
    """Pack your own data: a folder of .npz files, one a clip."""
    settings = {"layout": layout, "image_size": image_size, "class_names": read_classes(classes)}
    return pack_to_file(out, pack_npz, source, **settings, on_error=on_error, progress=True)


def _sides(mirror: bool) -> dict[str, bool | None]:
    """Return the readers' setting of ``--mirror``: their own rule, or no exchange."""
    return {"exchange_sides": None if mirror else False}


COMMANDS: dict[str, Callable[..., str]] = {
    "ntu": ntu,
    "pyskl": pyskl,
    "penn-action": penn_action,
    "npz": npz,
    "synthetic": synthetic,
}


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status, 2 for what the user can mend."""
    with Command() as command:
        print(run_one_of(COMMANDS, arguments, "pack", "Pack a data set into one file."))
    return command.status


if __name__ == "__main__":
    sys.exit(main())
