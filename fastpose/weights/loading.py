"""Weights for a model: fastpose's own, and those of PYSKL, MMAction2 and MotionBERT."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from torch import Tensor, nn

from fastpose.data.pack.layouts import Layout
from fastpose.settings.json_text import parse_json
from fastpose.weights.weight_files import read_weights

BACKBONE = "backbone."
# Keys whose shape follows from a setting: which axis, and what it counts.
TELLING_AXES = {"backbone.temp_embed": (1, "frames at most (maxlen)")}


@dataclass(frozen=True, slots=True)
class CheckpointReport:
    """What ``load_checkpoint`` found; every key by its name in the model."""

    path: str
    loaded: int  # tensors copied into the model
    missing: tuple[str, ...]  # in the model, not in the file
    unexpected: tuple[str, ...]  # in the file, not in the model
    mismatched: tuple[str, ...]  # "key: [60, 512] in the file, [15, 512] in the model"
    head_replaced: bool  # the classifier did not fit and was initialised anew

    def __str__(self) -> str:
        notes = [f"{self.path}: {self.loaded} tensors loaded"]
        for what in ("missing", "unexpected", "mismatched"):
            if keys := getattr(self, what):
                notes.append(f"{len(keys)} {what} ({_some(keys)})")
        if self.head_replaced:
            notes.append("classifier initialised anew")
        return "; ".join(notes)


def load_checkpoint(model: nn.Module, path: str | Path, *, strict: bool = False) -> CheckpointReport:
    """Copy the weights in ``path`` into ``model``; nothing in the file is ever executed.

    The backbone must fit. A classifier that is absent or of another shape (another number of classes) is
    initialised anew, and keys the model does not know are left out; the report says so. A file of a backbone
    alone, whose keys lack "backbone." (MotionBERT's pretraining, with its pose head), fills the backbone.

    Args:
        model: one of ``create_model``.
        path: a safetensors file, or a `.pth` holding a state dict, bare or under "state_dict", "model" or
            "model_pos", with or without the `module.` of DataParallel.
        strict: every key must fit, the classifier's too.

    Raises:
        ValueError: the file is damaged, holds pickled code, is no checkpoint, does not fit, or says that it
            was made for another layout than the model's; the model is then unchanged.
        OSError: the file cannot be read.
    """
    return fill_model(model, *read_weights(path), path, strict=strict)


def fill_model(
    model: nn.Module,
    state: dict[str, Tensor],
    metadata: dict[str, str],
    path: str | Path,
    *,
    strict: bool = False,
) -> CheckpointReport:
    """Copy into ``model`` what ``read_weights`` returned of the file ``path``, as ``load_checkpoint`` does.

    Raises:
        ValueError: as ``load_checkpoint``, but for the file itself.
    """
    _check_layout(model, metadata, path)
    own = model.state_dict()
    state = _backbone_named(state, own)
    missing = tuple(key for key in own if key not in state)
    unexpected = tuple(key for key in state if key not in own)
    misfits = {
        key: f"{key}: {_describe(key, state[key])} in the file, {_describe(key, own[key])} in the model"
        for key in own
        if key in state and _kind(state[key]) != _kind(own[key])
    }
    mismatched = tuple(misfits.values())
    prefix = getattr(model, "head_prefix", None)  # a network of a user's own may name none
    head = {key for key in own if prefix and key.startswith(prefix)}
    needed = {key for key in missing if not key.endswith("num_batches_tracked")}  # old files have none
    head_replaced = not head.isdisjoint(misfits.keys() | needed)

    if not (own.keys() - head) & state.keys():
        raise ValueError(
            f"{path} holds no weights of {type(model).__name__}: its keys are {_some(tuple(state))}, "
            f"expected {_some(tuple(own))}"
        )
    problems = [text for key, text in misfits.items() if strict or key not in head]
    problems += [f"{key}: missing in the file" for key in missing if strict or key in needed - head]
    blocks = {_any_number(key) for key in own}
    problems += [
        f"{key}: unexpected in the file"
        for key in unexpected
        if strict or _any_number(key) in blocks  # the file's network is deeper
    ]
    if problems:
        raise ValueError(f"{path} does not fit {type(model).__name__}: {_some(tuple(problems))}")

    left_out = head if head_replaced else set()
    fitting = {key: state[key] for key in own if key in state and key not in left_out}
    model.load_state_dict(fitting, strict=False)
    if head_replaced:
        cast(Any, model).reset_head()  # which a model with a head_prefix has
    return CheckpointReport(str(path), len(fitting), missing, unexpected, mismatched, head_replaced)


def _backbone_named(state: dict[str, Tensor], own: dict[str, Tensor]) -> dict[str, Tensor]:
    """Put "backbone." before the keys of a file that holds a backbone alone."""
    if any(key.startswith(BACKBONE) for key in state) or not any(BACKBONE + key in own for key in state):
        return state
    return {key if key in own else BACKBONE + key: value for key, value in state.items()}


def _check_layout(model: nn.Module, metadata: dict[str, str], path: str | Path) -> None:
    """Refuse weights of fastpose made for other joints than the model's, or for other limbs where it sees those."""
    pose_input = getattr(model, "pose_input", None)
    if pose_input is None or "layout" not in metadata:
        return
    try:
        layout = Layout.from_json(parse_json(metadata["layout"]))
        theirs = pose_input.misfit(layout, parse_json(metadata["config"])["model"])
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ValueError(f"{path} is damaged: its metadata names no layout ({error})") from error
    if theirs is not None:
        raise ValueError(
            f"{path} was made for layout {theirs.name!r}, this model is fed {pose_input.fed.name!r}"
        )


def _any_number(key: str) -> str:
    """Return the key with its numbers, those of repeated blocks, taken out."""
    return re.sub(r"\.\d+(?=\.)", ".#", key)


def _kind(tensor: Tensor) -> tuple[Any, ...]:
    return tensor.shape, tensor.is_floating_point()


def _describe(key: str, tensor: Tensor) -> str:
    kind = "" if tensor.is_floating_point() else f"{tensor.dtype} "
    axis, counts = TELLING_AXES.get(key, (tensor.dim(), ""))
    note = f", made for {tensor.shape[axis]} {counts}" if axis < tensor.dim() else ""
    return f"{kind}{list(tensor.shape)}{note}"


def _some(texts: tuple[str, ...], limit: int = 4) -> str:
    rest = f", and {len(texts) - limit} more" if len(texts) > limit else ""
    return ", ".join(texts[:limit]) + rest
