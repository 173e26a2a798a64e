"""MATLAB's files of version 5, read as SciPy does, and no further than they have bytes."""

import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from scipy.io import loadmat, savemat

from fastpose.data.sources.mat_file import read_mat

HEADER = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H", 0x0100) + b"IM"
NUMBERS = ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"]


@given(
    array=arrays_of.arrays(
        st.sampled_from(NUMBERS), arrays_of.array_shapes(min_dims=2, max_dims=3, min_side=0, max_side=5)
    ),
    text=st.text(st.characters(codec="ascii", exclude_categories=["C"]), min_size=1, max_size=9),
    packed=st.booleans(),
)
def test_numbers_and_text_are_those_of_scipy(tmp_path_factory, array, text, packed):
    path = tmp_path_factory.getbasetemp() / "a.mat"
    savemat(
        path, {"x": array, "action": text, "other": {"a": 1}, "c": np.ones(2) * 1j}, do_compression=packed
    )
    found, expected = read_mat(path, ("x", "action")), loadmat(path)
    assert list(found) == ["x", "action"]
    np.testing.assert_array_equal(found["x"], expected["x"])
    assert found["x"].shape == expected["x"].shape
    assert found["action"] == text == str(expected["action"][0])


def element(kind, content, size=None):
    return (
        struct.pack("<II", kind, len(content) if size is None else size) + content + bytes(-len(content) % 8)
    )


def variable(name=b"x", dims=(1, 1), kind=6, content=None, flags=0):
    content = element(9, struct.pack("<d", 1.0)) if content is None else content
    parts = element(6, struct.pack("<II", kind | flags, 0)), element(5, struct.pack(f"<{len(dims)}i", *dims))
    return element(14, b"".join([*parts, element(1, name), content]))


def packed(data):
    content = zlib.compress(data)
    return struct.pack("<II", 15, len(content)) + content


def test_a_stream_without_an_end_is_read_as_far_as_it_goes(tmp_path):
    """So MATLAB writes variables of 16 kB, such as joints of 157 frames of Penn Action."""
    deflate = zlib.compressobj()
    content = deflate.compress(variable(dims=(2, 1), content=element(9, struct.pack("<2d", 1, 2))))
    content += deflate.flush(zlib.Z_SYNC_FLUSH)
    (tmp_path / "a.mat").write_bytes(HEADER + struct.pack("<II", 15, len(content)) + content)
    assert read_mat(tmp_path / "a.mat", ("x",))["x"].tolist() == [[1], [2]]


BAD = {
    "empty": (b"", "not a MATLAB v5 file"),
    "version 4": (bytes(200), "not a MATLAB v5 file"),
    "cut": (HEADER + variable()[:-5], "cut off"),
    "size": (HEADER + struct.pack("<II", 14, 2**32 - 8), "cut off"),
    "numbers": (HEADER + variable(dims=(2**30, 2**30)), "x of size 1073741824×1073741824 has 8 bytes"),
    "negative": (HEADER + variable(dims=(-1, -1)), "x of size -1×-1"),
    "text": (
        HEADER + variable(kind=4, dims=(1, 10**9), content=element(99, b"")),
        "x is text of an unknown kind",
    ),
    "cells": (HEADER + variable(kind=1, dims=(1, 10**9), content=b""), "x is no array of real numbers"),
    "sparse": (HEADER + variable(kind=5), "x is no array of real numbers"),
    "complex": (HEADER + variable(flags=0x0800), "x is no array of real numbers"),
    "no flags": (HEADER + element(14, b""), "no flags or no size"),
    "twice": (HEADER + variable() * 2, "it holds 'x' twice"),
    "no stream": (HEADER + element(15, b"\xff" * 16), "a compressed variable cannot be read"),
    "half a stream": (HEADER + packed(variable())[:-6], "cut off"),
    "bomb": (HEADER + packed(bytes(2**27)), "far more memory than the file"),
    "many bombs": (HEADER + packed(element(14, bytes(2**22))) * 20, "no flags|far more memory"),
}


@pytest.mark.parametrize("name", BAD)
def test_files_that_promise_too_much(tmp_path, name):
    content, message = BAD[name]
    path = tmp_path / "a.mat"
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=message):
            read_mat(path, ("x",))
        assert tracemalloc.get_traced_memory()[1] < 2**26
    finally:
        tracemalloc.stop()


@settings(max_examples=200)
@given(place=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255), compressed=st.booleans())
def test_damage_is_an_error_or_harmless(tmp_path_factory, place, byte, compressed):
    path = tmp_path_factory.getbasetemp() / "damaged.mat"
    savemat(path, {"x": np.ones((3, 13)), "action": "squat"}, do_compression=compressed)
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] = byte
    path.write_bytes(content)
    try:
        found = read_mat(path, ("x", "action"))
    except ValueError:
        return
    assert sum(value.nbytes for value in found.values() if isinstance(value, np.ndarray)) < 1000
