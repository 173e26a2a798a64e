"""The order of what goes to streams; their work itself needs a GPU."""

from types import SimpleNamespace

import pytest
import torch

from fastpose.data.sampling.batch import PoseBatch
from fastpose.training.side_stream import SideStream


@pytest.fixture
def calls(monkeypatch):
    """What is asked of streams, events and tensors, in order."""
    log = []

    class Stream:
        def __init__(self, name):
            self.name = name

        def wait_stream(self, other):
            log.append(f"{self.name} waits for all of {other.name}")

        def wait_event(self, event):
            log.append(f"{self.name} waits for {event.number}")

    class Event:
        def record(self, stream):
            self.number = sum("ends" in each for each in log)
            log.append(f"{self.number} ends on {stream.name}")

    class Current:
        def __init__(self, stream):
            self.stream = stream

        def __enter__(self):
            log.append(f"to {self.stream.name}")

        def __exit__(self, *_):
            log.append(f"from {self.stream.name}")

    main = Stream("main")
    fake = SimpleNamespace(
        Stream=lambda device: Stream("side"), Event=Event, stream=Current,
        default_stream=lambda device: main, current_stream=lambda device: main, current_device=lambda: 1,
    )  # fmt: skip
    monkeypatch.setattr(torch, "cuda", fake)
    monkeypatch.setattr(
        PoseBatch, "record_stream", lambda batch, stream: log.append(f"kept for {stream.name}")
    )
    return log


def test_each_batch_is_waited_for_and_kept(calls):
    batch = PoseBatch(*(torch.zeros(1) for _ in range(4)))
    side = SideStream(torch.device("cpu", 0))

    def draw():
        for _ in range(2):
            calls.append("drawn")
            yield {"clean": batch, "noisy": batch}

    for drawn in side.draw(draw()):
        calls.append("taken")
        assert side.take(drawn).keys() == {"clean", "noisy"}
    begin, end = ["side waits for all of main", "to side"], ["from side"]
    of_each = [
        ["drawn", f"{i} ends on side", "taken", f"main waits for {i}", "kept for main", "kept for main"]
        for i in range(2)
    ]
    assert calls == begin + of_each[0] + of_each[1] + end


def test_the_thread_that_draws_has_the_device_of_the_one_that_trains(calls, monkeypatch):
    """Not its own current one, which is the first."""
    asked = []
    main = torch.cuda.default_stream(None)
    monkeypatch.setattr(torch.cuda, "default_stream", lambda device: asked.append(device) or main)
    assert not list(SideStream(torch.device("cuda")).draw([]))
    assert asked == [torch.device("cuda", 1)]
