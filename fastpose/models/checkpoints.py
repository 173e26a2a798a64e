"""Weights from files: fastpose's safetensors, and the `.pth` files of PYSKL and MMAction2."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

CONTAINER_KEYS = ("state_dict", "model")
WRAPPER_PREFIXES = ("module.", "_orig_mod.")


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
        parts = [f"{self.path}: {self.loaded} tensors loaded"]
        for what in ("missing", "unexpected", "mismatched"):
            if keys := getattr(self, what):
                parts.append(f"{len(keys)} {what} ({_some(keys)})")
        if self.head_replaced:
            parts.append("classifier initialised anew")
        return "; ".join(parts)


def load_checkpoint(model: nn.Module, path: str | Path, *, strict: bool = False) -> CheckpointReport:
    """Copy the weights in ``path`` into ``model``; nothing in the file is ever executed.

    The backbone must fit. A classifier that is absent or of another shape (another number of classes) is
    initialised anew, and keys the model does not know are left out; the report says so.

    Args:
        model: one of ``create_model``.
        path: a safetensors file, or a `.pth` holding a state dict, bare or under "state_dict" or "model",
            with or without a `module.` prefix.
        strict: every key must fit, the classifier's too.

    Raises:
        ValueError: the file is damaged, holds pickled code, is no checkpoint, or does not fit; the model is
            then unchanged.
        OSError: the file cannot be read.
    """
    state = read_state(path)
    own = model.state_dict()
    missing = tuple(key for key in own if key not in state)
    unexpected = tuple(key for key in state if key not in own)
    misfits = {
        key: f"{key}: {_describe(state[key])} in the file, {_describe(own[key])} in the model"
        for key in own.keys() & state.keys()
        if state[key].shape != own[key].shape
        or state[key].is_floating_point() != own[key].is_floating_point()
    }
    mismatched = tuple(misfits[key] for key in own if key in misfits)
    head = {key for key in own if key.startswith(model.head_prefix)}
    head_replaced = not head.isdisjoint(misfits.keys() | set(missing))

    if not (own.keys() - head) & state.keys():
        raise ValueError(
            f"{path} holds no weights of {type(model).__name__}: its keys are {_some(tuple(state))}, "
            f"expected {_some(tuple(own))}"
        )
    problems = [text for key, text in misfits.items() if strict or key not in head]
    problems += [
        f"{key}: missing in the file"
        for key in missing
        if strict or (key not in head and not key.endswith("num_batches_tracked"))
    ]
    problems += [f"{key}: unexpected in the file" for key in unexpected if strict]
    if problems:
        raise ValueError(f"{path} does not fit {type(model).__name__}: {_some(tuple(problems))}")

    left_out = head if head_replaced else set()
    fitting = {key: state[key] for key in own if key in state and key not in left_out}
    model.load_state_dict(fitting, strict=False)
    if head_replaced:
        model.reset_head()
    return CheckpointReport(str(path), len(fitting), missing, unexpected, mismatched, head_replaced)


def read_state(path: str | Path) -> dict[str, Tensor]:
    """Read the state dict in a file, as ``load_checkpoint`` does; the same errors."""
    path = Path(path)
    with open(path, "rb") as file:
        is_safetensors = file.read(9)[8:] == b"{"  # a length in 8 bytes, then JSON
    try:
        if is_safetensors:
            content = safetensors.torch.load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # both readers raise whatever a damaged file leads them to
        if found := re.search(r"GLOBAL ([\w.]+)", str(error)):
            raise ValueError(
                f"{path} holds pickled code ({found[1]}), which is not run; save its state dict alone with "
                "torch.save and load that"
            ) from error
        reason = " ".join(str(error).partition("\n")[0].split())  # torch adds advice, some of it unsafe
        raise ValueError(f"{path} is damaged or no checkpoint: {type(error).__name__} {reason}") from error
    for key in CONTAINER_KEYS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not content:
        raise ValueError(f"{path} holds no state dict: expected names and tensors, got {_kind(content)}")
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise ValueError(f"{path} holds no state dict: {key!r} is {_kind(value)}, expected a tensor")
    state = dict(content)
    for prefix in WRAPPER_PREFIXES:
        if all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def _describe(tensor: Tensor) -> str:
    kind = "" if tensor.is_floating_point() else f"{tensor.dtype} "
    return f"{kind}{list(tensor.shape)}"


def _kind(value: object) -> str:
    return f"an empty {type(value).__name__}" if value == {} else f"a {type(value).__name__}"


def _some(texts: tuple[str, ...], limit: int = 4) -> str:
    rest = f", and {len(texts) - limit} more" if len(texts) > limit else ""
    return ", ".join(texts[:limit]) + rest
