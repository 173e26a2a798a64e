"""The state of an unfinished run on disk: the newest checkpoint, and the one before it."""

import errno
import os
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from fastpose.system.files import atomic_path
from fastpose.weights.weight_files import check_saved

CHECKPOINT = "checkpoint.pt"
BEFORE = "checkpoint-before.pt"  # the one that the newest took the place of
DAMAGED = "checkpoint-damaged.pt"  # the newest, where a run goes on from the one before it


class DamagedCheckpointError(ValueError):
    """A checkpoint cannot be read, or its bytes are not those that were written."""


def save_checkpoint(folder: Path, state: dict[str, object]) -> None:
    """Write the state of an unfinished run (tensors and plain values only), atomically; keep the one before it.

    Raises:
        OSError: it cannot be written, as where the disk is full.
    """
    with atomic_path(folder / CHECKPOINT) as partial:
        try:
            torch.save(state, partial)
        except RuntimeError as error:  # of torch's own writer, which does not say which file
            reason = str(error).partition("\n")[0]
            raise OSError(f"is the disk full? {reason}") from error
        _keep_before(folder)


def _keep_before(folder: Path) -> None:
    """Give the newest checkpoint a second name, under which it stays when the next one takes the first."""
    newest, second = folder / CHECKPOINT, folder / f".{BEFORE}.{os.getpid()}.partial"
    if not newest.exists():
        return
    second.unlink(missing_ok=True)
    try:
        os.link(newest, second)
    except OSError:  # a file system without second names
        os.replace(newest, folder / BEFORE)
        return
    os.replace(second, folder / BEFORE)
    second.unlink(missing_ok=True)  # which stays where both are one file already


def has_checkpoint(folder: Path) -> bool:
    """Return whether a run can go on from its folder."""
    return (folder / CHECKPOINT).exists() or (folder / BEFORE).exists()


def read_checkpoint(folder: Path) -> dict[str, Any]:
    """Read what `save_checkpoint` wrote; where the newest is damaged the one before it, with a warning.

    Raises:
        ValueError: there is none, all are damaged, or the newest is foreign or holds code.
        OSError: the newest cannot be read, which says nothing of what is in it.
    """
    return _read_newest(folder)[0]


def take_checkpoint(folder: Path) -> dict[str, Any]:
    """Read as ``read_checkpoint`` does, for a run that goes on: the one that it goes on from is the newest then.

    Else the next one would take the place of the only good one. A damaged one keeps its bytes, under another name.
    """
    state, path = _read_newest(folder)
    if path.name == BEFORE and (folder / CHECKPOINT).exists():
        os.replace(folder / CHECKPOINT, folder / DAMAGED)
        os.replace(path, folder / CHECKPOINT)
    return state


def _read_newest(folder: Path) -> tuple[dict[str, Any], Path]:
    there = [path for path in (folder / CHECKPOINT, folder / BEFORE) if path.exists()]
    if not there:
        raise ValueError(f"{folder}: has no {CHECKPOINT} to resume from")
    newest, *others = there
    try:
        return read_file(newest), newest
    except DamagedCheckpointError as error:
        for path in others:
            try:
                state = read_file(path)
            except ValueError:
                continue
            warnings.warn(f"{error}; the one before it is taken, {path.name}", stacklevel=2)
            return state, path
        raise


def check_checkpoint(path: Path) -> None:
    """Raise `DamagedCheckpointError` unless each part of a checkpoint has the checksum that was written with it."""
    try:
        if not check_saved(path):
            raise ValueError("no file of torch.save")
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise  # it cannot be read now, which says nothing of its bytes; EINVAL is of places that they name
        raise DamagedCheckpointError(f"{path}: is no checkpoint, or a damaged one ({error})") from error
    if damaged is not None:
        raise DamagedCheckpointError(f"{path}: is damaged, {damaged} in it has another checksum")


def read_file(path: Path) -> dict[str, Any]:
    """Read one checkpoint.

    Raises:
        ValueError: it is damaged, foreign, or holds code.
    """
    check_checkpoint(path)
    try:
        # Mapped, a tensor ends where the file does; read, it would reach as far as the pickle says.
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        state = tree_map_only(Tensor, _own_copy, state)
    except Exception as error:  # torch raises whatever a foreign file leads it to
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{path}: is no checkpoint of a fastpose run ({reason})") from error
    if not isinstance(state, dict) or not state.keys() >= {"epochs_done", "model", "optimizer"}:
        held = ", ".join(map(str, state)) if isinstance(state, dict) else type(state).__name__
        raise ValueError(f"{path}: is no checkpoint of a fastpose run (it holds {held[:100] or 'nothing'})")
    return state


def _own_copy(tensor: Tensor) -> Tensor:
    """Return a tensor of a mapped file in memory of its own; ValueError where it is no plain one within the file."""
    whole = tensor.layout == torch.strided and not tensor.is_quantized and tensor.device.type == "cpu"
    if not whole or tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise ValueError("it holds a tensor of more numbers than the file has")
    return tensor.clone()
