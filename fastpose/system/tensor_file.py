"""Safetensors files whose bytes follow from their content, with checksums that tell damage from content.

The metadata have a CRC-32 of each array ("checksums") and of the header itself ("header_checksum"). zlib computes it
for 4 GB in a second, faster than any disk; each single burst of wrong bits is found, and all but one in four thousand
million other faults. It is made against damage, not against forgers. Files from before have none.
"""

import errno
import json
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fastpose.settings.json_text import parse_json
from fastpose.system.files import atomic_path

CHECKSUMS, HEADER_CHECKSUM = "checksums", "header_checksum"  # in the metadata
NO_CHECKSUM = "0" * 8  # stands in the header while its own is computed
_BEFORE = f'"{HEADER_CHECKSUM}":"'.encode()


class DamagedFileError(ValueError):
    """A file holds other bytes than were written to it."""


@contextmanager
def writing_tensors(path: str | Path) -> Iterator[Path]:
    """Yield where to save a file with ``checksum_texts`` among its metadata; on success it replaces ``path``.

    Its metadata are then in the order of their keys (the library's is random), with the checksum of the header.

    Raises:
        OSError: the folder is missing, or the disk is full; ``path`` is then as it was.
    """
    from safetensors import SafetensorError

    try:
        with atomic_path(path) as partial:
            yield partial
            with open(partial, "rb+") as file:
                size = file.read(8)
                header = _sealed(size, file.read(int.from_bytes(size, "little")))
                file.seek(8)
                file.write(header)
    except SafetensorError as error:
        code = errno.ENOSPC if "No space left" in str(error) else errno.EIO
        raise OSError(code, f"writing failed ({error})", str(path)) from error


def sealed_bytes(content: bytes) -> bytes:
    """Return what a file of ``content`` would hold after ``writing_tensors``."""
    end = 8 + int.from_bytes(content[:8], "little")
    return content[:8] + _sealed(content[:8], content[8:end]) + content[end:]


def checksum_texts(arrays: Mapping[str, Any]) -> dict[str, str]:
    """Return the metadata that hold the checksums of contiguous arrays, and the place of the header's own."""
    sums = {name: checksum(array) for name, array in sorted(arrays.items())}
    return {CHECKSUMS: json.dumps(sums), HEADER_CHECKSUM: NO_CHECKSUM}


def checksum(array: Any) -> str:
    """Return the CRC-32 of the bytes of a contiguous array, of NumPy or a torch tensor on the CPU, in 8 hex digits."""
    if hasattr(array, "numpy"):  # NumPy does not know every dtype of torch
        import torch

        array = array.reshape(-1).view(torch.uint8).numpy()
    return f"{zlib.crc32(memoryview(array.reshape(-1)).cast('B') if array.size else b''):08x}"


def check_header(path: str | Path) -> None:
    """Verify the checksum of a file's header; one without is let through, and so is what has no header.

    Raises:
        DamagedFileError: they differ.
        OSError: the file cannot be read.
    """
    with open(path, "rb") as file:
        size = file.read(8)
        length = int.from_bytes(size, "little")
        if length <= Path(path).stat().st_size:
            check_header_bytes(size, file.read(length), str(path))


def check_header_bytes(size: bytes, header: bytes, source: str) -> None:
    """Verify the checksum of a header; ``size`` are the 8 bytes before it, ``source`` is what errors name.

    Raises:
        DamagedFileError: it differs.
    """
    place = header.rfind(_BEFORE)
    if place < 0:
        if b'"' + CHECKSUMS.encode() + b'":' in header:
            raise DamagedFileError(f"{source}: damaged file: its header has lost its checksum")
        return
    start = place + len(_BEFORE)
    end = start + len(NO_CHECKSUM)
    found = zlib.crc32(size + header[:start] + NO_CHECKSUM.encode() + header[end:])
    said = header[start:end].decode("ascii", "replace")
    if said != f"{found:08x}":
        raise DamagedFileError(
            f"{source}: damaged file: the checksum of its header is {found:08x}, expected {said!r}"
        )


def check_arrays(texts: Mapping[str, str], arrays: Mapping[str, Any], path: str | Path) -> bool:
    """Verify the checksums of all arrays of a file with the metadata ``texts``; return whether there are any.

    Raises:
        DamagedFileError: one differs, or is missing; the text names the array.
    """
    if CHECKSUMS not in texts:
        return False
    try:
        said = parse_json(texts[CHECKSUMS])
    except ValueError as error:
        raise DamagedFileError(f"{path}: damaged file: its checksums cannot be read: {error}") from error
    if not isinstance(said, dict):
        raise DamagedFileError(f"{path}: damaged file: its checksums are no names with numbers")
    for name, array in arrays.items():
        if checksum(array) != said.pop(name, None):
            raise DamagedFileError(
                f"{path}: damaged file: the contents of {name} are not those that were written"
            )
    if said:
        raise DamagedFileError(f"{path}: damaged file: {', '.join(sorted(said)[:4])} are missing")
    return True


def _sealed(size: bytes, text: bytes) -> bytes:
    """Return a header with its metadata in order, and its checksum among them."""
    header = json.loads(text)
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    ordered = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode().ljust(len(text))
    assert len(ordered) == len(text), "the arrays begin where the header ends"
    place = ordered.rfind(_BEFORE)
    if place < 0:
        return ordered
    start = place + len(_BEFORE)
    return (
        ordered[:start] + f"{zlib.crc32(size + ordered):08x}".encode() + ordered[start + len(NO_CHECKSUM) :]
    )
