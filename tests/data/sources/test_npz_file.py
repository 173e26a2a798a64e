"""NumPy's files: what they promise is checked before memory is taken for it."""

import io
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from fastpose.data.sources.npz_file import read_arrays, read_npy


def npy(array, version=None) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array, version)
    return file.getvalue()


def header(shape, dtype="<f4", order="False") -> bytes:
    text = f"{{'descr': '{dtype}', 'fortran_order': {order}, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text


def archive(path, members, method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", method) as file:
        for name, content in members:
            file.writestr(f"{name}.npy", content)
    return path


@given(
    array=arrays_of.arrays(
        st.sampled_from(["<f4", ">f8", "i2", "?", "<U3"]),
        arrays_of.array_shapes(min_dims=0, min_side=0, max_side=4),
    ),
    version=st.sampled_from([None, (2, 0), (3, 0)]),
    fortran=st.booleans(),
    packed=st.booleans(),
)
def test_plain_arrays_are_read(tmp_path_factory, array, version, fortran, packed):
    array = np.asfortranarray(array) if fortran else array
    folder = tmp_path_factory.getbasetemp()
    (folder / "a.npy").write_bytes(npy(array, version))
    np.testing.assert_array_equal(read_npy(folder / "a.npy"), array)
    (np.savez_compressed if packed else np.savez)(folder / "a.npz", keypoints=array, other=np.ones(3))
    found, names = read_arrays(folder / "a.npz", ("keypoints", "scores"))
    assert names == ["keypoints", "other"]
    assert list(found) == ["keypoints"]
    np.testing.assert_array_equal(found["keypoints"], array)


PROMISES = {
    "huge": header((10**10,)) + bytes(40),
    "wrapping": header((2**32, 2**32)) + bytes(16),
    "negative": header((-1,)) + bytes(16),
    "wide text": header((1,), "<U500000000") + bytes(16),
    "short": header((5,)) + bytes(19),
    "long": header((5,)) + bytes(21),
    "objects": header((1,), "|O") + b"\x80\x04N.",
    "no header": b"not an array",
    "version": b"\x93NUMPY\7\0" + bytes(100),
    "endless header": b"\x93NUMPY\2\0" + struct.pack("<I", 2**32 - 1) + b"{",
    "code": header((1,)).replace(b"'<f4'", b"exit") + bytes(4),
    "empty": b"",
}


@pytest.mark.parametrize("name", PROMISES)
def test_promises_are_not_believed(tmp_path, name):
    (tmp_path / "a.npy").write_bytes(PROMISES[name])
    archive(tmp_path / "a.npz", [("keypoints", PROMISES[name])])
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"not a readable \.npy file"):
            read_npy(tmp_path / "a.npy")
        with pytest.raises(ValueError, match=r"not a readable \.npz file"):
            read_arrays(tmp_path / "a.npz", ("keypoints",))
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_bombs_do_not_go_off(tmp_path, method):
    path = archive(tmp_path / "bomb.npz", [("keypoints", header((2**26,)) + bytes(2**28))], method)
    assert path.stat().st_size < 2**20
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="far more than the file's|packed in another way"):
            read_arrays(path, ("keypoints",))
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()
    assert read_arrays(path, ("scores",)) == ({}, ["keypoints"])  # which is not unpacked


def test_arrays_that_are_mostly_padding_are_read(tmp_path):
    """As published arrays of 300 frames and two persons, of which most are zeros, saved by ``np.savez_compressed``."""
    keypoints = np.zeros((150, 300, 150), np.float64)
    keypoints[:, :40, :75] = np.random.default_rng(0).uniform(size=(150, 40, 75)).astype(np.float32)
    np.savez_compressed(tmp_path / "a.npz", keypoints=keypoints)
    assert keypoints.nbytes > 10 * (tmp_path / "a.npz").stat().st_size > 2**20
    found, _ = read_arrays(tmp_path / "a.npz", ("keypoints",))
    assert np.array_equal(found["keypoints"], keypoints)


def test_members_that_share_their_bytes(tmp_path):
    """Twenty entries of an archive's list that lead to the same compressed bytes."""
    content = npy(np.zeros(2**22, np.float32))  # 16 MB
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("x00.npy", content)
        first = file.infolist()[0]
        for i in range(1, 20):
            other = zipfile.ZipInfo(f"x{i:02}.npy")
            for field in ("compress_type", "CRC", "compress_size", "file_size", "header_offset"):
                setattr(other, field, getattr(first, field))
            file.filelist.append(other)
            file.NameToInfo[other.filename] = other
    with pytest.raises(ValueError, match=r"not a readable \.npz file"):
        read_arrays(tmp_path / "a.npz", [f"x{i:02}" for i in range(20)])


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_array_that_is_there_twice(tmp_path):
    path = archive(tmp_path / "a.npz", [("keypoints", npy(np.ones(3))), ("keypoints", npy(np.zeros(3)))])
    with pytest.raises(ValueError, match="it holds 'keypoints' twice"):
        read_arrays(path, ("keypoints",))


def test_a_list_of_members_that_is_longer_than_any(tmp_path):
    path = archive(tmp_path / "a.npz", [("keypoints", npy(np.ones(3)))])
    content = bytearray(path.read_bytes())
    content[-10:-6] = struct.pack("<I", 2**28)
    path.write_bytes(content)
    with pytest.raises(ValueError, match="list of members has 268,435,456 bytes"):
        read_arrays(path, ("keypoints",))


@settings(max_examples=200)
@given(place=st.floats(0, 1, exclude_max=True), bits=st.integers(1, 255), cut=st.booleans())
def test_damage_is_an_error_or_harmless(tmp_path_factory, place, bits, cut):
    file = io.BytesIO()
    np.savez_compressed(
        file, keypoints=np.arange(60, dtype=np.float32).reshape(2, 3, 5, 2), name=np.array("a")
    )
    content = bytearray(file.getvalue())
    at = int(place * len(content))
    content[at] ^= bits
    path = tmp_path_factory.getbasetemp() / "damaged.npz"
    path.write_bytes(content[:at] if cut else content)
    try:
        found, _ = read_arrays(path, ("keypoints", "name"))
    except ValueError as error:
        assert str(error).startswith("not a readable .npz file")  # noqa: PT017
    else:
        assert sum(array.nbytes for array in found.values()) <= 300


def test_what_zlib_refuses(tmp_path):
    path = archive(tmp_path / "a.npz", [("keypoints", npy(np.arange(100.0)))], zipfile.ZIP_DEFLATED)
    content = path.read_bytes()
    with zipfile.ZipFile(path) as file:
        start = 30 + len("keypoints.npy")
        size = file.infolist()[0].compress_size
    path.write_bytes(content[:start] + bytes([255]) * size + content[start + size :])
    with pytest.raises(ValueError, match=r"not a readable \.npz file"):
        read_arrays(path, ("keypoints",))
