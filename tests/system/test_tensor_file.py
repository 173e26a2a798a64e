"""Checksums of safetensors files: what is damaged is found, wherever it is."""

import errno

import numpy as np
import pytest
import safetensors
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file, save, save_file

from fastpose.system.tensor_file import (
    CHECKSUMS,
    DamagedFileError,
    check_arrays,
    check_header,
    checksum,
    checksum_texts,
    sealed_bytes,
    writing_tensors,
)

ARRAYS = {"b": np.arange(5), "a": np.ones((2, 3), np.float32), "none": np.zeros((0, 4), np.float32)}
TEXTS = {"source": 'a "quoted" name, Ö', "about": '"header_checksum":"ffffffff"', "z": "1"}


def write(path, arrays=ARRAYS, texts=TEXTS):
    with writing_tensors(path) as partial:
        save_file(arrays, partial, metadata={**texts, **checksum_texts(arrays)})
    return path


def verify(path):
    check_header(path)
    with safe_open(path, framework="numpy") as file:
        texts = file.metadata()
    return check_arrays(texts, load_file(path), path)


def test_equal_content_is_equal_bytes_and_whole(tmp_path):
    contents = {write(tmp_path / f"{i}").read_bytes() for i in range(4)}
    assert len(contents) == 1
    assert verify(tmp_path / "0")
    assert sealed_bytes(save(ARRAYS, metadata={**TEXTS, **checksum_texts(ARRAYS)})) in contents


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return write(tmp_path_factory.mktemp("tensors") / "whole").read_bytes()


@given(place=st.floats(0, 1, exclude_max=True), bits=st.integers(1, 255))
def test_no_wrong_byte_is_missed(tmp_path_factory, whole, place, bits):
    content = bytearray(whole)
    content[int(place * len(whole))] ^= bits
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(content)
    with pytest.raises((DamagedFileError, safetensors.SafetensorError)):
        verify(path)


def test_what_is_damaged_is_named(whole, tmp_path):
    path = tmp_path / "damaged"
    path.write_bytes(whole[:-1] + b"\1")
    with pytest.raises(DamagedFileError, match=r"damaged: damaged file: the contents of . are not those"):
        verify(path)
    path.write_bytes(whole.replace(b'"z":"1"', b'"z":"2"'))
    with pytest.raises(
        DamagedFileError, match=r"the checksum of its header is [0-9a-f]{8}, expected '[0-9a-f]{8}'"
    ):
        verify(path)
    path.write_bytes(whole.replace(b'"header_checksum":', b'"header_checksux":'))
    with pytest.raises(DamagedFileError, match="its header has lost its checksum"):
        verify(path)


def test_files_from_before_have_none(tmp_path):
    save_file(ARRAYS, tmp_path / "old", metadata={"source": "x"})
    assert not verify(tmp_path / "old")


def test_arrays_that_are_missing_or_strange(tmp_path):
    texts = checksum_texts(ARRAYS)
    for arrays, message in (
        ({"b": ARRAYS["b"]}, "a, none are missing"),
        ({**ARRAYS, "c": np.ones(1)}, "the contents of c"),
    ):
        with pytest.raises(DamagedFileError, match=message):
            check_arrays(texts, arrays, "file")
    for text in ("[]", "{", '{"a": 1, "a": 2}'):
        with pytest.raises(DamagedFileError, match="file: damaged file: its checksums"):
            check_arrays({CHECKSUMS: text}, ARRAYS, "file")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64, torch.int64, torch.bool])
@pytest.mark.parametrize("shape", [(), (0,), (3, 5)])
def test_tensors_have_the_checksum_of_their_bytes(dtype, shape):
    tensor = torch.ones(shape).to(dtype)
    numbers = tensor.reshape(-1).view(torch.uint8).numpy()
    assert checksum(tensor) == checksum(numbers)
    assert checksum(numbers) == checksum(np.frombuffer(numbers.tobytes(), np.uint8))


def test_a_full_disk_is_an_error_with_the_file(tmp_path):
    (tmp_path / "target").write_text("before")
    for reason, code in (("No space left on device", errno.ENOSPC), ("broken", errno.EIO)):
        with (
            pytest.raises(OSError, match=f"{reason}.*target") as caught,
            writing_tensors(tmp_path / "target"),
        ):
            raise safetensors.SafetensorError(reason)
        assert caught.value.errno == code
    assert (tmp_path / "target").read_text() == "before"
    assert [file.name for file in tmp_path.iterdir()] == ["target"]
