"""The built-in synthetic data set, made once and kept in the user's cache."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm

from fastpose.data.ntu import pack_ntu
from fastpose.data.packed import PackedClips
from fastpose.data.synthetic import make_synthetic_ntu

# Part of the cached file's name: a changed generator needs another one.
GENERATOR_VERSION = 1


def cache_folder() -> Path:
    """$FASTPOSE_CACHE, or fastpose in the user's cache folder."""
    if folder := os.environ.get("FASTPOSE_CACHE"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fastpose"


def load_synthetic(seed: int = 0, progress: Callable[[int, int], None] | None = None) -> PackedClips:
    """Return the built-in set; at first use it is written as `.skeleton` files, decoded and packed.

    The `.skeleton` files are removed again; the packed file stays in `cache_folder()`.
    """
    path = cache_folder() / f"synthetic-v{GENERATOR_VERSION}-seed{seed}.safetensors"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix="synthetic-") as folder:
            files = make_synthetic_ntu(Path(folder) / "skeletons", seed=seed, progress=progress)
            pack_ntu(files).save(path)
    return PackedClips.load(path)


def open_clips(data: str) -> PackedClips:
    """Return the packed file named ``data``, or the built-in set for "synthetic", showing its progress."""
    if data != "synthetic":
        return PackedClips.load(data)
    with tqdm(desc="making the built-in synthetic data set", unit="clip", disable=None) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        return load_synthetic(progress=show)
