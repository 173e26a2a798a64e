"""Items made by a thread that runs ahead of whoever uses them."""

import queue
import threading
import time
import weakref
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar, cast

T = TypeVar("T")


class Prefetcher(Iterator[T]):
    """Iterates ``source`` in a thread, up to ``depth`` items ahead of the consumer.

    Native sampling holds no interpreter lock, so it runs beside the training step. An error in ``source`` is
    raised in the consumer, after the items before it. To leave early, close it or use a ``with`` block.

    Attributes:
        wait_seconds: time that the consumer has spent waiting for items so far.
    """

    def __init__(self, source: Iterable[T], depth: int = 2) -> None:
        if depth < 1:
            raise ValueError(f"depth must be at least 1, got {depth}")
        self.wait_seconds = 0.0
        self._items: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(depth)
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=_produce, args=(source, self._items, self._stop), name="fastpose-prefetch", daemon=True
        )
        self._finalizer = weakref.finalize(self, _shut, self._items, self._stop)
        self._thread.start()

    def __next__(self) -> T:
        if self._stop.is_set():
            raise StopIteration
        started = time.perf_counter()
        item, error = self._items.get()
        self.wait_seconds += time.perf_counter() - started
        if error is None:
            return cast(T, item)
        self.close()
        raise error

    def close(self) -> None:
        """Stop the thread and drop what it had ready."""
        self._finalizer()
        self._thread.join()

    def __enter__(self) -> "Prefetcher[T]":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _produce(source: Iterable[T], items: queue.Queue[Any], stop: threading.Event) -> None:
    try:
        for item in source:
            items.put((item, None))
            if stop.is_set():
                return
        items.put((None, StopIteration()))
    except BaseException as error:
        items.put((None, error))


def _shut(items: queue.Queue[Any], stop: threading.Event) -> None:
    stop.set()
    # At most one put is blocked; room for it lets the thread see the stop.
    while not items.empty():
        items.get_nowait()
