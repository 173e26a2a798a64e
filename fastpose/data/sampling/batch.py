"""What samplers return, and the noise strengths that they take."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

MAX_ALPHA = 1e3


@dataclass(frozen=True, slots=True)
class PoseBatch:
    """B clips of T frames, M persons, V joints.

    Attributes:
        keypoints: float32 [B, M, T, V, 3]: x, y in input pixels, score. Missing joints and absent persons
            are all 0; never NaN or infinite.
        labels: int64 [B], -1 of a clip in training whose label is not to be known.
        frames: int32 [B, T], the frames of the clip that were sampled.
        indices: int64 [B], the clips of the pack.
        draws: float32 [B, 12] in [0, 1), each clip's random numbers for augmentation by the model's input;
            None outside training.
        presence: float32 [B, M, T, V] in [0, 1], the share of frames behind a sampled one in which the joint was
            seen; None without a front end (``SamplingConfig.has_front_end``).
        noise_levels: float32 [B, 2], logarithms of the deviations of a clip's white noise and of its drift, in
            halves of the crop's side, at least 1e-3 and at most 10 of them; None likewise.
    """

    keypoints: torch.Tensor
    labels: torch.Tensor
    frames: torch.Tensor
    indices: torch.Tensor
    draws: torch.Tensor | None = None
    presence: torch.Tensor | None = None
    noise_levels: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "PoseBatch":
        """Return the same batch on ``device``."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "PoseBatch":
        """Return the same batch in page-locked memory, from which copies to a GPU need not wait."""
        return self._map(torch.Tensor.pin_memory)

    def part(self, begin: int, end: int) -> "PoseBatch":
        """Return clips ``begin`` to ``end`` - 1 of the batch, in the same memory."""
        return self._map(lambda tensor: tensor[begin:end])

    def slowed(self, clip_len: int) -> "PoseBatch":
        """Return the same batch played at half its speed: ``clip_len`` frames, each shown twice."""

        def twice(tensor: torch.Tensor, axis: int) -> torch.Tensor:
            return tensor.repeat_interleave(2, axis).narrow(axis, 0, clip_len)

        return replace(
            self,
            keypoints=twice(self.keypoints, 2).contiguous(),
            frames=twice(self.frames, 1).contiguous(),
            presence=None if self.presence is None else twice(self.presence, 2).contiguous(),
        )

    def clone(self) -> "PoseBatch":
        """Return the same batch in memory of its own."""
        return self._map(torch.clone)

    def copy_(self, other: "PoseBatch") -> None:
        """Take over the values of ``other``, a batch of the same shape."""
        for ours, theirs in zip(self._tensors(), other._tensors(), strict=True):
            if ours is not None and theirs is not None:
                ours.copy_(theirs, non_blocking=True)

    def record_stream(self, stream: torch.Stream) -> None:
        """Keep the memory of a batch on the device until ``stream`` has read it, though another one has made it."""
        for tensor in self._tensors():
            if tensor is not None:
                tensor.record_stream(stream)

    @staticmethod
    def cat(batches: "Sequence[PoseBatch]") -> "PoseBatch":
        """Return one batch of all the clips of ``batches``, which are of the same shape."""
        return PoseBatch._join(batches, torch.cat)

    @staticmethod
    def interleave(batches: "Sequence[PoseBatch]") -> "PoseBatch":
        """Return one batch in which the first clips of all ``batches``, of one size, come first, then their second."""
        return PoseBatch._join(batches, lambda column: torch.stack(column, 1).flatten(0, 1))

    @staticmethod
    def _join(batches: "Sequence[PoseBatch]", function: Callable[[Any], torch.Tensor]) -> "PoseBatch":
        columns: Iterator[Any] = zip(*(batch._tensors() for batch in batches), strict=True)
        tensors = (None if column[0] is None else function(column) for column in columns)
        return PoseBatch(*cast(Any, tensors))

    def _tensors(self) -> tuple[torch.Tensor | None, ...]:
        return (
            self.keypoints,
            self.labels,
            self.frames,
            self.indices,
            self.draws,
            self.presence,
            self.noise_levels,
        )

    def _map(self, function: Callable[[torch.Tensor], torch.Tensor]) -> "PoseBatch":
        tensors = (None if tensor is None else function(tensor) for tensor in self._tensors())
        return PoseBatch(*cast(Any, tensors))


@dataclass(frozen=True, slots=True)
class AlphaRange:
    """Noise strengths from which each clip draws its own, uniformly."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.high <= MAX_ALPHA:
            raise ValueError(
                f"AlphaRange needs 0 <= low <= high <= {MAX_ALPHA:g}, got {self.low} and {self.high}"
            )


def alpha_ranges(
    alpha: float | AlphaRange | ArrayLike, count: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if isinstance(alpha, AlphaRange):
        return np.full(count, alpha.low, np.float64), np.full(count, alpha.high, np.float64)
    try:
        values = np.asarray(alpha, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"alpha must be a number, one per clip, or an AlphaRange, got {alpha!r}") from error
    if values.shape not in ((), (count,)):
        raise ValueError(
            f"alpha must be one number or one per clip [{count}], got shape {list(values.shape)}"
        )
    wrong = ~((values >= 0) & (values <= MAX_ALPHA))
    if wrong.any():
        raise ValueError(f"alpha must be between 0 and {MAX_ALPHA:g}, got {values[wrong].ravel()[0]}")
    values = np.ascontiguousarray(np.broadcast_to(values, (count,)))
    return values, values
