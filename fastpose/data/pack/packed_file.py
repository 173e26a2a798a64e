"""The safetensors file of a pack: written whole, opened by mapping, its kind and version checked."""

import errno
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np

from fastpose.system.files import atomic_path, sort_metadata

FORMAT = "fastpose packed clips"
VERSION = "1"


def write(
    path: str | Path,
    arrays: Mapping[str, np.ndarray],
    texts: Mapping[str, str],
    kind: tuple[str, str] = (FORMAT, VERSION),
) -> None:
    """Write contiguous arrays and texts to ``path``, which is replaced at the end or not at all.

    Equal content gives equal bytes. ``kind`` is what the file says that it is, and the version.

    Raises:
        OSError: the folder is missing, or the disk is full.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    check_target(path)
    megabytes = sum(array.nbytes for array in arrays.values()) / 1e6
    try:
        with atomic_path(path) as partial:
            save_file(dict(arrays), partial, metadata={"format": kind[0], "version": kind[1], **texts})
            sort_metadata(partial)
    except SafetensorError as error:
        code = errno.ENOSPC if "No space left" in str(error) else errno.EIO
        raise OSError(code, f"writing {megabytes:.1f} MB failed ({error})", str(path)) from error


def check_target(path: str | Path) -> None:
    """Refuse a target that cannot be written, before any work is done for it.

    Raises:
        OSError: its folder is missing, or it is a folder or a device.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "the output's folder does not exist", str(path.parent))
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "the output must be a file, not a folder", str(path))
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "the output must be an ordinary file, not a device or pipe", str(path))


def read(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Map a file of ``write``: read-only arrays, and texts.

    Raises:
        ValueError: not safetensors, cut short, of another kind or version.
        OSError: the file cannot be opened.
    """
    from safetensors import SafetensorError, safe_open

    with open(path, "rb"):  # the library's own error does not say which file is missing
        pass
    try:
        with safe_open(path, framework="pt") as file:
            texts = file.metadata() or {}
            if texts.get("format") != FORMAT:
                raise ValueError(
                    f"{path}: a safetensors file, but not packed clips; make those with `fastpose pack`"
                )
            if texts.get("version") != VERSION:
                raise ValueError(
                    f"{path}: packed clips of version {texts.get('version')!r}, but this fastpose reads "
                    f"version {VERSION!r}; pack the data again"
                )
            arrays = {key: file.get_tensor(key).numpy() for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, TypeError, RuntimeError) as error:
        raise ValueError(f"{path}: not a whole packed file (safetensors): {error}") from error
    for array in arrays.values():
        array.flags.writeable = False
    return arrays, texts


def split_names(blob: np.ndarray, offsets: np.ndarray) -> list[str]:
    """Cut the UTF-8 ``blob`` (uint8) at ``offsets`` (int64 [n + 1]).

    Raises:
        ValueError: offsets that do not cover the blob, or text that is not UTF-8.
    """
    if blob.dtype != np.uint8 or blob.ndim != 1 or offsets.dtype != np.int64 or offsets.ndim != 1:
        raise ValueError("names must be uint8 [bytes] with int64 name_offsets [n + 1]")
    if not offsets.size or offsets[0] != 0 or offsets[-1] != blob.size or (np.diff(offsets) <= 0).any():
        raise ValueError("name_offsets do not cover names")
    text, ends = blob.tobytes(), offsets.tolist()
    return [text[start:stop].decode() for start, stop in pairwise(ends)]
