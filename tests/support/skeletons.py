"""The native decoder of `.skeleton` files and its reference, each call to both: they must agree to the bit."""

import numpy as np

from fastpose._native import native
from fastpose.data import select_bodies as select_public
from fastpose.data.core import REFERENCES


def assert_same(one, other):
    """Equal values, and of arrays equal types and bits (-0 too)."""
    if isinstance(one, np.ndarray):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        assert one.tobytes() == other.tobytes()
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for mine, theirs in zip(one, other, strict=True):
            assert_same(mine, theirs)
    else:
        assert one == other


def parse_skeleton(text):
    got = native.parse_skeleton(text)
    assert_same(got, REFERENCES.parse_skeleton(text))
    return got


def select_bodies(skeleton, max_bodies=2):
    got = select_public(skeleton, max_bodies)
    tracks = [(body.frames, body.joints) for body in skeleton.bodies]
    assert_same(got, REFERENCES.select_bodies(tracks, skeleton.num_frames, max_bodies))
    return got


def pack_skeletons(paths, max_bodies, threads):
    got = native.pack_skeletons(paths, max_bodies, threads)
    expected = REFERENCES.pack_skeletons(paths, max_bodies, threads)
    assert got.keys() == expected.keys()
    for key, value in got.items():
        assert_same(value, expected[key])
    return got
