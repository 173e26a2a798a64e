"""Decoding, packing and sampling: the compiled extension, or plain references where it cannot be loaded."""

import os
from types import SimpleNamespace
from typing import TYPE_CHECKING

from fastpose._native import native
from fastpose.data.denoising.smoothing import smooth_tracks
from fastpose.data.sampling.noise import total_differences
from fastpose.data.sampling.reference import ReferenceSampler
from fastpose.data.sources.bodies_reference import pack_skeletons, select_bodies
from fastpose.data.sources.pickle_reference import scan_pickle
from fastpose.data.sources.skeleton_reference import parse_skeleton


def hardware_threads() -> int:
    """Return how many threads this process may run at once."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# The same names and arguments as the extension's.
REFERENCES = SimpleNamespace(
    PackedSampler=ReferenceSampler,
    hardware_threads=hardware_threads,
    pack_skeletons=pack_skeletons,
    parse_skeleton=parse_skeleton,
    scan_pickle=scan_pickle,
    select_bodies=select_bodies,
    smooth_tracks=smooth_tracks,
    total_differences=total_differences,
)

if TYPE_CHECKING:
    core = native
else:
    core = REFERENCES if native is None else native
