"""The order of clips in an epoch, and the batches that it is cut into."""

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Clips = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class EpochOrder:
    """The clips of one epoch.

    Attributes:
        clips: int64 [n], in their order.
        passes: int64 [n], how often each clip came before in the same epoch; it is then drawn with other numbers.
    """

    clips: Clips
    passes: Clips


class TrainingOrder:
    """In which order clips are trained on; each epoch's depends on the seed and its number alone.

    By default each clip comes once. Labelled clips come more often where they would be less than ``labelled_share`` of
    a batch, or all of them if these are fewer; each other clip comes once. With ``balanced``, labelled clips are drawn
    so that each class comes equally often. Where the others are left out, labelled ones take their places, so that an
    epoch has as many steps.

    Args:
        clips: to train on, int64 [N].
        labels: their classes, int64 [N], -1 where a clip is unlabelled.
        batch_size: clips of a batch.
        seed: of the run.
        labelled_share: of a batch, at least.
        balanced: whether each class is to come equally often.
        labelled_alone: whether unlabelled clips are left out.
    """

    def __init__(
        self,
        clips: Clips,
        labels: Clips,
        batch_size: int,
        seed: int,
        *,
        labelled_share: float = 0.25,
        balanced: bool = False,
        labelled_alone: bool = False,
    ) -> None:
        self._clips, self._batch_size, self._seed, self._balanced = clips, batch_size, seed, balanced
        known = labels >= 0
        self._labelled, self._labels, self._unlabelled = clips[known], labels[known], clips[~known]
        others = len(self._unlabelled)
        self._alone = labelled_alone and others > 0
        wanted = min(max(round(labelled_share * batch_size), 1), len(self._labelled), batch_size - 1)
        too_few = len(self._labelled) * batch_size < wanted * len(clips)
        self._steps = 0  # in which labelled and other clips are mixed; 0 where they come as they are
        if others and (too_few or balanced):
            self._steps = max(-(-others // (batch_size - wanted)), -(-len(clips) // batch_size))

    def __len__(self) -> int:
        """The number of clips of an epoch, each as often as it comes."""
        return self._steps * self._batch_size or len(self._clips)

    @property
    def batches(self) -> list[slice]:
        """The batches of an epoch, as parts of its order."""
        return epoch_batches(len(self), self._batch_size)

    def epoch(self, number: int) -> EpochOrder:
        """Return the order of an epoch."""
        rng = _generator(self._seed, number)
        if self._balanced or self._steps or self._alone:
            return self._mixed(rng)
        return EpochOrder(rng.permutation(self._clips), np.zeros(len(self._clips), np.int64))

    def _mixed(self, rng: np.random.Generator) -> EpochOrder:
        """Return labelled clips, and in each batch its part of the others behind them."""
        others = self._unlabelled[:0] if self._alone else rng.permutation(self._unlabelled)
        if not len(others):
            return self._cycled(len(self), rng)
        labelled = self._cycled(len(self) - len(others), rng)
        edges = np.arange(self._steps + 1) * len(others) // self._steps  # of the part of each batch
        before = np.arange(1, self._steps + 1) * self._batch_size - edges[1:]  # labelled clips up to its end
        places = np.repeat(before, np.diff(edges))
        return EpochOrder(np.insert(labelled.clips, places, others), np.insert(labelled.passes, places, 0))

    def _cycled(self, count: int, rng: np.random.Generator) -> EpochOrder:
        """Return ``count`` labelled clips, each as often as any other, or each class as often as any other."""
        if not self._balanced:
            return _repeated(self._labelled, count, rng)
        classes = rng.permutation(np.unique(self._labels))
        shares = [count // len(classes) + (i < count % len(classes)) for i in range(len(classes))]
        parts = [
            _repeated(self._labelled[self._labels == label], share, rng)
            for label, share in zip(classes, shares, strict=True)
        ]
        order = rng.permutation(count)
        return EpochOrder(
            np.concatenate([part.clips for part in parts])[order],
            np.concatenate([part.passes for part in parts])[order],
        )


def _repeated(clips: Clips, count: int, rng: np.random.Generator) -> EpochOrder:
    """Return ``count`` of ``clips``: all in a random order, then all in another one, and so on."""
    rounds = -(-count // len(clips))
    order = [rng.permutation(clips) for _ in range(rounds)]
    passes = np.repeat(np.arange(rounds), len(clips))
    return EpochOrder(np.concatenate([clips[:0], *order])[:count], passes[:count])


def _generator(seed: int, epoch: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=[seed, epoch]))


def epoch_order(indices: Clips, seed: int, epoch: int) -> Clips:
    """Return ``indices`` in the random order of one epoch, which depends on nothing else."""
    return _generator(seed, epoch).permutation(indices)


def epoch_batches(num_clips: int, batch_size: int) -> list[slice]:
    """Return the batches of an epoch as parts of its order, all of ``batch_size`` clips but the last.

    A last clip that would be alone joins the batch before it: the gradient of one clip is mostly noise, and batch norm
    over features has nothing to compare it with.
    """
    begins = list(range(0, num_clips, batch_size))
    if batch_size > 1 and len(begins) > 1 and num_clips - begins[-1] == 1:
        begins.pop()
    return [slice(begin, end) for begin, end in itertools.pairwise([*begins, num_clips])]
