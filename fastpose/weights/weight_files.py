"""Tensors by name out of the files of fastpose and of others; nothing in a file is ever executed."""

import mmap
import os
import re
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from fastpose.data.core import core
from fastpose.data.sources.npz_file import check_list
from fastpose.data.sources.pickle_reference import pickle_end
from fastpose.settings.short_text import short

CONTAINER_KEYS = (
    "state_dict",
    "model",
    "model_pos",
)  # PYSKL and MMAction2; action and pose files of MotionBERT
ZIP_HEAD = b"PK\x03\x04"
LEGACY_PICKLES = 5  # that stand before the numbers: a mark, a version, the machine, the content, its keys
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
            is_zip = check_saved(path)
            with torch.serialization.safe_globals(UNREAD), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # on pickles that it then refuses
                # Mapped, a tensor ends where the file does; read, it would reach as far as the pickle says.
                content = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except RefusedError as error:
        raise ValueError(f"{path} is damaged or no checkpoint: {error}") from error
    except OSError:
        raise
    except Exception as error:  # both readers raise whatever a damaged file leads them to
        if found := re.search(r"GLOBAL ([\w.]+)", str(error)):
            raise ValueError(
                f"{path} holds pickled code ({found[1]}), which is not run; save its state dict alone with "
                "torch.save and load that"
            ) from error
        raise ValueError(f"{path} is damaged or no checkpoint: {_reason(error, path)}") from error
    return _plain_names(_find_state(content, path), path), metadata


class RefusedError(ValueError):
    """A file of torch.save that torch must not see."""


def check_saved(path: Path) -> bool:
    """Return whether a file of torch.save is a zip archive.

    Raises:
        RefusedError: its pickles would take far more memory than it has bytes, or its members are packed.
    """
    with open(path, "rb") as file:
        head = file.read(len(ZIP_HEAD))
        size = os.fstat(file.fileno()).st_size
        if head != ZIP_HEAD:
            if head[:1] != b"\x80":
                return False  # torch says what it is not
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                place = 0
                try:
                    for _ in range(LEGACY_PICKLES):
                        place = pickle_end(mapped, place)
                except ValueError as error:  # what is behind a fault was not looked at
                    raise RefusedError(f"its pickles cannot be read: {error}") from error
            return False
        if not zipfile.is_zipfile(file):
            return True  # torch says so, too
        try:
            check_list(file)
            with zipfile.ZipFile(file) as archive:
                members = archive.infolist()
                if any(member.compress_type != zipfile.ZIP_STORED for member in members):
                    raise RefusedError(
                        "it is a zip archive with compressed members, of which torch.save makes none"
                    )
                if sum(member.file_size for member in members) > size:
                    raise RefusedError("the members of its zip archive are larger than the file")
                for member in members:
                    is_pickle = member.filename.endswith(".pkl")
                    if is_pickle and (fault := core.scan_pickle(archive.read(member))):
                        raise RefusedError(
                            f"its {PurePosixPath(member.filename).name} cannot be read: {fault}"
                        )
        except RefusedError:
            raise
        except Exception as error:  # a damaged archive makes zipfile raise nearly anything
            raise RefusedError(f"its zip archive is cut off or broken ({error})") from error
    return True


def _find_state(content: object, path: Path) -> dict[str, Tensor]:
    for key in CONTAINER_KEYS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not content:
        raise ValueError(f"{path} holds no state dict: expected names and tensors, got {_kind(content)}")
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise ValueError(f"{path} holds no state dict: {short(key)} is {_kind(value)}, expected a tensor")
        plain = value.layout == torch.strided and value.device.type == "cpu"
        if not plain or value.is_quantized or value.is_complex():
            raise ValueError(f"{path} holds {short(key)} as another tensor than one of plain real numbers")
        if value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise ValueError(
                f"{path} is damaged: {short(key)} {list(value.shape)[:8]} has more numbers than the file"
            )
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
