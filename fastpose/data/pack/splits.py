"""Which clips a run trains on, and which it is measured on."""

import numpy as np

from fastpose.data.pack.packed import PackedClips
from fastpose.settings import DataConfig

TRAIN_NAMES = ("xsub_train", "train")
TEST_NAMES = ("xsub_val", "test", "val")


def choose_split(packed: PackedClips, name: str, candidates: tuple[str, ...]) -> str:
    """Return ``name``, or for "auto" the first of ``candidates`` that exists."""
    if name != "auto":
        return name
    for candidate in candidates:
        if candidate in packed.splits:
            return candidate
    raise ValueError(
        f"none of the splits {', '.join(candidates)} is in {packed.source}; name one of "
        f"{', '.join(packed.splits) or '(it has none)'} by --train-split and --test-split"
    )


def stratified_holdout(labels: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """Return a boolean mask [n] of ``count`` clips, spread over the classes in proportion to their sizes.

    Shares are rounded by largest remainder, so that exactly ``count`` clips are chosen.
    """
    mask = np.zeros(len(labels), dtype=bool)
    rng = np.random.default_rng(seed)
    for label, number in _shares(labels, count).items():
        mask[rng.permutation(np.flatnonzero(labels == label))[:number]] = True
    return mask


def neighbouring_holdout(labels: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """Return a mask as ``stratified_holdout`` does, of clips that follow each other within their class.

    Clips of one recording lie beside each other in most data sets; so at most two recordings of a class are cut.
    """
    mask = np.zeros(len(labels), dtype=bool)
    rng = np.random.default_rng(seed)
    for label, number in _shares(labels, count).items():
        members = np.flatnonzero(labels == label)
        first = int(rng.integers(len(members) - number + 1))
        mask[members[first : first + number]] = True
    return mask


def _shares(labels: np.ndarray, count: int) -> dict[int, int]:
    """Return how many of ``count`` clips are of each class."""
    if not 0 <= count < len(labels):
        raise ValueError(f"{count} clips cannot be held out of {len(labels)}; expected fewer than there are")
    classes, sizes = np.unique(labels, return_counts=True)
    exact = sizes * (count / len(labels))
    chosen = np.floor(exact).astype(int)
    short = count - chosen.sum()
    chosen[np.argsort(chosen - exact, kind="stable")[:short]] += 1
    return dict(zip(classes.tolist(), chosen.tolist(), strict=True))


def select_clips(packed: PackedClips, config: DataConfig) -> tuple[np.ndarray, np.ndarray]:
    """Return indices of the clips to train on and of those to measure on, int64.

    With ``config.test_on`` "val" the second are those of ``held_out_clips``.
    """
    train, held_out = _training_split(packed, config)
    if config.test_on == "val":
        measured = held_out
    else:
        measured = packed.split(choose_split(packed, config.test_split, TEST_NAMES))
    return _limit(packed, train, config.limit), _limit(packed, measured, config.limit)


def held_out_clips(packed: PackedClips, config: DataConfig) -> np.ndarray:
    """Return indices of the clips held out of the training split, int64; the run's seed has no part in it."""
    return _limit(packed, _training_split(packed, config)[1], config.limit)


def _training_split(packed: PackedClips, config: DataConfig) -> tuple[np.ndarray, np.ndarray]:
    train = packed.split(choose_split(packed, config.train_split, TRAIN_NAMES))
    if config.val_clips == 0:
        return train, train[:0]
    held_out = neighbouring_holdout(packed.labels[train], config.val_clips)
    return train[~held_out], train[held_out]


def _limit(packed: PackedClips, indices: np.ndarray, limit: int | None) -> np.ndarray:
    if limit is None or limit >= len(indices):
        return indices
    return indices[stratified_holdout(packed.labels[indices], limit)]
