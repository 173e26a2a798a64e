"""A synthetic stand-in for NTU RGB+D: real `.skeleton` files of a parametric human, deterministic by seed."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from fastpose.data.sources.ntu_names import NtuName
from fastpose.data.synthetic.motion import MOTIONS
from fastpose.data.synthetic.scene import TEST_PERFORMERS, TRAIN_PERFORMERS, BodyTrack, record
from fastpose.data.synthetic.sensor import clipped_edges
from fastpose.system.files import check_output_folder, sync_folder

FIRST_SETUP, NUM_SETUPS = 18, 15  # no name in NTU's lists of missing skeletons has a setup and action of ours

# Decimals of each group of columns, so that no number has more than 7 digits.
_DECIMALS = ((slice(0, 3), 6), (slice(3, 5), 4), (slice(5, 7), 3), (slice(7, 11), 6), (slice(11, 12), 0))


def make_synthetic_ntu(
    folder: str | Path,
    *,
    seed: int = 0,
    num_train: int = 640,
    num_test: int = 224,
    processes: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write a data set of `.skeleton` files with NTU names, and return its folder.

    The 16 actions (three of them between two people) are balanced within each part. As in NTU's
    cross-subject split, 20 performers are for training and 20 others for testing. The same seed and counts
    give the same bytes, whatever ``processes`` is. The default is 864 files, 111 MB.

    Args:
        folder: must be new or empty; it appears only when complete.
        seed: 0 or more.
        num_train: clips of the training performers, at most 28,800.
        num_test: clips of the other performers, at most 28,800.
        processes: workers to share the load; by default, this process alone. More than one are spawned, so
            that a script needs its ``if __name__ == "__main__"``.
        progress: called with (clips done, clips in all) after each clip.

    Raises:
        ValueError: a count or the seed is out of range, or ``folder`` holds something already.
        OSError: the files cannot be written; nothing is left behind.
    """
    folder = Path(folder).absolute()
    if seed < 0:
        raise ValueError(f"seed must be 0 or more, got {seed}")
    if processes is not None and processes < 1:
        raise ValueError(f"processes must be 1 or more, got {processes}")
    clips = plan_clips(TRAIN_PERFORMERS, num_train) + plan_clips(TEST_PERFORMERS, num_test)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} must be a new or an empty folder, but it holds something already")

    check_output_folder(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as scratch:
        unfinished = Path(scratch) / folder.name
        unfinished.mkdir()
        write = partial(_write_clip, unfinished, seed)
        if processes is None or processes == 1:
            _report(map(write, clips), len(clips), progress)
        else:
            with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
                _report(pool.map(write, clips, chunksize=16), len(clips), progress)
        os.replace(unfinished, folder)
        sync_folder(folder.parent)
    return folder


def _report(written: Iterator[None], total: int, progress: Callable[[int, int], None] | None) -> None:
    for done, _ in enumerate(written, 1):
        if progress is not None:
            progress(done, total)


def plan_clips(performers: tuple[int, ...], num_clips: int) -> list[NtuName]:
    """Return the first ``num_clips`` that these performers can make, balanced over actions, then over performers."""
    most = len(performers) * 2 * 3 * NUM_SETUPS * len(MOTIONS)
    if not 0 <= num_clips <= most:
        raise ValueError(
            f"the number of clips must be from 0 to {most} for {len(performers)} performers, got {num_clips}"
        )
    actions = list(MOTIONS)
    clips = []
    for index in range(num_clips):
        turn, column = divmod(index, len(actions))
        visit, person = divmod(turn, len(performers))
        person = (person + 7 * column) % len(performers)
        setup, visit = divmod(visit, 6)  # two replications before three cameras
        setup = FIRST_SETUP + (performers[person] + 4 * setup) % NUM_SETUPS
        camera = 1 + (visit + person + column) % 3
        clips.append(NtuName(setup, camera, performers[person], 1 + visit % 2, actions[column]))
    return clips


def _write_clip(folder: Path, seed: int, clip: NtuName) -> None:
    (folder / f"{clip.name}.skeleton").write_bytes(skeleton_text(*record(clip, seed)))


def skeleton_text(num_frames: int, tracks: list[BodyTrack]) -> bytes:
    """Return the `.skeleton` file of some bodies."""
    bodies: list[list[bytes]] = [[] for _ in range(num_frames)]
    blocks = iter(_joint_blocks(np.concatenate([track.table for track in tracks])))
    for track in tracks:
        lean = (track.table[:, 20, :3] - track.table[:, 0, :3]) * 1.4
        numbers = zip(track.frames, clipped_edges(track.table), lean.clip(-1, 1), strict=True)
        for frame, edges, (x, _, z) in numbers:
            header = b"%d %d 0 0 0 0 0 %.5f %.5f 2\n25\n" % (track.body_id, edges, x, -z)
            bodies[frame].append(header + next(blocks))
    frames = [b"%d\n" % len(of_frame) + b"".join(of_frame) for of_frame in bodies]
    return b"%d\n" % num_frames + b"".join(frames)


def _joint_blocks(table: np.ndarray) -> list[bytes]:
    """Return the text of each body of a table [n, 25, 12]: 25 lines of 12 numbers, trailing zeros left out."""
    # Characters of each number: sign, 7 digits with a point among them, separator; 0 where there is none.
    cells = np.zeros((len(table), 25, 12, 10), np.uint8)
    for columns, decimals in _DECIMALS:
        scaled = np.rint(np.abs(table[..., columns]) * 10**decimals).astype(np.int32)
        assert scaled.min(initial=0) >= 0
        assert scaled.max(initial=0) < 10**7
        cell = cells[..., columns, :]
        cell[..., 0] = np.where((table[..., columns] < 0) & (scaled > 0), ord("-"), 0)
        written = np.zeros(scaled.shape, bool)  # a digit other than 0 stands to the right of here
        place = 8
        for power in range(7):
            if power == decimals:
                if decimals:
                    cell[..., place] = np.where(written, ord("."), 0)
                    place -= 1
                written[:] = True
            scaled, digit = scaled // 10, scaled % 10
            written |= digit > 0
            wanted = written & ((scaled > 0) | (digit > 0) | (power <= decimals))
            cell[..., place] = np.where(wanted, digit + ord("0"), 0)
            place -= 1
    cells[..., 9] = ord(" ")
    cells[..., 11, 9] = ord("\n")
    ends = (cells != 0).sum((1, 2, 3)).cumsum().tolist()
    text = cells[cells != 0].tobytes()
    return [text[start:end] for start, end in zip([0, *ends], ends, strict=False)]
