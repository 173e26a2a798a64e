"""Finished runs on disk: their weights, and what they say of themselves."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from fastpose.models.inputs.protocol import PoseModule
from fastpose.models.registry import import_model
from fastpose.system.files import atomic_path, sort_metadata
from fastpose.weights.card import ModelCard, build_model
from fastpose.weights.hub import WEIGHTS, HubAddress
from fastpose.weights.named import hint, locate

T = TypeVar("T")

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
    with atomic_path(path) as partial:
        plain = {name: value.detach().contiguous().cpu() for name, value in weights.items()}
        save_file(plain, partial, metadata={**(facts or {}), **card.to_metadata()})
        sort_metadata(partial)


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
    card, weights = _read(path, lambda: (_card_of(path), load_file(path)))
    if size is not None:
        data = replace(card.config.data, sampling=replace(card.config.data.sampling, size=size))
        card = replace(card, config=replace(card.config, data=data))
    network = build_model(card)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"{path}: its weights do not fit its own description ({error})") from error
    return network.eval(), card


def _existing_file(run: str | Path) -> Path:
    path = weights_file(run)
    if not path.is_file():
        raise ValueError(f"{path}: not found; expected the folder of a finished run{hint(run)}")
    return path


def _card_of(path: Path) -> ModelCard:
    with safe_open(path, framework="pt") as file:
        return ModelCard.from_metadata(file.metadata() or {}, path)


def _read(path: Path, read: Callable[[], T]) -> T:
    try:
        return read()
    except (SafetensorError, KeyError, OSError) as error:
        raise ValueError(f"{path}: is no weights file of fastpose ({error})") from error
