"""Changes of contents and of the bytes that hold them, which follow from a random generator's state alone."""

import re
from collections.abc import Sequence
from random import Random
from typing import Any

import numpy as np

_NUMBERS = (
    0,
    1,
    -1,
    2,
    255,
    2**15,
    2**31 - 1,
    2**31,
    2**32 + 1,
    2**53 + 1,
    2**63 - 1,
    2**63,
    2**64,
    -(2**63),
)
_ODD_NUMBERS = (*_NUMBERS, 0.5, -0.0, 1e-300, 1e39, 1e308, float("nan"), float("inf"), 10**30, 10**400, True)
_ODD_TEXTS = (
    "",
    "0",
    "-1",
    "nan",
    "auto",
    "all",
    "coco17",
    "a" * 300,
    "\ud800",
    "\0",
    "../x",
    "1:2:3",
    "é🙂",
)
_BYTES = (b"\0", b"\xff", b"\x7f", b"\x80", b"\n", b'"', b"[", b"{", b"]", b"(", b".", b"-", b"e9")
_DTYPES = ("u1", "i1", "i4", "i8", "u8", ">i8", "f2", "f4", ">f4", "f8", "c8", "?", "U5", "S3", "O")
_DIGITS = re.compile(rb"\d+")


def changed(random: Random, content: Any) -> Any:
    """Return ``content`` with one to four of its parts changed; what is not changed is shared."""
    for _ in range(random.randint(1, 4)):
        content = _edit(random, content)
    return content


def _edit(random: Random, value: Any) -> Any:
    if isinstance(value, dict | list | tuple) and value and random.random() < 0.8:
        keys = list(value) if isinstance(value, dict) else range(len(value))
        key = random.choice(keys)
        parts = dict(value) if isinstance(value, dict) else list(value)
        parts[key] = _edit(random, value[key])
        return tuple(parts) if isinstance(value, tuple) else parts
    choice = random.random()
    if choice < 0.3:
        return odd_value(random)
    if isinstance(value, dict) and value:
        return _edited_dict(random, value)
    if isinstance(value, list | tuple) and value:
        edited = _edited_list(random, list(value))
        return tuple(edited) if isinstance(value, tuple) else edited
    if isinstance(value, np.ndarray):
        return _edited_array(random, value)
    if isinstance(value, int | float):
        return random.choice((*_ODD_NUMBERS, value + 1, -value, value / 3))
    return odd_value(random)


def odd_value(random: Random) -> Any:
    """Return something that few readers expect."""
    kind = random.randrange(7)
    if kind == 0:
        return random.choice(_ODD_TEXTS)
    if kind <= 2:
        return random.choice(_ODD_NUMBERS)
    if kind == 3:
        return random.choice((None, False, [], {}, [[]], [None], {"": None}, [[[]], []]))
    if kind == 4:
        value: Any = random.choice((0, 1.5, "a", None, []))
        for _ in range(random.choice((1, 2, 5, 40, 300))):
            value = [value] if random.random() < 0.8 else {"keypoints": value}
        return value
    if kind == 5:
        return [random.choice((0, 1.5, None, "a"))] * random.choice((1, 2, 3, 17, 34, 51, 1000))
    shape = [random.choice((0, 1, 2, 3, 17)) for _ in range(random.randint(1, 5))]
    return np.full(shape, random.choice((0, 1, 5))).tolist()


def _edited_dict(random: Random, value: dict) -> dict:
    edited = dict(value)
    key = random.choice(list(edited))
    kind = random.randrange(4)
    if kind == 0:
        del edited[key]
    elif kind == 1:
        edited[random.choice((*_ODD_TEXTS, f"{key}s", str(key)[:-1]))] = edited.pop(key)
    elif kind == 2:
        edited[key] = random.choice(list(edited.values()))
    else:
        edited[random.choice(_ODD_TEXTS)] = odd_value(random)
    return edited


def _edited_list(random: Random, value: list) -> list:
    place = random.randrange(len(value))
    kind = random.randrange(5)
    if kind == 0:
        return value[:place] + value[place + 1 :]
    if kind == 1:
        return value[:place] + [value[place]] * random.choice((2, 3, 50)) + value[place + 1 :]
    if kind == 2:
        return [value]
    if kind == 3:
        return value[:place]
    return [*value[:place], odd_value(random), *value[place:]]


def _edited_array(random: Random, value: np.ndarray) -> Any:
    kind = random.randrange(7)
    if kind == 0:
        if value.dtype.kind not in "iuf":
            return value.astype("O")
        with np.errstate(all="ignore"):
            return value.astype(random.choice(_DTYPES))
    if kind == 1:
        return value.reshape(random.choice(((-1,), (*value.shape, 1), (1, *value.shape), value.shape[::-1])))
    if kind == 2:
        return value[:0] if value.ndim else value.reshape(1)[:0]
    if kind == 3:
        return np.repeat(value.reshape(-1), random.choice((2, 3, 30)))
    if kind == 4:
        return value.tolist()
    if value.size == 0 or value.dtype.kind not in "iuf":
        return np.array(odd_value(random), dtype=object)
    edited = value.copy()
    with np.errstate(all="ignore"):
        odd = np.array([float(random.choice(_ODD_NUMBERS[:-2]))]).astype(value.dtype)
    edited.reshape(-1)[random.randrange(value.size)] = odd[0]
    if kind == 5:
        edited.reshape(-1)[random.randrange(value.size) :] = odd[0]
    return edited


def changed_bytes(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Return ``data`` with one to four places changed, some by pieces of ``others``."""
    for _ in range(random.randint(1, 4)):
        data = _edited_bytes(random, data, others)
    return data


def _edited_bytes(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    start = random.randint(0, len(data))
    stop = min(len(data), start + random.choice((1, 1, 2, 4, 8, 40, 1000)))
    kind = random.randrange(8)
    if kind == 0:
        return data[:start] + data[stop:]
    if kind == 1:
        return data[:start] + data[start:stop] * random.choice((2, 3, 50)) + data[stop:]
    if kind == 2:
        return data[:start]
    if kind == 3:
        return data[:start] + random.choice(_BYTES) + data[start + 1 :]
    if kind == 4:
        return data[:start] + random.randbytes(min(stop - start, 8)) + data[stop:]
    if kind == 5:
        width = random.choice((1, 2, 4, 8))
        number = random.choice(_NUMBERS) % 2 ** (8 * width)
        return data[:start] + number.to_bytes(width, "little") + data[start + width :]
    if kind == 6 and (numbers := list(_DIGITS.finditer(data, start))):
        number = numbers[min(len(numbers) - 1, random.randrange(4))]
        return data[: number.start()] + str(random.choice(_NUMBERS)).encode() + data[number.end() :]
    other = random.choice(others)
    place = random.randint(0, len(other))
    return data[:start] + other[place : place + stop - start] + data[stop:]
