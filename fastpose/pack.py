"""``python -m fastpose.pack``: turn a data set into one packed file."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg
from tyro.extras import subcommand_cli_from_dict

Source = Positional[Annotated[Path, arg(help="File or folder to pack; folders are searched to the bottom.")]]
Out = Annotated[Path, arg(help="The packed file to write (safetensors); replaced if it exists.")]
OnError = Annotated[
    Literal["skip", "raise"],
    arg(
        help="Skip what cannot be used and tell at the end, or stop at the first such item and write nothing."
    ),
]
Threads = Annotated[int | None, arg(help="Decoder threads; by default all that this process may use.")]
FromKinect = Annotated[str, arg(help="Layout of the pack: kinect25 (native), h36m17 or coco17.")]
ImageSize = Annotated[tuple[int, int] | None, arg(help="Height and width, for clips that do not say theirs.")]
Classes = Annotated[
    str | None,
    arg(help="Their number, or a text file of names, one a line; by default the largest label + 1."),
]
KeepFiles = Annotated[Path | None, arg(help="Keep the .skeleton files in this folder, new or empty.")]
TargetLayout = Annotated[
    str | None, arg(help="Layout of the pack, by default the file's; or a JSON file that tells its joints.")
]
SourceLayout = Annotated[
    str | None, arg(help="What the file's joints are; by default coco17, kinect25 or penn13 by their number.")
]
OwnLayout = Annotated[str, arg(help="JSON file {name, joints, pairs, limbs}, or a built-in layout.")]


def ntu(source: Source, *, out: Out, layout: FromKinect = "kinect25", threads: Threads = None,
        on_error: OnError = "skip") -> None:  # fmt: skip
    """NTU RGB+D 60 or 120: .skeleton files."""
    from fastpose.data.ntu import pack_ntu

    _pack(out, pack_ntu, source, layout=layout, threads=threads, on_error=on_error, progress=True)


def synthetic(*, out: Out, seed: int = 0, keep_files: KeepFiles = None, layout: FromKinect = "kinect25",
              threads: Threads = None) -> None:  # fmt: skip
    """Generated people in actions of NTU RGB+D, through the same files, decoder and packer."""
    from fastpose.data.ntu import pack_synthetic

    _pack(out, pack_synthetic, keep_files, seed=seed, layout=layout, threads=threads, progress=True)


def pyskl(source: Source, *, out: Out, layout: TargetLayout = None, source_layout: SourceLayout = None,
          image_size: ImageSize = None, classes: Classes = None, on_error: OnError = "skip") -> None:  # fmt: skip
    """PYSKL or MMAction2 annotation pickle."""
    from fastpose.data.pyskl import pack_pyskl

    _pack(out, pack_pyskl, source, layout=layout, source_layout=source_layout, image_size=image_size,
          class_names=_class_names(classes), on_error=on_error)  # fmt: skip


def penn_action(source: Source, *, out: Out, on_error: OnError = "skip") -> None:
    """Penn Action: the data set's folder, or its labels folder."""
    from fastpose.data.penn_action import pack_penn_action

    _pack(out, pack_penn_action, source, on_error=on_error, progress=True)


def npz(source: Source, *, out: Out, layout: OwnLayout, image_size: ImageSize = None, classes: Classes = None,
        on_error: OnError = "skip") -> None:  # fmt: skip
    """Your own data: a folder of .npz files, one a clip."""
    from fastpose.data.npz import pack_npz

    _pack(out, pack_npz, source, layout=layout, image_size=image_size, class_names=_class_names(classes),
          on_error=on_error, progress=True)  # fmt: skip


def _class_names(classes: str | None) -> list[str] | int | None:
    if classes is None or classes.lstrip("-").isdecimal():
        return None if classes is None else int(classes)
    return Path(classes).read_text(encoding="utf-8").splitlines()


def _pack(out: Path, read: Callable[..., tuple], *source: Path | None, **settings: object) -> None:
    from fastpose.data.pack_log import summary
    from fastpose.data.packed_file import check_target

    check_target(out)
    start = time.perf_counter()
    packed, log = read(*source, **settings)
    packed.save(out)
    print(summary(packed, log, out, time.perf_counter() - start))


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status, 2 for what the user can mend."""
    commands = {f.__name__.replace("_", "-"): f for f in (ntu, pyskl, penn_action, npz, synthetic)}
    try:
        subcommand_cli_from_dict(
            commands, prog="python -m fastpose.pack", args=arguments, description=__doc__
        )
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
