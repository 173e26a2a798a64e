"""Writes files for libFuzzer to begin from: python tests/fuzz/native_corpus.py {skeleton,pickle,sampler} FOLDER."""

import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import numpy as np
from fuzz.targets import corpus
from support.packing import skeleton_text


def skeletons() -> Iterator[bytes]:
    """Files of one to three frames, their numbers short so that many are parsed in a second."""
    yield from (b"0\n", b"2\n0\n0\n")
    for frames, state in ((1, 2), (2, 0), (3, 1)):
        text = skeleton_text(np.zeros((frames, 25, 2), np.int64), state=state)
        yield text.encode()
        yield text.replace("\n", "\r\n").replace("0.1 0.2", "nan -1.5e3").encode()
    frame = skeleton_text(np.zeros((1, 25, 2), np.int64)).split("\n", 2)[2]
    yield f"2\n2\n{frame}{frame.replace('7', '8', 1)}1\n{frame}".encode()


def samples() -> Iterator[bytes]:
    """Choices of each family of noise, and two clips of five frames, as fuzz_sampler.cpp takes them."""
    random = Random(1)
    for family in range(13):
        yield bytes([family % 3, family // 2 % 3, family // 3 % 3, family % 2, 0, 0, 1, 1, 2]) + b"".join(
            (
                struct.pack("<IBB", family, 1 + family % 2, family),
                bytes([1]),
                *(struct.pack("<BBIIQd", 1, 4, 1079, 1919, 99 + clip, 300) for clip in range(2)),
                *(
                    struct.pack("<3f", random.random(), random.uniform(0, 1900), random.uniform(0, 1000))
                    for _ in range(2 * 2 * 5 * 6)
                ),
            )
        )


if __name__ == "__main__":
    kind, folder = sys.argv[1:]
    files = {"skeleton": skeletons, "pickle": lambda: corpus("pickle"), "sampler": samples}[kind]()
    for number, data in enumerate(files):
        (Path(folder) / f"seed{number}").write_bytes(data)
