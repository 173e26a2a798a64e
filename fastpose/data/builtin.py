"""The built-in synthetic data set, made once and kept in the user's cache."""

import os
from pathlib import Path

from fastpose.data.ntu import pack_synthetic
from fastpose.data.packed import PackedClips

# Part of the cached file's name: a changed generator needs another one.
GENERATOR_VERSION = 2


def cache_folder() -> Path:
    """$FASTPOSE_CACHE, or fastpose in the user's cache folder."""
    if folder := os.environ.get("FASTPOSE_CACHE"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fastpose"


def load_synthetic(seed: int = 0) -> PackedClips:
    """Return the built-in set; at first use it is written as `.skeleton` files, decoded and packed.

    The `.skeleton` files are removed again; the packed file stays in `cache_folder()`.
    """
    path = cache_folder() / f"synthetic-v{GENERATOR_VERSION}-seed{seed}.safetensors"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        packed, _ = pack_synthetic(seed=seed, progress=True)
        packed.save(path)
    return PackedClips.load(path)


def open_clips(data: str) -> PackedClips:
    """Return the packed file named ``data``, or the built-in set for "synthetic"."""
    return load_synthetic() if data == "synthetic" else PackedClips.load(data)
