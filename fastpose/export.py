"""`fastpose export RUN --out FILE`: a trained model for other programs."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from fastpose._command import Command, parse_arguments
from fastpose.settings import CheckpointConfig

if TYPE_CHECKING:
    from fastpose.models.inputs.protocol import PoseModule
    from fastpose.weights.card import ModelCard


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """Write a trained model as safetensors, ONNX or a torch.export program, checked before the file appears."""

    run: Annotated[Path, tyro.conf.Positional]
    """Folder of a finished run, its model.safetensors, penn-robust (comes with fastpose), hf://user/repo, or a
    checkpoint of others with --model."""
    out: Path
    """File to write, or hf://user/repo, a repository of Hugging Face's hub to upload the weights to."""
    format: Literal["safetensors", "onnx", "torch"] | None = None
    """By default what the ending of --out says: .safetensors, .onnx or .pt2."""
    start: Annotated[Literal["input", "keypoints"], tyro.conf.arg(name="from")] = "input"
    """Where a program starts: input, what the model's dense_input makes of sampled clips; keypoints, a clip in pixels,
    which the program samples itself."""
    private: bool = False
    """Make the repository private, if it is not there yet."""
    denoise: str | None = None
    """Denoising that the file says belongs in front of the model: off, sure, or a prior that `fastpose denoise --fit`
    wrote, which it then holds. By default what the run's own file says."""
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)


def run(arguments: Arguments) -> None:
    from fastpose.system.files import check_target
    from fastpose.weights.exporting import export_model, format_of
    from fastpose.weights.hub import HubAddress

    address = HubAddress.parse(arguments.out)
    if address is not None:
        print(f"{address}: {_upload(arguments, str(address))}")
        return
    if arguments.private:
        raise ValueError(f"--private has no effect on a file, {arguments.out}; expected --out hf://user/repo")
    format = arguments.format or format_of(arguments.out)
    check_target(arguments.out)
    model, card = _open(arguments)
    described = export_model(model, card, arguments.out, format, arguments.start)
    print(f"{arguments.out}: {arguments.out.stat().st_size / 2**20:.1f} MB, {described}")


def _open(arguments: Arguments) -> "tuple[PoseModule, ModelCard]":
    from fastpose.data.denoising.denoiser import Denoiser
    from fastpose.weights.foreign import open_model

    model, card = open_model(arguments.run, arguments.checkpoint)
    return model, card if arguments.denoise is None else card.behind(Denoiser.open(arguments.denoise))


def _upload(arguments: Arguments, address: str) -> str:
    from fastpose.weights.pushing import push, upload

    if arguments.format not in (None, "safetensors") or arguments.start != "input":
        raise ValueError(f"{address}: only weights are uploaded, without --from, as safetensors")
    private = arguments.private or None  # else as the account says
    if arguments.denoise is None and arguments.checkpoint == CheckpointConfig():
        return push(arguments.run, address, private=private)
    model, card = _open(arguments)
    return upload(model.state_dict(), card, address, private=private)


def main(argv: list[str] | None = None) -> int:
    with Command() as command:
        run(parse_arguments(Arguments, argv, "export"))
    return command.status


if __name__ == "__main__":
    sys.exit(main())
