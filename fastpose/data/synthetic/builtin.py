"""The built-in synthetic data set, made once and kept in the user's cache."""

import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from fastpose.data.pack.packed import PackedClips
from fastpose.data.sources.ntu import pack_ntu
from fastpose.data.sources.pack_log import PackLog
from fastpose.data.synthetic.dataset import make_synthetic_ntu
from fastpose.system.files import check_output_folder

BUILT_IN = "synthetic"  # names the set where a packed file may be named
# Part of the cached file's name: a changed generator needs another one.
GENERATOR_VERSION = 3


def cache_folder() -> Path:
    """Return $FASTPOSE_CACHE, or fastpose in the user's cache folder."""
    if folder := os.environ.get("FASTPOSE_CACHE"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fastpose"


def load_synthetic(seed: int = 0) -> PackedClips:
    """Return the built-in set; at first use it is written as `.skeleton` files, decoded and packed.

    The `.skeleton` files are removed again; the packed file stays in `cache_folder()`.
    """
    path = cache_folder() / f"synthetic-v{GENERATOR_VERSION}-seed{seed}.safetensors"
    if not path.exists():
        check_output_folder(path.parent)
        path.parent.mkdir(parents=True, exist_ok=True)
        packed, _ = pack_synthetic(seed=seed, progress=True)
        packed.save(path)
    return PackedClips.load(path)


def pack_synthetic(
    folder: str | Path | None = None, *, seed: int = 0, progress: bool = False, **settings: Any
) -> tuple[PackedClips, PackLog]:
    """Make the synthetic data set and pack it as ``pack_ntu`` packs real files, with X-Sub splits only.

    Args:
        folder: where its `.skeleton` files stay; by default they are made in a temporary folder.
        seed: another seed, other people.
        progress: show a progress bar on the error stream.
        settings: those of ``pack_ntu``.

    Raises:
        ValueError: as ``pack_ntu``, or ``folder`` is in use.
        OSError: the files cannot be written.
    """
    from tqdm import tqdm

    with tempfile.TemporaryDirectory() as scratch:
        with tqdm(unit=" files", desc="making", disable=not progress) as bar:

            def show(done: int, total: int) -> None:
                bar.total = total
                bar.update(done - bar.n)

            made = make_synthetic_ntu(folder or Path(scratch) / "synthetic", seed=seed, progress=show)
        packed, log = pack_ntu(made, progress=progress, **settings)
    splits = {name: members for name, members in packed.splits.items() if name.startswith("xsub")}
    return replace(packed, splits=splits, source=f"synthetic, seed {seed}"), log


def open_clips(data: str) -> PackedClips:
    """Return the packed file named ``data``, or the built-in set for "synthetic"."""
    return load_synthetic() if data == BUILT_IN else PackedClips.load(data)
