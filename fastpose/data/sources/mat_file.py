"""Arrays of numbers and text in MATLAB's files of version 5, whose sizes are checked before memory is taken for them.

SciPy's reader trusts them: a file of some kB can make it take many GB.
"""

import math
import struct
import zlib
from collections.abc import Container, Iterator
from pathlib import Path

import numpy as np

_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
_DTYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_TEXTS = {16: "utf-8", 17: "utf-16", 18: "utf-32"}
_CHARACTERS, _NUMBERS = 4, range(6, 16)  # classes of arrays
_FREE_BYTES = 2**24  # that arrays may have beyond 4 times the file
_CUT = "it is cut off, or has a size beyond its end"

Value = np.ndarray | str


def read_mat(path: Path, wanted: Container[str]) -> dict[str, Value]:
    """Read the ``wanted`` variables of a file: arrays of real numbers, and rows of characters as text.

    Raises:
        ValueError: no such file, a variable of another kind, or one that would take far more memory than the file.
        OSError: the file cannot be read.
    """
    content = path.read_bytes()
    order = {b"IM": "<", b"MI": ">"}.get(content[126:_HEADER])
    if order is None or struct.unpack(f"{order}H", content[124:126]) != (0x0100,):
        raise ValueError("not a MATLAB v5 file: its header says something else")
    left = 4 * len(content) + _FREE_BYTES
    found: dict[str, Value] = {}
    for kind, data in _elements(memoryview(content)[_HEADER:], order):
        if kind == _COMPRESSED:
            inflated = _inflated(data, left)
            left -= len(inflated)
            kind, data = next(_elements(memoryview(inflated), order), (0, memoryview(b"")))
        if kind != _MATRIX:
            continue  # such as what Simulink adds
        name, value = _variable(data, order, wanted)
        if value is not None:
            if name in found:
                raise ValueError(f"it holds {name!r} twice")
            found[name] = value
    return found


def _inflated(data: memoryview, most: int) -> bytes:
    """Return the content of a compressed variable; where it has 16 kB, MATLAB leaves its stream without an end."""
    inflate = zlib.decompressobj()
    try:
        result = inflate.decompress(data, max(most, 1))
    except zlib.error as error:
        raise ValueError(f"a compressed variable cannot be read ({error})") from error
    if inflate.unconsumed_tail:
        raise ValueError("its variables would take far more memory than the file has bytes")
    return result


def _elements(data: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """Yield the type and the content of each element that ``data`` is made of."""
    place = 0
    while place < len(data):
        if place + 8 > len(data):
            raise ValueError(_CUT)
        kind, size = struct.unpack_from(f"{order}2I", data, place)
        start, after = place + 8, place + 8 + size
        if kind >> 16:  # a small one: type and size in one number, up to 4 bytes of content behind it
            kind, size, start, after = kind & 0xFFFF, kind >> 16, place + 4, place + 8
            if size > 4:
                raise ValueError(_CUT)
        elif kind != _COMPRESSED:
            after += -size % 8
        if start + size > len(data):
            raise ValueError(_CUT)
        yield kind, data[start : start + size]
        place = after


def _variable(data: memoryview, order: str, wanted: Container[str]) -> tuple[str, Value | None]:
    """Return the name of an array, and its content if that is wanted."""
    parts = _elements(data, order)
    flags, dims, name = (next(parts, (0, memoryview(b"")))[1] for _ in range(3))
    if len(flags) != 8 or len(dims) % 4 or not dims or len(dims) > 4 * 32:
        raise ValueError("a variable has no flags or no size")
    text = bytes(name).decode("ascii", "backslashreplace")
    if text not in wanted:
        return text, None
    bits = struct.unpack_from(f"{order}I", flags)[0]
    kind, shape = bits & 0xFF, struct.unpack(f"{order}{len(dims) // 4}i", dims)
    is_complex = bool(bits & 0x0800)
    type_of, content = next(parts, (0, memoryview(b"")))
    if kind == _CHARACTERS:
        return text, _characters(text, type_of, content, order)
    if kind not in _NUMBERS or is_complex or type_of not in _DTYPES:
        raise ValueError(f"{text} is no array of real numbers, nor text")
    dtype = np.dtype(order + _DTYPES[type_of])
    if min(shape) < 0 or len(content) != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{text} of size {'×'.join(map(str, shape))} has {len(content):,} bytes")
    return text, np.frombuffer(content, dtype).astype(dtype.newbyteorder("=")).reshape(shape, order="F")


def _characters(name: str, type_of: int, content: memoryview, order: str) -> str:
    """Return the text of a single row of characters, kept as numbers or encoded."""
    if type_of in _DTYPES and _DTYPES[type_of] in ("u1", "i1", "u2", "u4"):
        numbers = np.frombuffer(content, order + _DTYPES[type_of])
        encoding, raw = "utf-32-le", numbers.astype("<u4").tobytes()
    elif type_of in _TEXTS:
        endian = {"<": "-le", ">": "-be"}[order] if type_of != 16 else ""
        encoding, raw = _TEXTS[type_of] + endian, bytes(content)
    else:
        raise ValueError(f"{name} is text of an unknown kind")
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(f"{name} is no text: {error}") from error
