"""What the C++ core includes: folders in one order."""

import re
from pathlib import Path

import pytest

CSRC = Path(__file__).parents[2] / "csrc"
# Each folder may include what stands before it; those of one line know nothing of each other.
FOLDERS = [
    {"base"},
    {"decode", "sample", "denoise", "heatmap", "attention"},
    {"stem"},
    {"norm_depthwise", "row_conv"},
    {"int8_conv"},
    {"bindings"},
]
RANKS = {folder: rank for rank, folders in enumerate(FOLDERS) for folder in folders}
SOURCES = sorted(CSRC.rglob("*.?pp"))


def test_every_file_lies_in_a_folder():
    assert {path.relative_to(CSRC).parts[0] for path in SOURCES} == set(RANKS)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(CSRC)))
def test_includes_follow_the_order(path):
    folder = path.relative_to(CSRC).parts[0]
    for included in re.findall(r'#include "(.+)"', path.read_text()):
        assert (CSRC / included).is_file(), f"{included} is no path from csrc/"
        other = included.split("/")[0]
        assert other == folder or RANKS[other] < RANKS[folder], f"{folder}/ must not include {included}"
