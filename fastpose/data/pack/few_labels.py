"""Which training clips keep their labels where few are to be used."""

import warnings

import numpy as np
from numpy.typing import NDArray

from fastpose.data.pack.packed import PackedClips
from fastpose.data.pack.splits import stratified_holdout
from fastpose.settings import DataConfig


def labelled_clips(
    packed: PackedClips, train: NDArray[np.int64], config: DataConfig, seed: int
) -> NDArray[np.bool_]:
    """Return which of the training clips ``train`` [n] keep their labels, bool [n].

    They are spread over the classes in proportion to their sizes, or as many of each class as ``config`` says. With
    one ``config.label_seed`` (by default ``seed``), those of a smaller number of a class are among those of a larger.

    Raises:
        ValueError: a class would be left without a label.
    """
    if not config.few_labels:
        return np.ones(len(train), bool)
    labels = packed.labels[train]
    classes, sizes = np.unique(labels, return_counts=True)
    draw = seed if config.label_seed is None else config.label_seed
    if config.labels_per_class is not None:
        return _of_each_class(packed, labels, config.labels_per_class, draw)
    count = round(config.label_fraction * len(train))
    if count >= len(train):
        return np.ones(len(train), bool)
    chosen = stratified_holdout(labels, count, draw)
    kept = np.bincount(labels[chosen], minlength=packed.num_classes)[classes]
    if not kept.all():
        least = int(np.flatnonzero(kept == 0)[0])
        several = f" and {np.count_nonzero(kept == 0) - 1} more" if np.count_nonzero(kept == 0) > 1 else ""
        raise ValueError(
            f"label_fraction = {config.label_fraction:g}: class {packed.class_names[classes[least]]!r} of "
            f"{sizes[least]} training clips{several} would have no label; expected at least "
            f"{np.ceil(1e3 / sizes.min()) / 1e3:g}, or labels_per_class = 1"
        )
    return chosen


def _of_each_class(
    packed: PackedClips, labels: NDArray[np.int64], count: int, seed: int
) -> NDArray[np.bool_]:
    chosen = np.zeros(len(labels), bool)
    rng = np.random.default_rng(seed)
    short = []
    for label in np.unique(labels).tolist():
        members = np.flatnonzero(labels == label)
        if len(members) < count:
            short.append(f"{packed.class_names[label]!r} ({len(members)})")
        chosen[rng.permutation(members)[:count]] = True
    if short:
        warnings.warn(
            f"labels_per_class = {count}: all labels of smaller classes are used: {', '.join(short)}",
            stacklevel=4,
        )
    return chosen
