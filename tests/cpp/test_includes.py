"""What the C++ core includes: rooms in one order."""

import re
from pathlib import Path

import pytest

CSRC = Path(__file__).parents[2] / "csrc"
# Each room may include what stands before it; those of one line know nothing of each other.
ROOMS = [
    {"base"},
    {"decode", "sample", "heatmap", "attention"},
    {"stem"},
    {"norm_depthwise"},
    {"bindings"},
]
RANKS = {room: rank for rank, rooms in enumerate(ROOMS) for room in rooms}
SOURCES = sorted(CSRC.rglob("*.?pp"))


def test_every_file_lies_in_a_room():
    assert {path.relative_to(CSRC).parts[0] for path in SOURCES} == set(RANKS)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(CSRC)))
def test_includes_follow_the_rooms(path):
    room = path.relative_to(CSRC).parts[0]
    for included in re.findall(r'#include "(.+)"', path.read_text()):
        assert (CSRC / included).is_file(), f"{included} is no path from csrc/"
        other = included.split("/")[0]
        assert other == room or RANKS[other] < RANKS[room], f"{room}/ must not include {included}"
