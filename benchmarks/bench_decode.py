"""Reading `.skeleton` files, all twelve numbers of every joint: fastpose, parsers in Python, and the bare bytes.

The peer takes word by word through ``float``; the strong one reads a file's numbers by one call of NumPy.
"""

import numpy as np
import peers_decode
import pytest
from measuring import measure

from fastpose._native import native
from fastpose.data import read_skeleton

NUM_FILES = 40
NUM_FRAMES = 80
TWO_BODIES = 0.25  # of the files, about as in NTU RGB+D
PARSERS = {
    "peer": (peers_decode.decode_with_python, "str.split and float"),
    "strong": (peers_decode.decode_with_numpy, "np.fromstring"),
}
SECTION = f"decode {NUM_FILES} .skeleton files"


def skeleton_text(rng: np.random.Generator, num_bodies: int) -> str:
    """A file as the sensor's software writes it: CRLF, seven significant digits."""
    numbers = rng.normal(size=(NUM_FRAMES, num_bodies, 25, 12)) * 0.6
    numbers[..., 2] += 3
    numbers[..., 3:7] = rng.uniform((100, 100, 400, 200), (400, 400, 1500, 900), (*numbers.shape[:3], 4))
    tracking = rng.choice(3, numbers.shape[:3], p=[0.01, 0.14, 0.85])
    lines = [str(NUM_FRAMES)]
    for frame in range(NUM_FRAMES):
        lines.append(str(num_bodies))
        for body in range(num_bodies):
            lines += [f"{72057594037931101 + 64 * body} 0 1 1 1 1 0 -0.1159187 0.1413209 2", "25"]
            for joint, state in zip(numbers[frame, body].tolist(), tracking[frame, body], strict=True):
                lines.append(" ".join([f"{field:.7G}" for field in joint[:11]] + [str(state)]))
    return "\r\n".join(lines) + "\r\n"


@pytest.fixture(scope="module")
def paths(tmp_path_factory) -> list[str]:
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("skeletons")
    paths = [folder / f"S001C001P001R001A{i + 1:03d}.skeleton" for i in range(NUM_FILES)]
    for i, path in enumerate(paths):
        path.write_text(skeleton_text(rng, 2 if i < TWO_BODIES * NUM_FILES else 1), newline="")
    return [str(path) for path in paths]


def run(benchmark, paths, decode, row: str, **info) -> None:
    size = sum(map(file_size, paths))
    measure(benchmark, decode, SECTION, row=row, clips=len(paths), bytes=size, seconds=0.5, **info)


def file_size(path: str) -> int:
    with open(path, "rb") as file:
        return file.seek(0, 2)


def read_bytes(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def test_read_skeleton(benchmark, paths):
    run(benchmark, paths, lambda: [read_skeleton(path) for path in paths], "read_skeleton, one core")


@pytest.mark.parametrize("threads", [1, 2])
def test_pack_skeletons(benchmark, paths, threads):
    assert native.pack_skeletons(paths, 2, threads)["errors"] == [""] * NUM_FILES
    row = f"with the choice of bodies T{threads}"
    run(benchmark, paths, lambda: native.pack_skeletons(paths, 2, threads), row, threads=None)


@pytest.mark.parametrize("name", PARSERS)
def test_parser_in_python(benchmark, paths, name):
    """All rows must give the same arrays, so these check theirs."""
    decode, row = PARSERS[name]
    for path in paths[:1] + paths[-1:]:
        peer = list(decode(path).values())
        bodies = read_skeleton(path).bodies
        assert len(peer) == len(bodies)
        for (frames, joints), body in zip(peer, bodies, strict=True):
            assert np.array_equal(frames, body.frames)
            assert np.array_equal(joints, body.joints)
    run(benchmark, paths, lambda: [decode(path) for path in paths], row, who=name)


def test_plain_read(benchmark, paths):
    row = "open, read, close"
    run(benchmark, paths, lambda: [read_bytes(path) for path in paths], row, role="floor", threads=None)
