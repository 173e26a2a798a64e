"""NTU RGB+D 60 and 120: folders of `.skeleton` files into packed clips."""

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fastpose.data.core import core
from fastpose.data.pack import clip_builder
from fastpose.data.pack.layouts import KINECT25, Layout, convert, get_layout, tell_conversion
from fastpose.data.pack.packed import PackedClips
from fastpose.data.sources.ntu_names import (
    NtuName,
    benchmark_splits,
    class_names,
    missing_skeletons,
    num_classes,
    parse_name,
)
from fastpose.data.sources.pack_log import OnError, PackLog

IMAGE_SIZE = (1080, 1920)
_FILES_PER_CALL = 256


def find_skeletons(source: str | Path) -> list[Path]:
    """Return the `.skeleton` files below a folder, sorted by name; a file is itself.

    Raises:
        ValueError: there is none.
        OSError: no such folder or file.
    """
    source = Path(source)
    if source.is_file():
        return [source]
    if not source.exists():
        raise FileNotFoundError(2, "no such folder or file", str(source))
    paths = sorted(source.rglob("*.skeleton"), key=lambda path: (path.name, path))
    if not paths:
        raise ValueError(f"{source}: no .skeleton file in it or below it")
    return paths


def pack_ntu(
    source: str | Path,
    *,
    layout: str | Path | Layout = KINECT25,
    exchange_sides: bool | None = None,
    threads: int | None = None,
    on_error: OnError = "skip",
    progress: bool = False,
) -> tuple[PackedClips, PackLog]:
    """Pack a folder of `.skeleton` files, or one file, with its benchmark splits.

    Keypoints are colour pixels of 1920×1080; scores 1, 0.5 or 0 for tracked, inferred or lost joints.
    Skipped: samples on the published list of missing skeletons, files with another kind of name, a name met
    before, files that cannot be decoded or hold no body.

    Args:
        layout: the pack's layout; joints are converted from Kinect-25.
        exchange_sides: exchange left and right; by default for all layouts but Kinect's (``exchanges_sides``).
        threads: decoder threads; by default all this process may use. The result does not depend on it.
        on_error: "raise" makes the first bad file an error (samples on the list are skipped all the same).
        progress: show a progress bar on the error stream.

    Raises:
        ValueError: nothing to pack; a bad file with ``on_error="raise"``; a layout without conversion.
        OSError: no such folder.
    """
    layout = get_layout(layout)
    told = tell_conversion(KINECT25, layout, exchange_sides)
    if threads is not None and threads < 1:
        raise ValueError(f"threads must be at least 1, got {threads}")
    log = PackLog(on_error, notes=told)
    samples = _samples(find_skeletons(source), log)
    store = _RowStore(layout, exchange_sides)
    kept: list[NtuName] = []
    stems: list[str] = []
    num_persons: list[int] = []
    num_frames: list[int] = []
    for chunk, decoded in _decoded(samples, threads or core.hardware_threads(), progress):
        log.lost_joints += int(decoded["lost_joints"].sum())
        for i, (path, name) in enumerate(chunk):
            if decoded["errors"][i]:
                log.skip(path.name, "not decodable, or without any body", decoded["errors"][i])
            else:
                kept.append(name)
                stems.append(path.stem)
                num_persons.append(decoded["num_persons"][i])
                num_frames.append(decoded["num_frames"][i])
        store.append(decoded["keypoints"], decoded["scores"])
    log.need_clips(kept, source)
    keypoints, scores = store.arrays()
    persons, frames = np.array(num_persons, np.int32), np.array(num_frames, np.int32)
    offsets = clip_builder.row_offsets(persons, frames)
    packed = PackedClips(
        keypoints=keypoints,
        scores=scores,
        offsets=offsets,
        num_persons=persons,
        num_frames=frames,
        labels=np.array([name.label for name in kept], np.int64),
        image_sizes=np.tile(np.array(IMAGE_SIZE, np.int32), (len(kept), 1)),
        name_hashes=np.array([clip_builder.name_hash(stem) for stem in stems], np.uint64),
        total_difference=clip_builder.differences(keypoints, scores, offsets, frames),
        names=stems,
        splits=benchmark_splits(kept),
        layout=layout,
        class_names=class_names(num_classes(kept)),
        source=f"NTU RGB+D {num_classes(kept)} .skeleton files",
    )
    return packed, log


def _samples(paths: Sequence[Path], log: PackLog) -> list[tuple[Path, NtuName]]:
    listed, met, samples = frozenset(missing_skeletons()), set(), []
    for path in paths:
        try:
            name = parse_name(path.stem)
        except ValueError as error:
            log.skip(path.name, "no NTU RGB+D name", f"{path}: {error}")
            continue
        if path.stem in listed:
            log.skip(path.name, "on the published list of missing skeletons", expected=True)
        elif path.stem in met:
            log.skip(path.name, "a file of this name was packed already", f"{path}: second file of this name")
        else:
            met.add(path.stem)
            samples.append((path, name))
    return samples


def _decoded(
    samples: Sequence[tuple[Path, NtuName]], threads: int, progress: bool
) -> Iterator[tuple[Sequence[tuple[Path, NtuName]], Mapping[str, Any]]]:
    """Yield chunks of samples with what ``pack_skeletons`` makes of them."""
    from tqdm import tqdm

    start, num_bytes = time.perf_counter(), 0
    with tqdm(total=len(samples), unit=" files", desc="decoding", disable=not progress) as bar:
        for first in range(0, len(samples), _FILES_PER_CALL):
            chunk = samples[first : first + _FILES_PER_CALL]
            decoded = core.pack_skeletons([str(path) for path, _ in chunk], 2, threads)
            num_bytes += decoded["bytes"]
            bar.set_postfix_str(f"{num_bytes / 1e6 / (time.perf_counter() - start):.0f} MB/s", refresh=False)
            bar.update(len(chunk))
            yield chunk, decoded


class _RowStore:
    """Keypoints and scores that grow in place, so that a large data set is never held twice."""

    def __init__(self, layout: Layout, exchange_sides: bool | None) -> None:
        self._layout = layout
        self._exchange_sides = exchange_sides
        self._rows = 0
        self._keypoints = np.empty((0, layout.num_joints, 2), np.float32)
        self._scores = np.empty((0, layout.num_joints), np.float32)

    def append(self, keypoints: np.ndarray, scores: np.ndarray) -> None:
        """Add Kinect-25 rows, converted."""
        keypoints, scores = convert(
            keypoints, scores, KINECT25, self._layout, exchange_sides=self._exchange_sides
        )
        end = self._rows + len(keypoints)
        if end > len(self._scores):
            self._resize(max(end, len(self._scores) * 5 // 4))
        self._keypoints[self._rows : end] = keypoints
        self._scores[self._rows : end] = scores
        self._rows = end

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows so far: float32 [rows, V, 2] and [rows, V]."""
        self._resize(self._rows)
        return self._keypoints, self._scores

    def _resize(self, rows: int) -> None:
        self._keypoints.resize((rows, *self._keypoints.shape[1:]), refcheck=False)
        self._scores.resize((rows, *self._scores.shape[1:]), refcheck=False)
