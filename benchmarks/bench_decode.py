"""Reading `.skeleton` files, all twelve numbers of every joint: fastpose, a Python parser, and the bare bytes."""

import numpy as np
import peers_decode
import pytest

from fastpose._native import native
from fastpose.data import read_skeleton

NUM_FILES = 40
NUM_FRAMES = 80
TWO_BODIES = 0.25  # of the files, about as in NTU RGB+D

pytestmark = pytest.mark.benchmark(group=f"decode {NUM_FILES} .skeleton files")


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
            lines += [f"{72057594037931101 + body} 0 1 1 1 1 0 -0.1159187 0.1413209 2", "25"]
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


def measure(benchmark, paths, decode_all, rounds: int = 15, **info) -> None:
    benchmark.extra_info.update(clips=len(paths), bytes=sum(map(file_size, paths)), **info)
    benchmark.pedantic(decode_all, rounds=rounds, warmup_rounds=1)


def file_size(path: str) -> int:
    with open(path, "rb") as file:
        return file.seek(0, 2)


def read_bytes(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def test_python_parser(benchmark, paths):
    """Every later row must give the same arrays, so this one checks them first."""
    for path in paths[:1] + paths[-1:]:
        peer = peers_decode.decode_with_python(path)
        bodies = read_skeleton(path).bodies
        assert peer.keys() == {body.body_id for body in bodies}
        for body in bodies:
            frames, joints = peer[body.body_id]
            assert np.array_equal(frames, body.frames)
            assert np.array_equal(joints, body.joints)
    measure(
        benchmark,
        paths,
        lambda: [peers_decode.decode_with_python(path) for path in paths],
        rounds=3,
        role="peer",
        note="str.split and float, one process",
    )


def test_plain_read(benchmark, paths):
    measure(
        benchmark, paths, lambda: [read_bytes(path) for path in paths], role="floor", note="open, read, close"
    )


def test_read_skeleton(benchmark, paths):
    measure(benchmark, paths, lambda: [read_skeleton(path) for path in paths], note="one core, from Python")


@pytest.mark.parametrize("threads", [1, 2])
def test_pack_skeletons(benchmark, paths, threads):
    assert native.pack_skeletons(paths, 2, threads)["errors"] == [""] * NUM_FILES
    measure(
        benchmark,
        paths,
        lambda: native.pack_skeletons(paths, 2, threads),
        note=f"threads={threads}, with the choice of bodies",
    )
