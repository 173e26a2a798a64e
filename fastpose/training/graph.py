"""A training step as one CUDA graph: everything that it launches, replayed by one call."""

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fastpose.system.memory import is_out_of_memory
from fastpose.training.task import PoseTask, Views

Step = Callable[[Views, int], dict[str, Tensor]]
EAGER_STEPS = 3  # in which kernels are compiled and libraries find their algorithms


class GraphedStep:
    """Runs ``step`` as it is a few times, then captures it, and from then on replays what was captured.

    There is a graph for each shape of the batch and each phase of the loss; they share their memory. Where one
    cannot be captured, such steps go on being launched one by one, which is said once of each.

    Args:
        step: takes a batch's views and an epoch, and returns tensors. It must not read anything on the host that
            the device computes. It works on all of its state in place.
        task: says which phase of the loss an epoch is in.
        capture: runs a function for recording, and returns what it returned and a function to replay it.
    """

    def __init__(
        self, step: Step, task: PoseTask, capture: "Callable[[Callable], tuple[Any, Callable]] | None" = None
    ) -> None:
        self._step, self._task = step, task
        self._capture = capture or Capture()
        self._graphs: dict[tuple, tuple[Views, dict[str, Tensor], Callable[[], None]]] = {}
        self._runs: dict[tuple, int] = {}
        self.failed: set[tuple] = set()  # shapes and phases without a graph

    def __call__(self, batches: Views, epoch: int) -> dict[str, Tensor]:
        """Return what ``step`` returns; the caller's own dictionary, whose tensors the next call overwrites."""
        phase = self._task.phase(epoch)
        key = (phase, *((view, *batch.keypoints.shape) for view, batch in batches.items()))
        self._runs[key] = self._runs.get(key, 0) + 1
        if key in self.failed or self._runs[key] <= EAGER_STEPS:
            return self._step(batches, epoch)
        if key not in self._graphs and not self._try_to_capture(key, batches, phase):
            return self._step(batches, epoch)
        inputs, result, replay = self._graphs[key]
        for view, batch in batches.items():
            inputs[view].copy_(batch)
        replay()
        return dict(result)

    def _try_to_capture(self, key: tuple, batches: Views, phase: int) -> bool:
        inputs = {view: batch.clone() for view, batch in batches.items()}
        try:
            result, replay = self._capture(lambda: self._step(inputs, phase))
        except Exception as error:
            if is_out_of_memory(error):
                raise
            self.failed.add(key)
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            shape = list(next(iter(batches.values())).keypoints.shape)
            warnings.warn(
                f"steps on keypoints {shape} from epoch {phase} on cannot be captured as a CUDA graph ({reason}); "
                "they go on without one",
                stacklevel=3,
            )
            return False
        self._graphs[key] = inputs, result, replay
        return True


class Capture:
    """Captures functions as CUDA graphs in one pool of memory."""

    def __init__(self) -> None:
        self._pool: Any = None

    def __call__(self, function: Callable[[], Any]) -> tuple[Any, Callable[[], None]]:
        """Record ``function``, which does not run; return what it returns and how to run it."""
        graph = torch.cuda.CUDAGraph()
        # Only this thread: the one that draws the next batches goes on launching.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            result = function()
        self._pool = graph.pool()
        return result, graph.replay
