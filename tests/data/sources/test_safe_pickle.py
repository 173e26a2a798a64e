"""Pickles that ask for more memory or time than their size needs, and the scan that refuses them."""

import pickle
import pickletools
import struct
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastpose._native import native
from fastpose.data.core import REFERENCES
from fastpose.data.sources.safe_pickle import load_pickle, plain

PROTOCOLS = st.integers(0, pickle.HIGHEST_PROTOCOL)


def scan(data: bytes) -> str:
    found = REFERENCES.scan_pickle(data)
    if native is not None:
        assert native.scan_pickle(data) == found
    return found


def load(tmp_path, data: bytes) -> Any:
    path = tmp_path / "clips.pkl"
    path.write_bytes(data)
    return load_pickle(path)


def nested(leaves, keys):
    return st.recursive(
        leaves,
        lambda inner: (
            st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(keys, inner) | st.sets(keys)
        ),
        max_leaves=30,
    )


KEYS = (
    st.text()
    | st.integers()
    | st.binary()
    | st.tuples(st.integers(), st.text())
    | st.frozensets(st.booleans())
)
LEAVES = KEYS | st.floats() | st.none() | st.booleans() | st.integers(-(2**80), 2**80)
VALUES = nested(LEAVES, KEYS) | st.builds(np.ones, st.lists(st.integers(0, 4), max_size=3))


@given(value=VALUES, protocol=PROTOCOLS, optimized=st.booleans())
def test_what_picklers_write_is_fine(value, protocol, optimized):
    data = pickle.dumps([value, value, bytearray(b"x")], protocol)
    assert scan(pickletools.optimize(data) if optimized else data) == ""
    assert scan(data + b"anything") == ""  # what follows is not read


@given(
    value=VALUES,
    protocol=PROTOCOLS,
    cut=st.floats(0, 1),
    changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=4),
    opcodes=st.lists(st.sampled_from([ord(opcode.code) for opcode in pickletools.opcodes]), max_size=12),
)
def test_the_scanner_is_that_of_the_reference(value, protocol, cut, changes, opcodes):
    data = pickle.dumps([value, value], protocol)
    if changes:
        damaged = bytearray(data)
        for place, byte in changes:
            damaged[int(place * (len(data) - 1))] = byte
        scan(bytes(damaged))
    length = int(cut * len(data))
    assert (scan(data[:length]) == "") == (length == len(data))
    scan(data[:length] + bytes(opcodes) + data[length:])


@given(
    st.lists(
        st.sampled_from(b"N)](012tlde\x85\x86\x87asu\x90\x91\x94qhpg01\n.").map(lambda code: bytes([code]))
    )
)
def test_the_stack_is_that_of_the_reference(opcodes):
    scan(b"".join(opcodes))


def doubled(times: int) -> bytes:
    """The opcodes of a tuple of two tuples of two tuples …, all shared."""
    return b")" + b"2\x86" * times


CUT = "it is cut off, or has a length beyond its end"
BAD = {
    "unknown": (b"\x80\x02N\xff.", "byte 3: 0xff is no opcode of a pickle"),
    "empty": (b"", "byte 0: it ends here, without the opcode STOP"),
    "no stop": (b"\x80\x04N", "byte 3: it ends here, without the opcode STOP"),
    "no protocol": (b"\x80", f"byte 0: {CUT}"),
    "text": (b"\x80\x04X\xff\xff\xff\xffabc.", f"byte 2: {CUT}"),
    "bytes8": (b"\x80\x04N\x8e" + struct.pack("<Q", 2**63) + b".", f"byte 3: {CUT}"),
    "bytearray8": (b"\x96" + struct.pack("<Q", 2**64 - 1) + b".", f"byte 0: {CUT}"),
    "negative length": (b"T\xff\xff\xff\xff.", f"byte 0: {CUT}"),
    "frame": (b"\x80\x04\x95" + struct.pack("<Q", 3) + b"N.", f"byte 2: {CUT}"),
    "line": (b"I12", f"byte 0: {CUT}"),
    "second line": (b"cnumpy\nndarray", f"byte 0: {CUT}"),
    "long4": (b"\x8b\x01\x04\0\0" + bytes(1025) + b".", "byte 0: a number of more than 1024 bytes"),
    "digits": (b"L" + b"1" * 1025 + b"\n.", "byte 0: a number of more than 1024 bytes"),
    "memo": (b"\x80\x02Nr\xff\xff\xff\x0f.", "byte 3: its memo index is no whole number from 0 to 3"),
    "memo of text": (b"Np999999999\n.", "byte 1: its memo index is no whole number from 0 to 1"),
    "memo of many digits": (b"Np" + b"0" * 19 + b"\n.", "byte 1: its memo index is no whole number from 0 to 1"),
    "memo of no digits": (b"N" * 20 + b"p1_0\n.", "byte 20: its memo index is no whole number from 0 to 20"),
    "get of no digits": (b"Ng+0\n.", "byte 1: its memo index is no whole number from 0 to 1"),
    "empty stack": (b".", "byte 0: it takes a value that is not there"),
    "behind a mark": (b"N(\x85.", "byte 2: it takes a value that is not there"),
    "no mark": (b"Nt.", "byte 1: it takes a value that is not there"),
    "nothing to append to": (b"(e.", "byte 1: it takes a value that is not there"),
    "key": (b"}" + doubled(8) + b"Ns.", "byte 19: a key of a dict or an item of a set is a tuple of more than 253"),
    "deep key": (b"})" + b"\x85" * 300 + b"Ns.", "byte 303: a key of a dict or an item"),
    "remembered key": (b"(" + doubled(8) + b"q\x00g0\nNd.", "byte 24: a key"),
    "unchanged key": (b"(" + doubled(8) + b"Nb(e(u(\x90Nd.", "byte 27: a key"),
    "many keys": (b"}(" + b"".join(b"J" + struct.pack("<i", i) + b"N" for i in range(10_001)) + b"u.",
                  "byte 60008: more than 10000 keys of dicts and items of sets that are no text"),
    "large memo": (b"B" + struct.pack("<I", 20_000_000) + bytes(20_000_000) + b"r\x00\x00\x20\x01.",
                   "byte 20000005: what it builds takes far more memory than the file has bytes"),
    "items": (b"\x8f(" + doubled(8) + b"\x90.", "byte 19: a key"),
    "frozen items": (b"(N" + doubled(8) + b"\x91.", "byte 19: a key"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_opcodes_are_told_with_their_place(name, tmp_path):
    data, message = BAD[name]
    assert scan(data).startswith(message)
    with pytest.raises(ValueError, match=r"clips\.pkl: (refused or damaged pickle: byte|an empty file, not)"):
        load(tmp_path, data)


@pytest.mark.skipif(native is None, reason="the reference takes seconds")
@pytest.mark.parametrize("opcode", [b"]", b"}", b"\x8f", b"(", b")\x85", b"N\x940"])
def test_a_few_bytes_for_each_value_are_not_enough(opcode):
    many = 36_000_000 // len(opcode)
    assert scan_natively(b"(" + opcode * 1000 + b"l.") == ""
    assert "takes far more memory than the file has bytes" in scan_natively(b"(" + opcode * many + b"l.")


def scan_natively(data: bytes) -> str:
    assert native is not None
    return native.scan_pickle(data)


@pytest.mark.parametrize(
    "data",
    [
        b"N" * 300 + b"r\x2c\x01\0\0.",  # index 300, the 301st byte
        b"}" + doubled(6) + b"Ns.",
        b"})" + b"\x85" * 253 + b"Ns.",
        b"](" + doubled(60) + b"e.",  # a value may be of any size
        b"\x8b\x00\x04\0\0" + bytes(1024) + b".",
    ],
)
def test_the_limits_themselves_are_allowed(data):
    assert scan(data) == ""


ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntp1\n0p0\n0"
DTYPE = b"cnumpy\ndtype\n(S'i2'\nI0\nI1\ntR(I3\nS'>'\nNNNI-1\nI-1\nI0\ntb"


def text(value: bytes) -> bytes:
    return b"T" + struct.pack("<I", len(value)) + value


def test_an_array_of_shared_bytes_is_not_copied_again_and_again(tmp_path):
    state = b"(I1\n(I50000\nt" + DTYPE + b"I0\n" + text(bytes(100_000)) + b"tp2\n0"
    once = ARRAY + state + b"(" + b"g0\ng1\nRg2\nb" + b"l."
    (array,) = load(tmp_path, once)
    assert plain(array).shape == (50000,)
    with pytest.raises(ValueError, match="would hold more than the file does"):
        load(tmp_path, once.replace(b"g0\ng1\nRg2\nb", b"g0\ng1\nRg2\nb" * 10))


@pytest.mark.parametrize(
    "function", [b"c__builtin__\nset\n", b"cbuiltins\nfrozenset\n", b"ccollections\nOrderedDict\n"]
)
def test_sets_of_a_shared_list_are_not_built_again_and_again(tmp_path, function):
    pair = b"(I0\nI1\ntp3\n0"
    data = function + b"p0\n0" + pair + b"(" + b"g3\n" * 5000 + b"lp1\n\x85p2\n0("
    assert len(load(tmp_path, data + b"g0\ng2\nR" * 3 + b"l.")) == 3
    with pytest.raises(ValueError, match="would hold more than the file does"):
        load(tmp_path, data + b"g0\ng2\nR" * 50 + b"l.")


@pytest.mark.parametrize(
    "items", [b"(" + doubled(60) + b"l", b"(" + doubled(60) + b"N\x86l"], ids=["items", "pairs"]
)
@pytest.mark.parametrize("function", [b"c__builtin__\nset\n", b"ccollections\nOrderedDict\n"])
def test_sets_and_dicts_of_old_protocols_hash_no_tuples_of_tuples(tmp_path, function, items):
    with pytest.raises(ValueError, match="a key of a dict or an item of a set is a tuple of tuples"):
        load(tmp_path, function + items + b"\x85R.")


@given(
    value=st.lists(
        st.sets(KEYS)
        | st.frozensets(KEYS)
        | st.builds(OrderedDict, st.dictionaries(KEYS, LEAVES.filter(lambda x: x == x)))
    ),
    protocol=PROTOCOLS,
)
def test_sets_and_ordered_dicts_survive(tmp_path_factory, value, protocol):
    assert load(tmp_path_factory.mktemp("sets"), pickle.dumps(value, protocol)) == value


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_bytes_and_arrays_of_small_numbers_survive(tmp_path, protocol):
    """Of whose text and bytes the file holds a single copy."""
    value = [bytes(5000), np.zeros(5000, np.uint8), np.zeros(0), np.array([[None, "a"], [1, []]], object)]
    zeros, array, empty, objects = load(tmp_path, pickle.dumps(value, protocol))
    assert zeros == value[0]
    for found, expected in zip((array, empty, objects), value[1:], strict=True):
        np.testing.assert_array_equal(plain(found), expected)


def test_shared_lists_stay_shared(tmp_path):
    inner = [1.0, 2.0]
    for width in (13, 3000, 100_000):  # 7.8e9 numbers, were they expanded
        inner = [inner] * width
    array = np.empty(2, object)  # np.array would expand them
    array[0] = inner
    data = load(tmp_path, pickle.dumps([inner, array]))
    assert len(data[0]) == 100_000
    assert data[0][0] is data[0][99_999]
    objects = plain(data[1])
    assert objects.shape == (2,)
    assert objects[0] is data[0]


def crafted_array(shape: bytes, code: bytes = b"i1", data: bytes = b"") -> bytes:
    dtype = DTYPE.replace(b"i2", code).replace(b">", b"|")
    return ARRAY + b"g0\ng1\nR(I1\n(" + shape + b"t" + dtype + b"I0\n" + text(data) + b"tb."


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (crafted_array(b"I4294967296\nI4294967296\n"), "shape and contents disagree"),
        (crafted_array(b"I2\n", b"i1", b"abc"), "shape and contents disagree"),
        (crafted_array(b"I-1\n"), "no tuple of a few whole numbers"),
        (crafted_array(b"I1\n" * 65, b"i1", b"a"), "no tuple of a few whole numbers"),
        (crafted_array(b"I1000000000000\n", b"S0"), r"dtype 'S0' is not allowed"),
        (crafted_array(b"I1\n", b"x" * 100_000), r"dtype 'x{100}\.\.\.' is not allowed"),
        (b"cnumpy\ndtype\n(" + doubled(60) + b"I0\nI1\ntR.", "dtype a tuple is not allowed"),
        (b"c" + b"a" * 100_000 + b"\nb\n.", r"it asks for a{100}\.\.\.; only NumPy arrays"),
        (b"c_codecs\nencode\nN}S'__defaults__'\n)s\x86b.", "it changes a function"),
        (crafted_array(b"I1\n", b"i1", b"a")[:-1] + b"K\x00" + doubled(60) + b"s.", "set one by one"),
    ],
    ids=[
        "wrapping",
        "size",
        "negative",
        "dims",
        "no width",
        "dtype",
        "dtype of tuples",
        "global",
        "function",
        "item",
    ],
)
def test_crafted_values_are_refused_in_a_short_sentence(tmp_path, data, message):
    assert scan(data) == ""
    with pytest.raises(ValueError, match=message) as caught:
        load(tmp_path, data)
    assert len(str(caught.value)) < 600
    assert load(tmp_path, pickle.dumps([b"\xff"], 0)) == [b"\xff"]  # and nothing is broken for the next
