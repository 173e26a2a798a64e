"""The safetensors file of a pack: written whole, opened by mapping, its kind and version checked."""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np

from fastpose.system.files import check_target
from fastpose.system.tensor_file import checksum_texts, writing_tensors

FORMAT = "fastpose packed clips"
VERSION = "1"


def write(
    path: str | Path,
    arrays: Mapping[str, np.ndarray],
    texts: Mapping[str, str],
    kind: tuple[str, str] = (FORMAT, VERSION),
) -> None:
    """Write contiguous arrays and texts, with their checksums, to ``path``, which is replaced at the end or not at all.

    Equal content gives equal bytes. ``kind`` is what the file says that it is, and the version.

    Raises:
        OSError: the folder is missing, or the disk is full.
    """
    from safetensors.numpy import save_file

    check_target(path)
    metadata = {"format": kind[0], "version": kind[1], **texts, **checksum_texts(arrays)}
    with writing_tensors(path) as partial:
        save_file(dict(arrays), partial, metadata=metadata)


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
                    f"{path}: packed clips of version {texts.get('version')!r:.40}, but this fastpose reads "
                    f"version {VERSION!r}; pack the data again"
                )
            arrays = {key: file.get_tensor(key).numpy() for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, TypeError, RuntimeError) as error:
        raise ValueError(f"{path}: not a whole packed file (safetensors): {error}") from error
    for array in arrays.values():
        array.flags.writeable = False
    return arrays, texts


def split_names(blob: np.ndarray, offsets: np.ndarray, count: int) -> list[str]:
    """Cut the UTF-8 ``blob`` (uint8) at ``offsets`` (int64 [count + 1]).

    Raises:
        ValueError: offsets that do not cover the blob, or text that is not UTF-8.
    """
    if blob.dtype != np.uint8 or blob.ndim != 1 or offsets.dtype != np.int64 or offsets.ndim != 1:
        raise ValueError("names must be uint8 [bytes] with int64 name_offsets [n + 1]")
    if count < 1 or offsets.size != count + 1:
        raise ValueError(f"name_offsets must be int64 [{count + 1}], as offsets are, got [{offsets.size}]")
    if offsets[0] != 0 or offsets[-1] != blob.size or (offsets[1:] <= offsets[:-1]).any():
        raise ValueError("name_offsets do not cover names")
    text, ends = blob.tobytes(), offsets.tolist()
    return [text[start:stop].decode() for start, stop in pairwise(ends)]
