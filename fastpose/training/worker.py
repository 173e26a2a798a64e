"""A process that trains runs for another one, and tells it what there is to see of them.

Nothing here imports torch before the number of its threads is set, nor anything that may warn before warnings are
sent where they are shown.
"""

import os
import pickle
import signal
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from typing import Any

from fastpose.system.errors import error_sentence

SEND_SECONDS = 0.2  # from one message of a bar to the next, at least

# What is sent: the kind of a message, and what belongs to it.
BAR = "bar"  # unit, first, done, total, postfix
SAY = "say"  # text
WARNING = "warning"  # text, category, file, line
DONE = "done"  # curve
REFUSED = "refused"  # a sentence for the user
FAULT = "fault"  # a traceback

Send = Callable[..., None]


class SentBar:
    """Takes the place of a progress bar of tqdm in a process without a screen: sends where it is."""

    def __init__(
        self,
        send: Send,
        *,
        total: int,
        initial: int = 0,
        unit: str,
        **_shown: object,
    ) -> None:
        self._send, self._total, self._first, self._unit = send, total, initial, unit
        self._done, self._postfix = initial, {}
        self._tell()

    def update(self, count: int = 1) -> None:
        """Go on by ``count``."""
        self._done += count
        if time.monotonic() - self._sent >= SEND_SECONDS:
            self._tell()

    def set_postfix(self, shown: Mapping[str, str], refresh: bool = True) -> None:
        """Show values beside the bar, at the latest with its next message."""
        self._postfix = dict(shown)
        if refresh:
            self._tell()

    def _tell(self) -> None:
        self._send(BAR, self._unit, self._first, self._done, self._total, self._postfix)
        self._sent = time.monotonic()

    def __enter__(self) -> "SentBar":
        return self

    def __exit__(self, *_: object) -> None:
        self._tell()


def work(connection: Connection, threads: int) -> None:
    """Train the runs that come through ``connection``, pickled ``RunTask``, one by one, until its other end is closed.

    SIGTERM ends a run after the step in hand, with a checkpoint. Ctrl-C itself is for the process that hands out the
    runs.
    """
    os.environ["OMP_NUM_THREADS"] = str(threads)
    told_to_end = threading.Event()
    # an error raised here would be lost wherever Python may not raise, as in the callback of a weak reference
    signal.signal(signal.SIGTERM, lambda number, frame: told_to_end.set())
    lock = threading.Lock()  # the thread that draws batches may warn

    def send(kind: str, *values: Any) -> None:
        with lock:
            connection.send_bytes(pickle.dumps((kind, *values)))

    def send_warning(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: object
    ) -> None:
        send(WARNING, str(message), category, filename, lineno)

    warnings.showwarning = send_warning
    try:
        while True:
            _train(connection.recv_bytes(), send, told_to_end)
    except (KeyboardInterrupt, EOFError, ConnectionError):  # told to end, or nobody is there any more
        pass


def _train(pickled: bytes, send: Send, told_to_end: threading.Event) -> None:
    """Train one run; send its curve, or why there is none."""
    try:
        task = pickle.loads(pickled)
        curve = task(lambda **of_bar: SentBar(send, **of_bar), lambda text: send(SAY, text), told_to_end)
    except ConnectionError:
        raise
    except (ValueError, OSError) as error:
        send(REFUSED, error_sentence(error))
    except Exception:
        send(FAULT, traceback.format_exc())
    else:
        send(DONE, curve)
