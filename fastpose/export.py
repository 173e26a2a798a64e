"""`fastpose export RUN --out FILE`: a trained model for other programs."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from fastpose._command import Command, parse_arguments
from fastpose.settings import CheckpointConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """Write a trained model as safetensors, ONNX or a torch.export program, checked before the file appears."""

    run: Annotated[Path, tyro.conf.Positional]
    """Folder of a finished run, its model.safetensors, penn-robust (comes with fastpose), or a checkpoint of others
    with --model."""
    out: Path
    """File to write."""
    format: Literal["safetensors", "onnx", "torch"] | None = None
    """By default what the ending of --out says: .safetensors, .onnx or .pt2."""
    start: Annotated[Literal["input", "keypoints"], tyro.conf.arg(name="from")] = "input"
    """Where a program starts: input, what the model's dense_input makes of sampled clips; keypoints, a clip in pixels,
    which the program samples itself."""
    denoise: str | None = None
    """Denoising that the file says belongs in front of the model: off, sure, or a prior that `fastpose denoise --fit`
    wrote, which it then holds. By default what the run's own file says."""
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)


def run(arguments: Arguments) -> None:
    from fastpose.data.denoising.denoiser import Denoiser
    from fastpose.data.pack import packed_file
    from fastpose.weights.exporting import export_model, format_of
    from fastpose.weights.foreign import open_model

    format = arguments.format or format_of(arguments.out)
    packed_file.check_target(arguments.out)
    model, card = open_model(arguments.run, arguments.checkpoint)
    if arguments.denoise is not None:
        card = card.behind(Denoiser.open(arguments.denoise))
    described = export_model(model, card, arguments.out, format, arguments.start)
    print(f"{arguments.out}: {arguments.out.stat().st_size / 2**20:.1f} MB, {described}")


def main(argv: list[str] | None = None) -> int:
    with Command() as command:
        run(parse_arguments(Arguments, argv, "export"))
    return command.status


if __name__ == "__main__":
    sys.exit(main())
