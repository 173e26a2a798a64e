"""The readers of files from strangers: how each is called, and how a file for it is made of a content."""

import io
import json
import os
import pickle
import time
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from fuzz import mutations, seeds

from fastpose.data import ClipSampler, PackedClips
from fastpose.data.pack import packed_file
from fastpose.data.pack.layout import Layout
from fastpose.data.sources.clip_files import read_clips
from fastpose.data.sources.found_files import Problem, ReadOptions
from fastpose.settings.files import from_file
from fastpose.settings.keypoints import KeypointOptions

MOST_SECONDS = 10.0
FREE_MEMORY = 512 * 2**20  # bytes that reading may take beyond four times the file
LONGEST_FILE = 2**18
LONGEST_REFUSAL = 4000  # characters
FOUND = Path(__file__).parent / "found"  # files that once broke a reader, by target
_MEMORY = Path("/dev/shm")


class FindingError(AssertionError):
    """A reader took too long or too much memory, or says too much."""


@dataclass(frozen=True)
class Target:
    """A reader, and what files for it are made of.

    Attributes:
        suffix: of its files.
        read: reads one; returns why parts of it are refused. A ValueError or OSError refuses all of it.
        contents: small ones of every form.
        encode: makes a file's bytes; anything that it raises means that there is no file of this content.
        mend: puts checksums right, as a hostile file has them.
    """

    suffix: str
    read: Callable[[Path], list[str]]
    contents: Callable[[], list[Any]]
    encode: Callable[[Random, Any], bytes]
    mend: Callable[[bytes], bytes] = bytes


def corpus(name: str) -> list[bytes]:
    """Return the files to begin from: those written of the contents, and those once found."""
    target, random = TARGETS[name], Random(0)
    written = [target.encode(random, content) for content in _contents(name)]
    return written + [path.read_bytes() for path in sorted((FOUND / name).glob("*"))]


@cache
def _contents(name: str) -> list[Any]:
    return TARGETS[name].contents()


def mutated(name: str, random: Random, data: bytes, files: list[bytes]) -> bytes:
    """Return a file made of a changed content, or ``data`` with changed bytes, or both."""
    target = TARGETS[name]
    if of_content := random.random() < 0.5:
        try:
            data = target.encode(random, mutations.changed(random, random.choice(_contents(name))))
        except Exception:  # as many kinds as there are writers
            of_content = False
    if not of_content or random.random() < 0.2:
        data = mutations.changed_bytes(random, data, files)
        if random.random() < 0.75:
            data = target.mend(data)
    return data[:LONGEST_FILE]


def check(name: str, data: bytes) -> bool:
    """Read a file of ``data``; return whether the reader took all of it.

    Raises:
        FindingError: it took too long or too much memory, or refuses the file in more than a few sentences.
        Exception: whatever but ValueError and OSError escapes from the reader.
    """
    target = TARGETS[name]
    path = Path(_folder().name) / f"clip{target.suffix}"
    path.write_bytes(data)
    before, started = _begin_peak(), time.process_time()
    try:
        refusals = target.read(path)
    except (ValueError, OSError) as error:
        refusals = [str(error)]
    seconds = time.process_time() - started
    kilobytes = _resident("VmHWM") - before
    if seconds > MOST_SECONDS:
        raise FindingError(f"{seconds:.1f} s")
    if 1024 * kilobytes > 4 * len(data) + FREE_MEMORY:
        raise FindingError(f"{kilobytes / 1024:.0f} MiB for {len(data)} bytes")
    if any(not 0 < len(text) <= LONGEST_REFUSAL for text in refusals):
        raise FindingError(f"refused in {max(map(len, refusals))} characters: {max(refusals, key=len)[:500]}")
    return not refusals


def _begin_peak() -> int:
    """Let the system count the peak of memory anew; return the kilobytes that there are now."""
    Path("/proc/self/clear_refs").write_text("5")
    return _resident("VmRSS")


def _resident(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


@cache
def _folder() -> "TemporaryDirectory[str]":
    in_memory = _MEMORY if os.access(_MEMORY, os.W_OK) else None
    return TemporaryDirectory(prefix="fastpose-fuzz-", dir=in_memory)


_OPTIONS = ReadOptions(image_size=(480, 640), threads=1)
_IN_METRES = replace(_OPTIONS, keypoints=KeypointOptions(project="kinect_v2", distance=4.0))


def _read_clips(path: Path) -> list[str]:
    refusals = _refusals(path, _OPTIONS)
    return _refusals(path, _IN_METRES) if any("--project" in text for text in refusals) else refusals


def _refusals(path: Path, options: ReadOptions) -> list[str]:
    return [str(item) for item in read_clips([path], options) if isinstance(item, Problem)]


def _read_pack(path: Path) -> list[str]:
    packed = PackedClips.load(path)
    if max(packed.max_persons, packed.layout.num_joints) < 1000:
        sampler = ClipSampler(packed, clip_len=4, size=(16, 16), max_persons=2)
        sampler.batch(range(min(8, len(packed))), alpha=1.0)
    return []


def _read_layout(path: Path) -> list[str]:
    Layout.from_file(path)
    return []


def _read_settings(path: Path) -> list[str]:
    from_file(path)
    return []


def _json(random: Random, content: Any) -> bytes:
    return json.dumps(content, ensure_ascii=random.random() < 0.5).encode("utf-8", "surrogatepass")


def _pickle(random: Random, content: Any) -> bytes:
    return pickle.dumps(content, random.randrange(6))


def _npz(random: Random, content: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    save = np.savez_compressed if random.random() < 0.2 else np.savez
    save(file, allow_pickle=True, **content)
    return file.getvalue()


def _arrays_and_texts(packed: PackedClips) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return what a pack's file holds, its texts of JSON as what they say."""
    path = Path(_folder().name) / "seed.safetensors"
    packed.save(path)
    arrays, texts = packed_file.read(path)
    copies = {name: array.copy() for name, array in arrays.items()}
    return copies, {name: _parsed(text) for name, text in texts.items()}


def _parsed(text: str) -> Any:
    try:
        content = json.loads(text)
    except ValueError:
        return text
    return content if isinstance(content, dict | list) else text


def _pack(random: Random, content: dict[str, dict[str, Any]]) -> bytes:
    from safetensors.numpy import save

    arrays = {
        name: np.ascontiguousarray(value, None if isinstance(value, np.ndarray) else np.int64)
        for name, value in content["arrays"].items()
    }
    texts = {
        name: text if isinstance(text, str) else json.dumps(text) for name, text in content["texts"].items()
    }
    return _mend_pack(save(arrays, texts))


def _mend_pack(data: bytes) -> bytes:
    """Put the checksum of a header right, if it has one."""
    end = 8 + int.from_bytes(data[:8], "little")
    mark = b'"header_checksum":"'
    start = data.rfind(mark, 8, end) + len(mark)
    if start < len(mark) or start + 8 > min(end, len(data)):
        return data
    summed = zlib.crc32(data[:start] + b"0" * 8 + data[start + 8 : end])
    return data[:start] + f"{summed:08x}".encode() + data[start + 8 :]


def _mend_zip(data: bytes) -> bytes:
    """Put the checksums of a zip archive's members right where they are not compressed."""
    mended, entry = bytearray(data), data.find(b"PK\x01\x02")
    while entry >= 0 and entry + 46 <= len(data):
        at = int.from_bytes(data[entry + 42 : entry + 46], "little")
        if data[at : at + 4] == b"PK\x03\x04" and data[entry + 10 : entry + 12] == bytes(
            [zipfile.ZIP_STORED, 0]
        ):
            lengths = (int.from_bytes(data[at + i : at + i + 2], "little") for i in (26, 28))
            start = at + 30 + sum(lengths)
            size = int.from_bytes(data[entry + 20 : entry + 24], "little")
            summed = zlib.crc32(data[start : start + size]).to_bytes(4, "little")
            mended[entry + 16 : entry + 20] = mended[at + 14 : at + 18] = summed
        entry = data.find(b"PK\x01\x02", entry + 4)
    return bytes(mended)


TARGETS = {
    "pickle": Target(".pkl", _read_clips, seeds.pickle_contents, _pickle),
    "npz": Target(".npz", _read_clips, seeds.npz_contents, _npz, _mend_zip),
    "json": Target(".json", _read_clips, seeds.json_contents, _json),
    "pack": Target(
        ".safetensors", _read_pack, lambda: seeds.pack_contents(_arrays_and_texts), _pack, _mend_pack
    ),
    "layout": Target(".json", _read_layout, seeds.layout_contents, _json),
    "settings": Target(".json", _read_settings, seeds.settings_contents, _json),
}
