"""Tensors by name out of the files of fastpose and of others; nothing in a file is ever executed."""

import re
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

CONTAINER_KEYS = (
    "state_dict",
    "model",
    "model_pos",
)  # PYSKL and MMAction2; action and pose files of MotionBERT
ZIP_HEAD = b"PK\x03\x04"
WRAPPERS = {"module", "_orig_mod"}  # DataParallel and AveragedModel; torch.compile


class _Unread:
    """Stands where a file holds a value that is no weight: takes anything, does nothing."""

    def __new__(cls, *_: Any) -> "_Unread":
        return super().__new__(cls)

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, _: Any) -> None:
        pass


# What published files hold beside weights: NumPy numbers (best accuracy, learning rate) and MMEngine's logs.
# None of it is imported or called, every name becomes an `_Unread`.
UNREAD: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    (_Unread, name)
    for name in (
        *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
        *(f"numpy.{core}.numeric._frombuffer" for core in ("core", "_core")),
        "numpy.ndarray",
        "numpy.dtype",
        "mmengine.logging.history_buffer.HistoryBuffer",
        "builtins.getattr",  # how HistoryBuffer names its methods
    )
]  # fmt: skip


def read_weights(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read the tensors of a safetensors file or a `.pth` (zip or legacy), and a safetensors file's metadata.

    The state dict of a `.pth` may be bare or under "state_dict", "model" or "model_pos"; the names that
    wrappers such as DataParallel put into its keys are taken out.

    Raises:
        ValueError: the file is damaged, holds pickled code, or holds no state dict.
        OSError: the file cannot be read.
    """
    path = Path(path)
    with open(path, "rb") as file:
        is_safetensors = file.read(9)[8:] == b"{"  # a length in 8 bytes, then JSON
    metadata: dict[str, str] = {}
    try:
        if is_safetensors:
            with safetensors.safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
            content = safetensors.torch.load_file(path)
        else:
            with torch.serialization.safe_globals(UNREAD), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # on pickles that it then refuses
                content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # both readers raise whatever a damaged file leads them to
        if found := re.search(r"GLOBAL ([\w.]+)", str(error)):
            raise ValueError(
                f"{path} holds pickled code ({found[1]}), which is not run; save its state dict alone with "
                "torch.save and load that"
            ) from error
        raise ValueError(f"{path} is damaged or no checkpoint: {_reason(error, path)}") from error
    return _plain_names(_find_state(content, path), path), metadata


def _find_state(content: object, path: Path) -> dict[str, Tensor]:
    for key in CONTAINER_KEYS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not content:
        raise ValueError(f"{path} holds no state dict: expected names and tensors, got {_kind(content)}")
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise ValueError(f"{path} holds no state dict: {key!r} is {_kind(value)}, expected a tensor")
    return dict(content)


def _plain_names(state: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    plain: dict[str, Tensor] = {}
    for key, value in state.items():
        name = ".".join(part for part in key.split(".") if part not in WRAPPERS)
        if name in plain:
            raise ValueError(f"{path} holds {name} twice: with and without the name of a wrapper")
        plain[name] = value
    return plain


def _kind(value: object) -> str:
    if isinstance(value, _Unread):
        return "a NumPy or MMEngine object"
    return f"an empty {type(value).__name__}" if value == {} else f"a {type(value).__name__}"


def _reason(error: Exception, path: Path) -> str:
    """Return why a reader gave up, in place of its long advice or of what a stray byte led it to."""
    with open(path, "rb") as file:
        head = file.read(len(ZIP_HEAD))
    if not head:
        return "it is empty"
    if head == ZIP_HEAD and not zipfile.is_zipfile(path):
        return "its zip archive is cut off or broken"
    if isinstance(error, safetensors.SafetensorError):
        return str(error)
    reason = str(error).partition("WeightsUnpickler error:")[2].strip().partition("\n")[0]
    return "it cannot be read as safetensors or as a file of torch.save" + (f" ({reason})" if reason else "")
