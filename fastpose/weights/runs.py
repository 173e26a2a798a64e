"""Finished runs on disk: their weights, and what they say of themselves."""

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from fastpose.models.inputs.protocol import PoseModule
from fastpose.models.registry import import_model
from fastpose.system.tensor_file import (
    CHECKSUMS,
    HEADER_CHECKSUM,
    check_arrays,
    check_header,
    checksum_texts,
    writing_tensors,
)
from fastpose.weights.card import ModelCard, build_model, shapes_of
from fastpose.weights.hub import WEIGHTS, HubAddress
from fastpose.weights.named import hint, locate

T = TypeVar("T")
USUAL_COUNTS = (1000, 10, 200)  # classes, persons, joints

# What else the folder of a run holds.
CONFIG = "config.json"
ENVIRONMENT = "environment.json"
METRICS = "metrics.csv"  # a row for each epoch
COMPLETE = "robustness.csv"  # accuracy over noise, with which a run is finished
CONFUSED = "confused-pairs.csv"  # classes taken for others at the lowest noise level
BY_FAMILY = "families.csv"  # where other noise than Gaussian was measured


def write_weights(
    path: Path, weights: Mapping[str, Tensor], card: ModelCard, facts: Mapping[str, str] | None = None
) -> None:
    """Write weights as safetensors, atomically; equal weights, card and facts give equal bytes.

    Args:
        facts: metadata for people, such as "licence", beside the card's.
    """
    plain = {name: value.detach().contiguous().cpu() for name, value in weights.items()}
    with writing_tensors(path) as partial:
        save_file(plain, partial, metadata={**(facts or {}), **card.to_metadata(), **checksum_texts(plain)})


def verify_weights(run: str | Path) -> bool:
    """Read the weights of a run to their end: whether they are those that were written, and finite.

    Returns:
        Whether they have checksums; files from before have none.

    Raises:
        ValueError: as ``load_model``, a tensor differs from its checksum, or is not finite.
    """
    path = _existing_file(run)
    card, weights = _read(path, lambda: _checked_content(path))
    check_shapes(card, weights, path)
    for name, value in weights.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise ValueError(f"{path}: damaged file: {name} holds numbers that are not finite")
    with safe_open(path, framework="pt") as file:
        return CHECKSUMS in file.metadata()


def find_runs(folders: tuple[Path, ...]) -> dict[str, Path]:
    """Return the finished runs in ``folders`` by name; a folder may be a run or hold runs, or be a file or a name.

    Names are those that ``fastpose.weights.named.locate`` knows.

    Raises:
        ValueError: one holds no finished run, or nothing is at an address of the hub.
    """
    if not folders:
        raise ValueError("no run is named; expected the folders of finished runs, or folders that hold them")
    runs: list[tuple[str, Path]] = []
    for folder in folders:
        path = locate(folder)
        found = (
            [path]
            if path.is_file() or (path / WEIGHTS).is_file()
            else sorted(p.parent for p in path.glob(f"*/{WEIGHTS}"))
        )
        if not found:
            raise ValueError(
                f"{path}: holds no finished run (no {WEIGHTS} in it or in its folders){hint(path)}"
            )
        address = HubAddress.parse(folder)
        runs += [(address.repo if address else _short_name(run), run) for run in found]
    short = dict(runs)
    return short if len(short) == len(runs) else {str(run): run for _, run in runs}


def _short_name(run: Path) -> str:
    """Return the name of a run's folder, of a weights file by a name of its own that name."""
    run = run.resolve()
    if run.is_dir():
        return run.name
    return run.parent.name if run.name == WEIGHTS else run.stem


def weights_file(run: str | Path) -> Path:
    """Return the weights of the one finished run that a folder is or holds, or that a name stands for.

    What is neither a folder nor a name that ``fastpose.weights.named.locate`` knows is returned as it is.

    Raises:
        ValueError: the folder holds no finished run, or several; or nothing is at an address of the hub.
    """
    path = locate(run)
    if not path.is_dir():
        return path
    runs = find_runs((path,))
    if len(runs) > 1:
        raise ValueError(f"{path}: holds {len(runs)} runs; name one of {', '.join(runs)}")
    return next(iter(runs.values())) / WEIGHTS


def load_card(run: str | Path) -> ModelCard:
    """Read what a run says of itself, and none of its weights.

    Raises:
        ValueError: as ``load_model``.
    """
    path = _existing_file(run)
    return _read(path, lambda: _card_of(path))


def load_weights(run: str | Path) -> tuple[dict[str, Tensor], ModelCard, dict[str, str]]:
    """Read the weights of a run, its card, and the facts that its file states beside the card (``write_weights``).

    Raises:
        ValueError: as ``load_model``.
    """
    path = _existing_file(run)
    card, weights = _read(path, lambda: _checked_content(path))
    with safe_open(path, framework="pt") as file:
        beside = file.metadata().items()
    known = {*card.to_metadata(), CHECKSUMS, HEADER_CHECKSUM}
    return weights, card, {name: text for name, text in beside if name not in known}


def load_model(
    run: str | Path, model: str | None = None, *, size: tuple[int, int] | None = None
) -> tuple[PoseModule, ModelCard]:
    """Load the model of a run, in evaluation mode and in float32, whatever its weights are stored as.

    Args:
        run: the run's folder, a folder that holds this run alone, a weights file, the name of a starter model, or an
            address "hf://user/repo" (``fastpose.weights.hub``).
        size: height and width of its input in pixels, where they are others than in training.
        model: "package.module:Class" of a network of your own, which a file alone never makes fastpose import.

    Raises:
        ValueError: a folder holds no finished run, or several; the file is damaged or foreign; or nothing is at the
            address, or it cannot be reached.
    """
    path = _existing_file(run)
    if model is not None:
        import_model(model)
    card, weights = _read(path, lambda: _checked_content(path))
    if size is not None:
        data = replace(card.config.data, sampling=replace(card.config.data.sampling, size=size))
        card = replace(card, config=replace(card.config, data=data))
    check_shapes(card, weights, path)
    network = build_model(card)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"{path}: its weights do not fit its own description ({error})") from error
    return network.eval(), card


def check_shapes(card: ModelCard, weights: Mapping[str, Tensor], path: Path) -> None:
    """Refuse weights that are not those of the model that ``card`` describes, before memory is taken for it.

    Models of usual counts take little, and are made without this. Of a network of a user's own, nothing is known
    before it is made.

    Raises:
        ValueError: a shape differs, or the model would be far larger than the file; the text names it and a tensor.
    """
    counts = (len(card.class_names), card.max_persons, card.layout.num_joints)
    if ":" in card.config.model.model or all(map(operator.le, counts, USUAL_COUNTS)):
        return
    expected = shapes_of(card)
    for name, shape in expected.items():
        if name in weights and tuple(weights[name].shape) != shape:
            raise ValueError(
                f"{path}: its weights do not fit its own description ({name} is {list(weights[name].shape)}, expected "
                f"{list(shape)})"
            )
    needed, given = sum(map(math.prod, expected.values())), sum(value.numel() for value in weights.values())
    if needed > 2 * given + 2**20:
        raise ValueError(
            f"{path}: its weights do not fit its own description ({given:,} numbers, expected {needed:,})"
        )


def _existing_file(run: str | Path) -> Path:
    path = weights_file(run)
    if not path.is_file():
        raise ValueError(f"{path}: not found; expected the folder of a finished run{hint(run)}")
    return path


def _card_of(path: Path) -> ModelCard:
    with safe_open(path, framework="pt") as file:
        card = ModelCard.from_metadata(file.metadata() or {}, path)
    check_header(path)
    return card


def _checked_content(path: Path) -> tuple[ModelCard, dict[str, Tensor]]:
    """Return the card and the weights of a file that holds what was written to it."""
    card, weights = _card_of(path), load_file(path)
    with safe_open(path, framework="pt") as file:
        check_arrays(file.metadata(), weights, path)
    return card, weights


def _read(path: Path, read: Callable[[], T]) -> T:
    try:
        return read()
    except (SafetensorError, KeyError, OSError, TypeError) as error:
        raise ValueError(f"{path}: is no weights file of fastpose ({error})") from error
