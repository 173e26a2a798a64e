"""Items made by a thread ahead of their use."""

import gc
import threading
import time
import weakref

import pytest

from fastpose.system.prefetch import Prefetcher


def test_a_depth_below_one_is_refused():
    with pytest.raises(ValueError, match="depth must be at least 1, got 0"):
        Prefetcher([], depth=0)


def test_every_item_comes_in_order():
    with Prefetcher(iter(range(50))) as items:
        assert list(items) == list(range(50))
        assert next(items, None) is None


def test_prefetcher_runs_ahead_by_its_depth_only():
    made = []
    ready = threading.Semaphore(0)

    def source():
        for i in range(100):
            made.append(i)
            ready.release()
            yield i

    with Prefetcher(source(), depth=3) as items:
        for _ in range(4):  # three in the queue, one waiting to be put
            assert ready.acquire(timeout=5)
        assert not ready.acquire(timeout=0.05)
        assert next(items) == 0
        assert ready.acquire(timeout=5)
        assert made == [0, 1, 2, 3, 4]


def test_prefetcher_counts_the_seconds_waited():
    gate = threading.Event()

    def source():
        yield 0
        gate.wait()
        yield 1

    with Prefetcher(source()) as items:
        next(items)
        before = items.wait_seconds
        threading.Timer(0.1, gate.set).start()
        assert next(items) == 1
        assert items.wait_seconds - before > 0.05
        time.sleep(0.05)  # the end is ready by now
        before = items.wait_seconds
        assert next(items, None) is None
        assert items.wait_seconds - before < 0.05


def test_prefetcher_raises_the_error_of_its_source_after_the_items_before_it():
    def source():
        yield 1
        raise ValueError("clip index 7 is out of range")

    items = Prefetcher(source())
    assert next(items) == 1
    with pytest.raises(ValueError, match="clip index 7"):
        next(items)
    assert next(items, None) is None
    assert not items._thread.is_alive()


@pytest.mark.parametrize("leave", ["close", "collect"])
def test_leaving_early_ends_the_thread(leave):
    def source():
        while True:
            yield 0

    items = Prefetcher(source(), depth=1)
    thread = items._thread
    next(items)
    if leave == "close":
        items.close()
        items.close()
        assert next(items, None) is None
    else:
        gone = weakref.ref(items)
        del items
        gc.collect()
        assert gone() is None
    thread.join(5)
    assert not thread.is_alive()
