"""Models as files for other programs: safetensors, ONNX and torch.export, each checked before it appears."""

import contextlib
import importlib
import io
import json
import logging
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch.export import Dim, ExportedProgram
from torch.fx.experimental import _config as symbolic_shapes

from fastpose.models.inputs.protocol import PoseModule
from fastpose.system.files import atomic_path
from fastpose.weights.card import ModelCard
from fastpose.weights.programs import OUTPUTS, PROGRAMS, InputProgram, Program, Start
from fastpose.weights.runs import write_weights

FORMATS = {"safetensors": ".safetensors", "onnx": ".onnx", "torch": ".pt2"}
CARD_FILE = "fastpose.json"  # in a .pt2 archive
TOLERANCE = 1e-4  # of an exported output, relative to the largest or to 1


def format_of(target: Path) -> str:
    """Return the format that the ending of ``target`` names."""
    for name, ending in FORMATS.items():
        if target.suffix.lower() == ending:
            return name
    raise ValueError(
        f"{target}: its ending names no format; expected one of {', '.join(FORMATS.values())}, or --format"
    )


def export_model(
    model: PoseModule, card: ModelCard, target: Path, format: str, start: Start = "input"
) -> str:
    """Write ``model`` to ``target`` with ``card`` as its metadata; it is left on the CPU, in float32, for evaluation.

    "safetensors" holds the weights, for ``fastpose.weights.load_model``. "onnx" and "torch" hold a program: from
    "input", the model's ``dense_input``, to ``logits`` [B, K] and ``features`` [B, D], where batch, frames, and persons
    or height and width may vary as far as the model allows; or from "keypoints" of one clip [M, L, V, 3] (pixels,
    score) and ``image_size`` [2] to ``logits`` [K] and ``features`` [D], sampling included. A program is run on random
    inputs of several sizes and replaces ``target`` only if it agrees with fastpose to 1e-4.

    Returns:
        What the file takes and gives, in words.

    Raises:
        ValueError: an unknown format, a package is missing, the model uses an operator that the format does not
            have, it needs more in front of it than the program can hold, or the exported program is wrong.
        OSError: the file cannot be written.
    """
    if format not in FORMATS:
        raise ValueError(f"unknown format {format!r}; there are: {', '.join(FORMATS)}")
    model = model.cpu().float().eval()
    if format == "safetensors":
        if start != "input":
            raise ValueError(
                f"safetensors holds weights, and no program from {start}; expected onnx or torch"
            )
        write_weights(target, model.state_dict(), card)
        own = not hasattr(model, "pose_input")
        return (
            "what its prepare_input makes → logits, features" if own else InputProgram(model, card).describe()
        )
    program = PROGRAMS[start](model, card)
    if format == "onnx":
        _require_packages()
    write = _write_onnx if format == "onnx" else _write_torch
    with atomic_path(target) as partial, _quiet(), torch.no_grad():
        check(write(trace(program), program, partial), program)
    return program.describe()


def trace(program: Program) -> ExportedProgram:
    """Return the program in torch's own operators, with the sizes that may vary left open.

    Raises:
        ValueError: the model cannot be traced, or uses an operator that is not torch's own.
    """
    name = type(program.model).__name__
    shapes = {
        input: dict.fromkeys(axes, Dim.DYNAMIC)
        for input, axes in zip(program.inputs, program.axes, strict=True)
    }
    try:
        # without it a program traced at one size refuses others for the sake of memory layouts
        with symbolic_shapes.patch(backed_size_oblivious=True):  # pyright: ignore[reportAttributeAccessIssue]
            traced = torch.export.export(program, program.traced_inputs(), dynamic_shapes=shapes)
    except Exception as error:  # whatever the model's code leads the tracer to
        operator = _operator(error)
        reason = f"its {operator} cannot be traced" if operator else _first_line(error)
        raise ValueError(f"{name} cannot be exported: {reason}") from error
    for module in traced.graph_module.modules():
        for node in getattr(getattr(module, "graph", None), "nodes", ()):
            if isinstance(node.target, torch._ops.OpOverload) and node.target.namespace != "aten":
                raise ValueError(
                    f"{name} cannot be exported: its operator {node.target.name()} is not one of torch's own"
                )
    return traced


def check(run: Callable[..., Sequence[np.ndarray]], program: Program) -> None:
    """Compare an exported program, as ``run``, with what fastpose computes on random inputs of several sizes.

    Raises:
        ValueError: it fails, or an output differs by more than `TOLERANCE`.
    """
    for inputs in program.checked_inputs():
        shape = tuple(inputs[0].shape)
        expected = program.expected(*inputs)
        try:
            outputs = run(*inputs)
        except Exception as error:  # whatever the other runtime raises
            raise ValueError(
                f"the exported program fails on an input {shape}: {_first_line(error)}"
            ) from error
        for name, output, tensor in zip(OUTPUTS, outputs, expected, strict=True):
            wanted = tensor.numpy()
            error = np.abs(output - wanted).max() / max(1.0, np.abs(wanted).max())
            if not error <= TOLERANCE:
                raise ValueError(
                    f"the exported program is wrong: its {name} differ by {error:.2g} of the largest on an "
                    f"input {shape}, expected at most {TOLERANCE:g}"
                )


def _require_packages() -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise ValueError(
                f"ONNX export needs the package {package}: pip install fastpose-action[export]"
            ) from error


def _write_onnx(traced: ExportedProgram, program: Program, path: Path) -> Callable:
    import onnxruntime

    assert traced.example_inputs is not None  # of a traced one
    try:
        written = torch.onnx.export(
            traced,
            traced.example_inputs[0],
            dynamo=True,
            input_names=program.inputs,
            output_names=OUTPUTS,
            dynamic_shapes=program.axes,
            verbose=False,
        )
    except Exception as error:  # the exporter's own errors are private
        raise ValueError(
            f"{type(program.model).__name__} cannot be exported to ONNX, which has no "
            f"{_operator(error) or f'form of it: {_first_line(error)}'}"
        ) from error
    assert written is not None  # as it is without a file to write to
    written.model.metadata_props.update(program.metadata())
    written.save(path, external_data=False)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda *inputs: session.run(
        OUTPUTS, {name: tensor.numpy() for name, tensor in zip(program.inputs, inputs, strict=True)}
    )


def _write_torch(traced: ExportedProgram, program: Program, path: Path) -> Callable:
    archive = io.BytesIO()
    torch.export.save(traced, archive, extra_files={CARD_FILE: json.dumps(program.metadata())})
    path.write_bytes(archive.getvalue())
    with open(path, "rb") as file:
        loaded = torch.export.load(file).module()
    return lambda *inputs: [loaded(*inputs)[name].numpy() for name in OUTPUTS]


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
