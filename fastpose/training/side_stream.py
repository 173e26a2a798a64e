"""Batches drawn on a CUDA stream of their own, beside the step on the batch before."""

from collections.abc import Iterable, Iterator

import torch

from fastpose.training.task import Views


class SideStream:
    """Draws in one thread, on its own stream, what another thread takes on that thread's stream."""

    def __init__(self, device: torch.device) -> None:
        # A thread has a current device of its own, so that "cuda" would be another one in the thread that draws.
        self._device = torch.device("cuda", torch.cuda.current_device()) if device.index is None else device
        self._stream = torch.cuda.Stream(self._device)

    def draw(self, source: Iterable[Views]) -> Iterator[tuple[Views, torch.cuda.Event]]:
        """Yield the items of ``source``, whose kernels go to the side stream, each with the event of its end."""
        self._stream.wait_stream(torch.cuda.default_stream(self._device))  # which may have uploaded the clips
        with torch.cuda.stream(self._stream):
            for views in source:
                end = torch.cuda.Event()
                end.record(self._stream)
                yield views, end

    def take(self, drawn: tuple[Views, torch.cuda.Event]) -> Views:
        """Return on the device what was drawn; the current stream waits for it, and its memory for that stream."""
        views, end = drawn
        current = torch.cuda.current_stream(self._device)
        current.wait_event(end)
        views = {view: batch.to(self._device) for view, batch in views.items()}
        for batch in views.values():
            batch.record_stream(current)
        return views
