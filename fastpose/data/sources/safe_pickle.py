"""Reading pickles of NumPy arrays and plain containers, and nothing that could run code.

NumPy's own reconstruction functions are replaced by ones that build numeric arrays only: an array's dtype,
shape and bytes are checked here, before NumPy sees them. Nor can a small pickle ask for much: its opcodes are
looked over before the unpickler obeys them, and what it builds out of its bytes may hold no more than these.
"""

import math
import mmap
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from fastpose.data.core import core
from fastpose.data.sources.pickle_reference import MOST_NUMBER_KEYS

_NUMERIC = re.compile(r"[<>|=]?([biufcSU][1-9][0-9]{0,9}|\?)")
_MAX_DIMS = 64  # NumPy's own limit
_MAX_KEY = 250  # values in a tuple that is an item of a set; it may hold no other tuple
_LONGEST_QUOTE, _LONGEST_REASON = 100, 400  # characters of what the file says, and of an error with it


class _Dtype:
    """Stands for ``numpy.dtype`` in a pickle: a kind and byte order, no fields, no subarrays."""

    def __init__(self, code: Any = "f8", align: object = False, copy: object = False) -> None:
        code = code.decode("ascii") if isinstance(code, bytes) else code
        self.is_object = isinstance(code, str) and code in ("O", "O8", "|O")
        if not self.is_object and not (isinstance(code, str) and _NUMERIC.fullmatch(code)):
            said = repr(_short(code)) if isinstance(code, str) else f"a {type(code).__name__}"
            raise pickle.UnpicklingError(f"an array of dtype {said} is not allowed, only plain numbers")
        self.dtype = np.dtype("O" if self.is_object else code)

    def __setstate__(self, state: Any) -> None:
        order = state[1] if isinstance(state, tuple) and len(state) >= 5 else None
        order = order.decode("ascii") if isinstance(order, bytes) else order
        if order not in ("<", ">", "|", "=") or any(part is not None for part in state[2:5]):
            raise pickle.UnpicklingError("an array of structured dtype is not allowed, only plain numbers")
        if not self.is_object:
            self.dtype = self.dtype.newbyteorder(order)


class _Budget:
    """How much may still be copied out of a pickle of ``size`` bytes, which can use a value any number of times."""

    def __init__(self, size: int) -> None:
        self._left = 2 * size  # old protocols bring an array's bytes as text, which becomes bytes first
        self._number_keys = 5 * MOST_NUMBER_KEYS

    def take(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise pickle.UnpicklingError("its arrays and sets would hold more than the file does")

    def take_keys(self, keys: list) -> None:
        """Count those of a set or dict that are no text: numbers of one hash are compared with each other."""
        count = sum(not isinstance(key, str | bytes) for key in keys)
        self._number_keys -= count
        if count > MOST_NUMBER_KEYS or self._number_keys < 0:
            raise pickle.UnpicklingError(f"more than {MOST_NUMBER_KEYS} keys are no text")


class _Array(np.ndarray):
    """Stands for ``numpy.ndarray`` in a pickle; ``plain`` makes it one."""

    _budget: _Budget

    def __setstate__(self, state: Any) -> None:
        version, shape, dtype, fortran, data = state if len(state) == 5 else (0, *state)
        if not isinstance(dtype, _Dtype):
            raise pickle.UnpicklingError("an array without a dtype")
        size = _size(shape)
        expected = size if dtype.is_object else size * dtype.dtype.itemsize
        if not isinstance(data, list if dtype.is_object else bytes | str) or len(data) != expected:
            raise pickle.UnpicklingError("an array whose shape and contents disagree")
        self._budget.take(expected)
        super().__setstate__(cast(Any, (version, shape, dtype.dtype, bool(fortran), data)))

    def __setitem__(self, key: object, value: object) -> None:
        raise pickle.UnpicklingError("an array whose values are set one by one")


def _size(shape: Any) -> int:
    sides = shape if isinstance(shape, tuple) and len(shape) <= _MAX_DIMS else (-1,)
    if not all(isinstance(side, int) and 0 <= side < 2**63 for side in sides):
        raise pickle.UnpicklingError("an array whose shape is no tuple of a few whole numbers")
    return math.prod(sides)


def _reconstruct(budget: _Budget, _subtype: object, _shape: object, _dtype: object) -> _Array:
    array = _Array((0,), np.int8)
    array._budget = budget
    return array


def _frombuffer(budget: _Budget, buffer: Any, dtype: object, shape: Any, order: object = "C") -> _Array:
    if not isinstance(dtype, _Dtype) or dtype.is_object or order not in ("C", "F", "A", "K"):
        raise pickle.UnpicklingError("an array that is no plain buffer of numbers")
    flat = np.frombuffer(buffer, dtype.dtype)
    if flat.size != _size(shape):
        raise pickle.UnpicklingError("an array whose shape and contents disagree")
    array = flat.reshape(shape, order="F" if order == "F" else "C").view(_Array)
    array._budget = budget
    return array


def _scalar(budget: _Budget, dtype: object, data: Any = None) -> object:
    if not isinstance(dtype, _Dtype) or dtype.is_object:
        raise pickle.UnpicklingError("a scalar that is no number")
    budget.take(dtype.dtype.itemsize)
    data = data.encode("latin1") if isinstance(data, str) else data
    return np.frombuffer(data, dtype.dtype, count=1)[0]


def _encode(budget: _Budget, text: object, encoding: object = "latin1") -> bytes:
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError("_codecs.encode of anything but a latin1 string")
    budget.take(len(text))
    return text.encode("latin1")


def _empty_bytes(_budget: _Budget) -> bytes:
    return b""


def _set(budget: _Budget, items: Any = ()) -> set:
    return set(_cheap_keys(budget, items))


def _frozenset(budget: _Budget, items: Any = ()) -> frozenset:
    return frozenset(_cheap_keys(budget, items))


def _dict(budget: _Budget, pairs: Any = ()) -> dict:
    pairs = [(key, value) for key, value in pairs]
    _cheap_keys(budget, [key for key, _ in pairs])
    return dict(pairs)


def _cheap_keys(budget: _Budget, items: Any) -> list:
    """Refuse tuples that hold tuples: a hash visits them all, by recursion, however often one is shared."""
    if not isinstance(items, list | tuple):
        raise pickle.UnpicklingError(f"a set or dict of a {type(items).__name__}")
    budget.take(len(items))
    for item in items:
        if isinstance(item, tuple) and (
            len(item) > _MAX_KEY or any(isinstance(part, tuple) for part in item)
        ):
            raise pickle.UnpicklingError("a key of a dict or an item of a set is a tuple of tuples")
    keys = list(items)
    budget.take_keys(keys)
    return keys


class _Callable:
    """A function that a pickle may call. Unlike on a plain function, ``BUILD`` can set nothing on it."""

    __slots__ = ("_budget", "_function")

    def __init__(self, function: Callable, budget: _Budget) -> None:
        self._function = function
        self._budget = budget

    def __call__(self, *args: object) -> object:
        return self._function(self._budget, *args)

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("it changes a function")


_FUNCTIONS = {
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): _dict,
    **{(module, name): kind for module in ("builtins", "__builtin__")
       for name, kind in (("set", _set), ("frozenset", _frozenset), ("bytes", _empty_bytes))},
    **{(f"numpy.{place}.multiarray", name): function for place in ("core", "_core")
       for name, function in (("_reconstruct", _reconstruct), ("scalar", _scalar))},
    **{(f"numpy.{place}.numeric", "_frombuffer"): _frombuffer for place in ("core", "_core")},
}  # fmt: skip
_OTHERS = {
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): "numpy.ndarray",  # an argument of _reconstruct, never to be called
}


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: BinaryIO, size: int) -> None:
        super().__init__(file, encoding="latin1")
        self._budget = _Budget(size)

    def find_class(self, module: str, name: str) -> object:
        if (module, name) in _FUNCTIONS:
            return _Callable(_FUNCTIONS[module, name], self._budget)
        if (module, name) in _OTHERS:
            return _OTHERS[module, name]
        raise pickle.UnpicklingError(
            f"it asks for {_short(f'{module}.{name}')}; only NumPy arrays and plain containers are allowed, "
            "since anything else could run code"
        )


def _short(text: str, longest: int = _LONGEST_QUOTE) -> str:
    return text if len(text) <= longest else text[:longest] + "..."


def plain(value: object) -> object:
    """Return an array out of ``load_pickle`` as an ordinary ``numpy.ndarray``; anything else as it is."""
    return value.view(np.ndarray) if isinstance(value, _Array) else value


def load_pickle(path: str | Path) -> object:
    """Read a pickle without running anything that it brings; arrays may be of a private ndarray subclass.

    Values that the file shares are shared in the result too: a small file can hold lists of lists that would
    be huge, were they expanded.

    Raises:
        ValueError: damaged, no pickle, asking for anything but arrays and plain containers, or for more memory
            or time than a file of its size needs.
        OSError: the file cannot be read.
    """
    with open(path, "rb") as file:
        head = file.read(4)
        if head[:2] == b"PK":
            raise ValueError(f"{path}: a zip archive (of torch.save or numpy.savez?), not a pickle")
        if not head:
            raise ValueError(f"{path}: an empty file, not a pickle")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            size, fault = len(mapped), core.scan_pickle(mapped)
        if fault:
            raise ValueError(f"{path}: refused or damaged pickle: {fault}")
        file.seek(0)
        try:
            return _Unpickler(file, size).load()
        except OSError:
            raise
        except Exception as error:  # bytes of strangers can make the unpickler raise anything
            reason = _short(str(error), _LONGEST_REASON) or type(error).__name__
            raise ValueError(f"{path}: refused or damaged pickle: {reason}") from error
