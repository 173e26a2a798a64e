"""Models as files for other programs: safetensors, ONNX and torch.export, each checked before it appears."""

import contextlib
import importlib
import io
import json
import logging
import math
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.fx.experimental import _config as symbolic_shapes

from fastpose.models.inputs.protocol import PoseModule
from fastpose.system.files import atomic_path
from fastpose.weights.card import ModelCard
from fastpose.weights.runs import write_weights

FORMATS = {"safetensors": ".safetensors", "onnx": ".onnx", "torch": ".pt2"}
OUTPUTS = ("logits", "features")
CARD_FILE = "fastpose.json"  # in a .pt2 archive
TOLERANCE = 1e-4  # of an exported output, relative to the largest or to 1
TRACED_SIZES = {"batch": 2, "persons": 2, "frames": 4, "height": 32, "width": 40}
CHECKED_SIZES = (
    {"batch": 1, "persons": 1, "frames": 3, "height": 24, "width": 32},
    {"batch": 3, "persons": 2, "frames": 5, "height": 32, "width": 16},
)


class _NamedOutputs(nn.Module):
    """A model whose outputs are a dict, since exported programs know no classes of fastpose."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, input: Tensor) -> dict[str, Tensor]:
        output = self.model(input)
        return {name: getattr(output, name) for name in OUTPUTS}


def format_of(target: Path) -> str:
    """Return the format that the ending of ``target`` names."""
    for name, ending in FORMATS.items():
        if target.suffix.lower() == ending:
            return name
    raise ValueError(
        f"{target}: its ending names no format; expected one of {', '.join(FORMATS.values())}, or --format"
    )


def describe_input(model: PoseModule) -> str:
    """Say what ``model`` takes: "input [batch, 17, frames, height, width] → logits [batch, 60], features"."""
    if not hasattr(model, "pose_input"):
        return "what its prepare_input makes → logits, features"
    shape: list[int | str] = [*model.pose_input.shape(_keypoints(model))]
    for axis, name in model.pose_input.axes.items():
        shape[axis] = name
    return f"input [{', '.join(map(str, shape))}] → logits [batch, {model.num_classes}], features"


def export_model(model: PoseModule, card: ModelCard, target: Path, format: str) -> None:
    """Write ``model`` to ``target`` with ``card`` as its metadata; it is left on the CPU, in float32, for evaluation.

    "safetensors" holds the weights, for ``fastpose.weights.load_model``. "onnx" and "torch" hold a program
    from the model's ``dense_input`` to ``logits`` [B, K] and ``features`` [B, D]; batch, frames, and persons
    or height and width may vary as far as the model allows. A program is run on random inputs of two sizes and
    replaces ``target`` only if it agrees with the model to 1e-4.

    Raises:
        ValueError: an unknown format, a package is missing, the model uses an operator that the format does not
            have, or the exported program disagrees with the model.
        OSError: the file cannot be written.
    """
    if format not in FORMATS:
        raise ValueError(f"unknown format {format!r}; there are: {', '.join(FORMATS)}")
    model = model.cpu().float().eval()
    if format == "safetensors":
        write_weights(target, model.state_dict(), card)
        return
    if not hasattr(model, "pose_input"):
        raise ValueError(
            f"{type(model).__name__} is a network of your own without pose_input (fastpose.models.inputs), which "
            "says what a program takes; expected --format safetensors"
        )
    if format == "onnx":
        _require_packages()
    write = _write_onnx if format == "onnx" else _write_torch
    with atomic_path(target) as partial, _quiet(), torch.no_grad():
        check(write(trace(model), model, card, partial), model)


def trace(model: PoseModule) -> ExportedProgram:
    """Return the model as a program of torch's own operators, with the sizes that may vary left open.

    Raises:
        ValueError: the model cannot be traced, or uses an operator that is not torch's own.
    """
    axes = model.pose_input.axes
    example = _random_input(model, TRACED_SIZES)
    try:
        # without it a program traced at one size refuses others for the sake of memory layouts
        with symbolic_shapes.patch(backed_size_oblivious=True):  # pyright: ignore[reportAttributeAccessIssue]
            program = torch.export.export(
                _NamedOutputs(model), (example,), dynamic_shapes=(dict.fromkeys(axes, Dim.DYNAMIC),)
            )
    except Exception as error:  # whatever the model's code leads the tracer to
        operator = _operator(error)
        reason = f"its {operator} cannot be traced" if operator else _first_line(error)
        raise ValueError(f"{type(model).__name__} cannot be exported: {reason}") from error
    for module in program.graph_module.modules():
        for node in getattr(getattr(module, "graph", None), "nodes", ()):
            if isinstance(node.target, torch._ops.OpOverload) and node.target.namespace != "aten":
                raise ValueError(
                    f"{type(model).__name__} cannot be exported: its operator {node.target.name()} is not one "
                    "of torch's own"
                )
    return program


def check(run: Callable[[Tensor], Sequence[np.ndarray]], model: PoseModule) -> None:
    """Compare an exported program, as ``run``, with the model on random inputs of two sizes.

    Raises:
        ValueError: it fails, or an output differs by more than `TOLERANCE`.
    """
    for sizes in CHECKED_SIZES:
        input = _random_input(model, sizes)
        expected = model(input)
        try:
            outputs = run(input)
        except Exception as error:  # whatever the other runtime raises
            raise ValueError(
                f"the exported program fails on an input {tuple(input.shape)}: {_first_line(error)}"
            ) from error
        for name, output in zip(OUTPUTS, outputs, strict=True):
            wanted = getattr(expected, name).numpy()
            error = np.abs(output - wanted).max() / max(1.0, np.abs(wanted).max())
            if not error <= TOLERANCE:
                raise ValueError(
                    f"the exported program is wrong: its {name} differ by {error:.2g} of the largest on an "
                    f"input {tuple(input.shape)}, expected at most {TOLERANCE:g}"
                )


def _random_input(model: PoseModule, sizes: dict[str, int]) -> Tensor:
    """Return a normally distributed input of ``model``, with ``sizes`` on the axes that may vary."""
    shape = list(model.pose_input.shape(_keypoints(model)))
    most = {"frames": getattr(model, "maxlen", math.inf)}
    for axis, name in model.pose_input.axes.items():
        shape[axis] = int(min(sizes[name], most.get(name, math.inf)))
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(shape, generator=generator)


def _keypoints(model: PoseModule) -> Tensor:
    """Return keypoints [1, 1, 1, V, 3] without content, to ask for the shape of the input."""
    return torch.empty(1, 1, 1, model.num_keypoints, 3, device="meta")


def _require_packages() -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise ValueError(
                f"ONNX export needs the package {package}: pip install fastpose-action[export]"
            ) from error


def _write_onnx(program: ExportedProgram, model: PoseModule, card: ModelCard, path: Path) -> Callable:
    import onnxruntime

    assert program.example_inputs is not None  # of a traced one
    try:
        written = torch.onnx.export(
            program,
            program.example_inputs[0],
            dynamo=True,
            input_names=["input"],
            output_names=OUTPUTS,
            dynamic_shapes=(model.pose_input.axes,),
            verbose=False,
        )
    except Exception as error:  # the exporter's own errors are private
        raise ValueError(
            f"{type(model).__name__} cannot be exported to ONNX, which has no "
            f"{_operator(error) or f'form of it: {_first_line(error)}'}"
        ) from error
    assert written is not None  # as it is without a file to write to
    written.model.metadata_props.update(card.to_metadata())
    written.save(path, external_data=False)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda input: session.run(OUTPUTS, {"input": input.numpy()})


def _write_torch(program: ExportedProgram, model: PoseModule, card: ModelCard, path: Path) -> Callable:
    archive = io.BytesIO()
    torch.export.save(program, archive, extra_files={CARD_FILE: json.dumps(card.to_metadata())})
    path.write_bytes(archive.getvalue())
    with open(path, "rb") as file:
        loaded = torch.export.load(file).module()
    return lambda input: [loaded(input)[name].numpy() for name in OUTPUTS]


def _operator(error: BaseException | None) -> str | None:
    """Return the operator that an exporter's error, or one of its causes, is about."""
    while error is not None:
        if found := re.search(r"OpOverload\(op='([\w.:]+)'", str(error)):
            return f"operator {found[1]}"
        error = error.__cause__ or error.__context__
    return None


def _first_line(error: BaseException) -> str:
    """Return the first line of the error that the others were raised from."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines()]
    return next(filter(None, lines), type(error).__name__)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporters' notes on themselves from the user."""
    levels = {logger: logger.level for logger in map(logging.getLogger, ("torch.onnx", "onnxscript"))}
    for logger in levels:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in levels.items():
            logger.setLevel(level)
