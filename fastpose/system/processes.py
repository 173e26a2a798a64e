"""Several processes that work on one thing, as a launcher such as torchrun starts them."""

import itertools
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")

LOST = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "gloo")  # in errors of gloo
_PATIENCE = timedelta(days=7)  # for what the first process does alone, such as to try front ends
ADDRESS = ("MASTER_ADDR", "MASTER_PORT")  # where the first process is to be found


@dataclass(frozen=True, slots=True)
class Processes:
    """The processes that a launcher started, seen from one of them; alone by default.

    Attributes:
        rank: which of them this one is, from 0.
        size: how many there are.
        here: how many of them are on this machine, as far as the launcher says.
        patient: the group in which the others wait for the first one as long as that takes; None for torch's own.
    """

    rank: int = 0
    size: int = 1
    here: int = 1
    patient: Any = None

    @property
    def leads(self) -> bool:
        """Whether this is the one that writes and speaks."""
        return self.rank == 0

    def parts(self, count: int) -> list[slice]:
        """Return each process's part of ``count`` things, one after another and as even as can be."""
        edges = [rank * count // self.size for rank in range(self.size + 1)]
        return [slice(begin, end) for begin, end in itertools.pairwise(edges)]

    def sizes(self, count: int) -> list[int]:
        """Return how many of ``count`` things each process has."""
        return [part.stop - part.start for part in self.parts(count)]

    def part_of(self, whole: slice) -> slice:
        """Return this process's part of the clips of ``whole``; where it has none, the first one stands in."""
        own = self.parts(whole.stop - whole.start)[self.rank]
        if own.start == own.stop:
            return slice(whole.start, whole.start + 1)
        return slice(whole.start + own.start, whole.start + own.stop)

    def gather(self, tensor: Tensor) -> Tensor:
        """Return [size, ...] of all processes' tensors, which are of one shape. No gradient flows back."""
        tensor = tensor.contiguous()
        gathered = tensor.new_empty(self.size, *tensor.shape)
        if self.size == 1:
            return gathered.copy_(tensor)
        dist.all_gather(list(gathered), tensor)
        return gathered

    def add(self, *tensors: Tensor) -> None:
        """Add to each of ``tensors``, in place, those of all other processes."""
        if self.size > 1:
            for tensor in tensors:
                dist.all_reduce(tensor)

    def collect(self, value: T) -> list[T]:
        """Return the plain values of all processes."""
        values: list[Any] = [value]
        if self.size > 1:
            values = [None] * self.size
            dist.all_gather_object(values, value)
        return values

    def first(self, function: Callable[[], T]) -> T:
        """Call ``function`` in the first process alone, and return in all what it returned, which is pickled.

        Where it raises an error that is for the user, the first process goes on with the error and the others end.
        """
        if self.size == 1:
            return function()
        if not self.leads:
            told: list[Any] = [None]
            dist.broadcast_object_list(told, group=self.patient)
            done, value = told[0]
            if not done:
                sys.exit(value)
            return value
        try:
            value = function()
        except BaseException as error:
            status = 2 if isinstance(error, ValueError | OSError) else 1
            dist.broadcast_object_list([(False, status)], group=self.patient)
            raise
        dist.broadcast_object_list([(True, value)], group=self.patient)
        return value


ALONE = Processes()


@contextmanager
def joined_processes(device: str, environment: Mapping[str, str] = os.environ) -> Iterator[Processes]:
    """Join the processes that a launcher started, as RANK, WORLD_SIZE and its other variables say; alone without them.

    On CUDA each takes the device of its LOCAL_RANK, and tensors go through NCCL, others through gloo.

    Args:
        device: "cpu", "cuda" or "auto", for CUDA where torch finds a device.

    Raises:
        ValueError: a variable is missing or is no such number; or this process's CUDA device is not there.
        ConnectionError: within, another process has ended.
    """
    size = _number("WORLD_SIZE", environment, default=1)
    if size == 1:
        yield ALONE
        return
    rank = _number("RANK", environment)
    if not 0 <= rank < size:
        raise ValueError(f"RANK = {rank}, WORLD_SIZE = {size}: expected a rank from 0 to {size - 1}")
    for name in ADDRESS:
        if not environment.get(name):
            raise ValueError(
                f"WORLD_SIZE = {size}, and no {name}: expected a launcher such as torchrun to set it"
            )
    here = _number("LOCAL_WORLD_SIZE", environment, default=1)
    if not dist.is_available():
        raise ValueError(f"WORLD_SIZE = {size}: this torch is built without torch.distributed")
    backend = "gloo"
    if device == "cuda" or (device == "auto" and torch.cuda.is_available()):
        local = _number("LOCAL_RANK", environment, default=rank % max(torch.cuda.device_count(), 1))
        if local >= (there := torch.cuda.device_count()):
            raise ValueError(
                f"LOCAL_RANK = {local}: expected no more processes than the {there} CUDA devices here"
            )
        torch.cuda.set_device(local)
        backend = "cpu:gloo,cuda:nccl"
    try:
        dist.init_process_group(backend)
        try:
            yield Processes(rank, size, here, dist.new_group(backend="gloo", timeout=_PATIENCE))
        finally:
            dist.destroy_process_group()
    except RuntimeError as error:
        if isinstance(error, dist.DistError) or any(word in str(error) for word in LOST):
            reason = str(error).strip().partition("\n")[0].split("] ")[-1]
            raise ConnectionError(
                f"lost contact with another process, which has ended or cannot be reached ({reason})"
            ) from error
        raise


def _number(name: str, environment: Mapping[str, str], default: int | None = None) -> int:
    text = environment.get(name, "")
    if not text and default is not None:
        return default
    if not text.isdecimal() or (name.endswith("WORLD_SIZE") and int(text) < 1):
        found = f"{name} = {text}" if text else f"no {name}"
        raise ValueError(f"{found}: expected a launcher such as torchrun to set it to a number")
    return int(text)
