"""NumPy's files, `.npy` and `.npz`, whose promises are checked before memory is taken for them."""

import io
import math
import os
import struct
import zipfile
from collections import Counter
from collections.abc import Container
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

MOST_LISTED = 2**22  # bytes of an archive's list of members; that of a thousand arrays has a fortieth
# Bytes that arrays may have: frames of zeros take next to nothing in a file, and a large one must not fill the memory.
_MOST_GROWTH = ((20, 2**26), (4, 3 * 2**26))  # times the file, and more
_LONGEST_HEADER = 10_000  # of an array; NumPy's own limit
_END = struct.Struct(
    "<4s4H2LH"
)  # of an archive: signature, disks, members, bytes and place of the list, comment
_END_64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR_SIZE = 20


def read_npy(path: Path) -> np.ndarray:
    """Read the array of a `.npy` file.

    Raises:
        ValueError: no whole array of plain values.
        OSError: the file cannot be read.
    """
    with open(path, "rb") as file:
        try:
            _check_promise(file, os.fstat(file.fileno()).st_size)
            file.seek(0)
            return np.load(file, allow_pickle=False)
        except Exception as error:  # a damaged file makes NumPy raise nearly anything
            raise ValueError(f"not a readable .npy file without pickled objects: {error!s:.300}") from error


def read_arrays(path: Path, wanted: Container[str]) -> tuple[dict[str, np.ndarray], list[str]]:
    """Read the ``wanted`` arrays of an `.npz` file, and the names of all that are in it; others are not decompressed.

    Raises:
        ValueError: no whole archive of plain arrays, or arrays of far more bytes than the file has.
        OSError: the file cannot be read.
    """
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        try:
            check_list(file)
            with zipfile.ZipFile(file) as archive:
                members = archive.infolist()
                _check_members(members, wanted, size)
                found = {}
                for member in members:
                    if _name(member) in wanted:
                        with archive.open(member) as array:
                            _check_promise(array, member.file_size)
                        with archive.open(member) as array:
                            found[_name(member)] = np.lib.format.read_array(array, allow_pickle=False)
                return found, [_name(member) for member in members]
        except Exception as error:  # a damaged archive makes zipfile and NumPy raise nearly anything
            raise ValueError(f"not a readable .npz file without pickled objects: {error!s:.300}") from error


def _name(member: zipfile.ZipInfo) -> str:
    return member.filename.removesuffix(".npy")


def check_list(file: BinaryIO) -> None:
    """Refuse an archive whose list of members is longer than that of any arrays, before it is read.

    Raises:
        ValueError: it is, or the file is no zip archive.
    """
    size = os.fstat(file.fileno()).st_size
    tail = min(size, _END.size + 2**16)
    file.seek(size - tail)
    data = file.read(tail)
    place = data.rfind(b"PK\x05\x06")
    if place < 0 or place + _END.size > len(data):
        raise ValueError("it is no zip archive")
    *_, listed, _, _ = _END.unpack_from(data, place)
    large = size - tail + place - _LOCATOR_SIZE - _END_64.size
    if large >= 0:
        file.seek(large)
        end = file.read(_END_64.size)
        if end[:4] == b"PK\x06\x06":
            listed = max(_END_64.unpack(end)[-2], 0 if listed == 2**32 - 1 else listed)
    if listed > MOST_LISTED:
        raise ValueError(f"its list of members has {listed:,} bytes, expected at most {MOST_LISTED:,}")
    file.seek(0)


def _check_members(members: list[zipfile.ZipInfo], wanted: Container[str], size: int) -> None:
    """Refuse members that are there twice, packed as NumPy packs none, or together far larger than the file."""
    name, count = Counter(map(_name, members)).most_common(1)[0] if members else ("", 0)
    if count > 1:
        raise ValueError(f"it holds {name!r:.80} twice")
    read = [member for member in members if _name(member) in wanted]
    for member in read:
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"its member {_name(member)!r:.80} is packed in another way than np.savez does")
    total = sum(member.file_size for member in read)
    if total > min(times * size + more for times, more in _MOST_GROWTH):
        raise ValueError(
            f"its arrays would have {total:,} bytes, far more than the file's {size:,}: save them with np.savez, which "
            "does not compress"
        )


def _check_promise(file: Any, size: int) -> None:
    """Refuse an array whose header promises other than what follows it in ``size`` bytes."""
    begin = file.read(np.lib.format.MAGIC_LEN)
    version = np.lib.format.read_magic(io.BytesIO(begin))
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise ValueError(f"version {version} of NumPy's format is not known")
    width = 2 if version == (1, 0) else 4
    stated = file.read(width)
    length = int.from_bytes(stated, "little")
    if length > _LONGEST_HEADER:
        raise ValueError(f"its header has {length:,} bytes, expected at most {_LONGEST_HEADER:,}")
    text = io.BytesIO(stated + file.read(length))
    # Versions 2 and 3 differ in the encoding of names of fields alone.
    read = np.lib.format.read_array_header_1_0 if width == 2 else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(text)
    if dtype.hasobject:
        raise ValueError("it holds objects, expected numbers or text")
    promised, left = math.prod(shape) * dtype.itemsize, size - file.tell()
    if min(shape, default=0) < 0 or promised != left:
        raise ValueError(
            f"an array of shape {list(shape)[:8]} has {promised:,} bytes, but {left:,} follow its header"
        )
