"""Reading pickles of NumPy arrays and plain containers, and nothing that could run code.

NumPy's own reconstruction functions are replaced by ones that build numeric arrays only: an array's dtype,
shape and bytes are checked here, before NumPy sees them.
"""

import math
import pickle
import re
from pathlib import Path
from typing import Any, cast

import numpy as np

_NUMERIC = re.compile(r"[<>|=]?([biufcSU]\d+|\?)")


class _Dtype:
    """Stands for ``numpy.dtype`` in a pickle: a kind and byte order, no fields, no subarrays."""

    def __init__(self, code: Any = "f8", align: object = False, copy: object = False) -> None:
        code = code.decode("ascii") if isinstance(code, bytes) else code
        self.is_object = code in ("O", "O8", "|O")
        if not self.is_object and not (isinstance(code, str) and _NUMERIC.fullmatch(code)):
            raise pickle.UnpicklingError(f"an array of dtype {code!r} is not allowed, only plain numbers")
        self.dtype = np.dtype("O" if self.is_object else code)

    def __setstate__(self, state: Any) -> None:
        order = state[1] if isinstance(state, tuple) and len(state) >= 5 else None
        order = order.decode("ascii") if isinstance(order, bytes) else order
        if order not in ("<", ">", "|", "=") or any(part is not None for part in state[2:5]):
            raise pickle.UnpicklingError("an array of structured dtype is not allowed, only plain numbers")
        if not self.is_object:
            self.dtype = self.dtype.newbyteorder(order)


class _Array(np.ndarray):
    """Stands for ``numpy.ndarray`` in a pickle; ``plain`` makes it one."""

    def __setstate__(self, state: Any) -> None:
        version, shape, dtype, fortran, data = state if len(state) == 5 else (0, *state)
        if not isinstance(dtype, _Dtype):
            raise pickle.UnpicklingError("an array without a dtype")
        if dtype.is_object and not (isinstance(data, list) and len(data) == _size(shape)):
            raise pickle.UnpicklingError("an object array whose shape and contents disagree")
        super().__setstate__(cast(Any, (version, shape, dtype.dtype, bool(fortran), data)))


def _size(shape: Any) -> int:
    if not isinstance(shape, tuple) or not all(isinstance(side, int) and side >= 0 for side in shape):
        raise pickle.UnpicklingError(f"an array of shape {shape!r}")
    return math.prod(shape)


def _reconstruct(_subtype: object, _shape: object, _dtype: object) -> _Array:
    return _Array((0,), np.int8)


def _frombuffer(buffer: Any, dtype: object, shape: Any, order: object = "C") -> np.ndarray:
    if not isinstance(dtype, _Dtype) or dtype.is_object or order not in ("C", "F", "A", "K"):
        raise pickle.UnpicklingError("an array that is no plain buffer of numbers")
    flat = np.frombuffer(buffer, dtype.dtype)
    if flat.size != _size(shape):
        raise pickle.UnpicklingError("an array whose shape and contents disagree")
    return flat.reshape(shape, order="F" if order == "F" else "C")


def _scalar(dtype: object, data: Any = None) -> object:
    if not isinstance(dtype, _Dtype) or dtype.is_object:
        raise pickle.UnpicklingError("a scalar that is no number")
    data = data.encode("latin1") if isinstance(data, str) else data
    return np.frombuffer(data, dtype.dtype, count=1)[0]


def _encode(text: object, encoding: object = "latin1") -> bytes:
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError("_codecs.encode of anything but a latin1 string")
    return text.encode("latin1")


def _empty_bytes() -> bytes:
    return b""


_ALLOWED = {
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): "numpy.ndarray",  # an argument of _reconstruct, never to be called
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): dict,
    **{(module, name): kind for module in ("builtins", "__builtin__")
       for name, kind in (("set", set), ("frozenset", frozenset), ("bytes", _empty_bytes))},
    **{(f"numpy.{core}.multiarray", name): function for core in ("core", "_core")
       for name, function in (("_reconstruct", _reconstruct), ("scalar", _scalar))},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _frombuffer for core in ("core", "_core")},
}  # fmt: skip


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(
                f"it asks for {module}.{name}; only NumPy arrays and plain containers are allowed, "
                "since anything else could run code"
            )
        return _ALLOWED[module, name]


def plain(value: object) -> object:
    """Return an array out of ``load_pickle`` as an ordinary ``numpy.ndarray``; anything else as it is."""
    return value.view(np.ndarray) if isinstance(value, _Array) else value


def load_pickle(path: str | Path) -> object:
    """Read a pickle without running anything that it brings; arrays may be of a private ndarray subclass.

    Raises:
        ValueError: damaged, no pickle, or asking for anything but arrays and plain containers.
        OSError: the file cannot be read.
    """
    with open(path, "rb") as file:
        head = file.read(4)
        if head[:2] == b"PK":
            raise ValueError(f"{path}: a zip archive (of torch.save or numpy.savez?), not a pickle")
        file.seek(0)
        try:
            return _Unpickler(file, encoding="latin1").load()
        except OSError:
            raise
        except Exception as error:  # bytes of strangers can make the unpickler raise anything
            raise ValueError(f"{path}: refused or damaged pickle: {error or type(error).__name__}") from error
