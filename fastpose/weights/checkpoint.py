"""Training runs on disk: resumable checkpoints, and final weights with what is needed to use them."""

import dataclasses
import json
import warnings
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from fastpose.data.pack.layouts import Layout
from fastpose.models.registry import create_model, input_settings
from fastpose.settings.config import ModelConfig, RunConfig
from fastpose.settings.files import from_dict
from fastpose.system.files import atomic_path, sort_metadata

CHECKPOINT = "checkpoint.pt"
WEIGHTS = "model.safetensors"

# Settings of ModelConfig that not every model has.
INPUT_SETTINGS = (
    "score_channel", "normalize", "duplicate_person", "sigma", "joint_merge", "heatmaps", "joints",
    "published",
)  # fmt: skip


def save_checkpoint(folder: Path, state: dict[str, object]) -> None:
    """Write the state of an unfinished run (tensors and plain values only), atomically."""
    with atomic_path(folder / CHECKPOINT) as partial:
        torch.save(state, partial)


def read_checkpoint(folder: Path) -> dict[str, object]:
    """Read what `save_checkpoint` wrote; ValueError where the file is damaged, foreign or holds code."""
    path = folder / CHECKPOINT
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ValueError(f"{folder}: has no {CHECKPOINT} to resume from") from None
    except Exception as error:  # torch raises whatever a damaged file leads it to
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{path}: is no checkpoint of a fastpose run ({reason})") from error
    if not isinstance(state, dict) or not state.keys() >= {"epochs_done", "model", "optimizer"}:
        held = ", ".join(map(str, state)) if isinstance(state, dict) else type(state).__name__
        raise ValueError(f"{path}: is no checkpoint of a fastpose run (it holds {held[:100] or 'nothing'})")
    return state


@dataclasses.dataclass(frozen=True, slots=True)
class ModelCard:
    """What a weights file says of itself: enough to rebuild the model and to feed it."""

    config: RunConfig
    layout: Layout
    class_names: tuple[str, ...]
    max_persons: int

    def to_metadata(self) -> dict[str, str]:
        return {
            "format": "fastpose-model-1",
            "config": json.dumps(dataclasses.asdict(self.config)),
            "layout": json.dumps(self.layout.to_json()),
            "class_names": json.dumps(self.class_names),
            "max_persons": str(self.max_persons),
        }

    @classmethod
    def from_metadata(cls, metadata: dict[str, str], path: Path) -> "ModelCard":
        if metadata.get("format") != "fastpose-model-1":
            raise ValueError(
                f"{path}: holds no fastpose model; expected format fastpose-model-1 in its metadata"
            )
        return cls(
            config=from_dict(json.loads(metadata["config"]), source=str(path)),
            layout=Layout.from_json(json.loads(metadata["layout"])),
            class_names=tuple(json.loads(metadata["class_names"])),
            max_persons=int(metadata["max_persons"]),
        )


def build_model(card: ModelCard) -> nn.Module:
    """Create the untrained model that ``card`` describes; a changed setting it does not have warns.

    Raises:
        ValueError: no such model, or settings or a layout that it cannot use.
    """
    settings = card.config.model
    known = input_settings(settings.model)
    defaults = ModelConfig()
    for name in INPUT_SETTINGS:
        if name not in known and getattr(settings, name) != getattr(defaults, name):
            warnings.warn(f"{name} has no effect on the model {settings.model}", stacklevel=2)
    options = {name: getattr(settings, name) for name in INPUT_SETTINGS if name in known}
    if "joints" not in known:  # else the joints say how many they are
        options["num_keypoints"] = card.layout.num_joints
    if settings.input != "grayscale":
        options.pop("joint_merge", None)
    return create_model(
        settings.model,
        input=settings.input,
        num_classes=len(card.class_names),
        max_persons=card.max_persons,
        dropout=settings.dropout,
        layout=card.layout,
        size=card.config.data.size,
        **options,
    )


def save_weights(folder: Path, weights: dict[str, Tensor], card: ModelCard) -> None:
    """Write the final weights of a run, as ``write_weights``."""
    write_weights(folder / WEIGHTS, weights, card)


def write_weights(path: Path, weights: dict[str, Tensor], card: ModelCard) -> None:
    """Write weights as safetensors, atomically; equal weights and card give equal bytes."""
    with atomic_path(path) as partial:
        plain = {name: value.detach().contiguous().cpu() for name, value in weights.items()}
        save_file(plain, partial, metadata=card.to_metadata())
        sort_metadata(partial)


def find_runs(folders: tuple[Path, ...]) -> dict[str, Path]:
    """Return the finished runs in ``folders`` by name; a folder may be a run or hold runs."""
    if not folders:
        raise ValueError("no run is named; expected the folders of finished runs, or folders that hold them")
    runs: list[Path] = []
    for folder in folders:
        found = (
            [folder]
            if (folder / WEIGHTS).is_file()
            else sorted(p.parent for p in folder.glob(f"*/{WEIGHTS}"))
        )
        if not found:
            raise ValueError(f"{folder}: holds no finished run (no {WEIGHTS} in it or in its folders)")
        runs += found
    short = {run.resolve().name: run for run in runs}
    return short if len(short) == len(runs) else {str(run): run for run in runs}


def weights_file(run: str | Path) -> Path:
    """The weights of the one finished run that a folder is or holds; what is no folder is returned as it is.

    Raises:
        ValueError: the folder holds no finished run, or several.
    """
    path = Path(run)
    if not path.is_dir():
        return path
    runs = find_runs((path,))
    if len(runs) > 1:
        raise ValueError(f"{path}: holds {len(runs)} runs; name one of {', '.join(runs)}")
    return next(iter(runs.values())) / WEIGHTS


def load_model(run: str | Path) -> tuple[nn.Module, ModelCard]:
    """Load the model of a run, in evaluation mode.

    Args:
        run: the run's folder, a folder that holds this run alone, or a weights file.

    Raises:
        ValueError: a folder holds no finished run, or several; or the file is damaged or foreign.
    """
    path = weights_file(run)
    if not path.is_file():
        raise ValueError(f"{path}: not found; expected the folder of a finished run")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        card = ModelCard.from_metadata(metadata, path)
        weights = load_file(path)
    except (SafetensorError, KeyError, OSError) as error:
        raise ValueError(f"{path}: is no weights file of fastpose ({error})") from error
    model = build_model(card)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"{path}: its weights do not fit its own description ({error})") from error
    return model.eval(), card
