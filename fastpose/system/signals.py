"""Ctrl-C and SIGTERM: as a request to end, which a program looks at where it can end well; and held back."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def end_requested(told: threading.Event, *, insists: bool = True) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM set ``told`` within, in place of what else they do.

    An error raised at once would be lost wherever Python may not raise, as in the callback of a weak reference. In a
    thread that is not the main one, which may ask for no signals, nothing changes.

    Args:
        told: the event.
        insists: whether a second Ctrl-C raises KeyboardInterrupt at once. Launchers of several processes send it twice.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def request(number: int, frame: Any) -> None:
        if told.is_set() and insists and number == signal.SIGINT:
            raise KeyboardInterrupt
        told.set()

    before = {number: signal.signal(number, request) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def ctrl_c_held() -> Iterator[None]:
    """Hold back Ctrl-C meanwhile, and for good in the processes started within: theirs is for this one."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def sigterm_leaves() -> Iterator[None]:
    """Let SIGTERM raise SystemExit, so that what is begun is ended."""

    def leave(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():  # which alone may ask for signals
        yield
        return
    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
