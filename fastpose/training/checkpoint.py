"""The state of an unfinished run on disk."""

from pathlib import Path
from typing import Any

import torch

from fastpose.system.files import atomic_path

CHECKPOINT = "checkpoint.pt"


def save_checkpoint(folder: Path, state: dict[str, object]) -> None:
    """Write the state of an unfinished run (tensors and plain values only), atomically.

    Raises:
        OSError: it cannot be written, as where the disk is full.
    """
    with atomic_path(folder / CHECKPOINT) as partial:
        try:
            torch.save(state, partial)
        except RuntimeError as error:  # of torch's own writer, which does not say which file
            reason = str(error).partition("\n")[0]
            raise OSError(
                f"{folder / CHECKPOINT}: cannot be written; is the disk full? ({reason})"
            ) from error


def read_checkpoint(folder: Path) -> dict[str, Any]:
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
