"""Clips of a run scored by several processes, each on one thread, where that takes less time than threads do."""

import multiprocessing
import os
import pickle
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from fastpose.data.pack.packed import PackedClips
from fastpose.data.synthetic.builtin import open_clips
from fastpose.evaluation.scores import ClipScores, count_levels, score_families
from fastpose.models.inputs.protocol import PoseModule
from fastpose.models.quantized import quantized
from fastpose.models.registry import MODELS, register_model
from fastpose.settings import EvalConfig, SamplingConfig
from fastpose.system.memory import available_memory
from fastpose.system.placement import Placement
from fastpose.system.signals import ctrl_c_held, sigterm_leaves
from fastpose.weights.runs import load_model

LOOK_SECONDS = 1.0  # after which it is known how fast clips are scored
LONG_SECONDS = 15.0  # of scoring that make up for some 3 s in which processes start
PROCESS_BYTES = 1.5e9  # of one, with torch, a model and what it computes

FamilyScores = dict[str, ClipScores]
Sent = dict[str, tuple[np.ndarray, dict[float, np.ndarray]]]  # labels, and scores by level, by family
OnBatch = Callable[[int], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoringJob:
    """What a process has to know to score clips of a run.

    Attributes:
        run: its folder or weights file.
        data: the packed file of the clips, or "synthetic".
        size: height and width of the input where they are others than in training.
        sampling, settings, families, seed, placement: as for ``score_families``.
        factory: makes the model where it is one of a user's own.
    """

    run: Path
    data: str
    size: tuple[int, int] | None
    sampling: SamplingConfig
    settings: EvalConfig
    families: tuple[str, ...]
    seed: int
    placement: Placement
    model_name: str
    factory: Callable[..., PoseModule] | None

    def parts(self, indices: np.ndarray) -> list[np.ndarray]:
        """Cut the clips so that each batch is one of those in which they would be scored together, at any levels."""
        clips = self.settings.eval_batch_size
        return [indices[begin : begin + clips] for begin in range(0, len(indices), clips)]


class Scorer:
    """Scores clips as a job says, whose model it loads, and whose clips it opens where it is not given them."""

    def __init__(self, job: ScoringJob, packed: PackedClips | None = None) -> None:
        if job.factory is not None and job.model_name not in MODELS:
            register_model(job.model_name, job.factory)
        model, self._card = load_model(job.run, size=job.size)
        model = job.placement.place(model)
        self._model = quantized(model) if job.placement.dtype == torch.int8 else model
        self._packed = self._card.clips(open_clips(job.data)) if packed is None else packed
        self._job = job

    def __call__(self, indices: np.ndarray, on_batch: OnBatch = lambda clips: None) -> FamilyScores:
        """Return the scores of some clips by noise family."""
        job = self._job
        sampling = replace(job.sampling, max_persons=self._card.max_persons)
        return score_families(
            self._model, self._packed, indices, sampling, job.settings, families=job.families, seed=job.seed,
            placement=job.placement, prior=self._card.prior, on_batch=on_batch,
        )  # fmt: skip


def score_run(
    job: ScoringJob,
    packed: PackedClips,
    indices: np.ndarray,
    *,
    processes: int | None = 1,
    on_batch: OnBatch = lambda clips: None,
) -> FamilyScores:
    """Score clips of a run, in one process or several, which come to the same scores but for rounding.

    Args:
        job: what is scored, and how.
        packed: the job's clips, in the model's layout.
        indices: of those to score, int64 [N].
        processes: how many; None for as many as there are threads where that is faster, by the time of the first clips.
        on_batch: is called with the number of clips × levels scored.

    Raises:
        ValueError: as ``score_families``; or a process has ended.
    """
    scorer, parts = Scorer(job, packed), job.parts(indices)
    if processes is None and (job.placement.device.type != "cpu" or torch.get_num_threads() == 1):
        processes = 1
    if processes != 1 and getattr(multiprocessing.current_process(), "_inheriting", False):
        raise ValueError(
            "a script that scores clips in several processes keeps what it does under if __name__ == '__main__', since "
            "each of them imports it; jobs = 1 scores them in one"
        )
    if processes is not None:
        return score_apart(job, parts, processes, on_batch) if processes > 1 else scorer(indices, on_batch)
    found: list[FamilyScores] = []
    started = seconds = 0.0
    while parts and (len(found) < 2 or seconds < LOOK_SECONDS):  # the first one warms up
        found.append(scorer(parts.pop(0), on_batch))
        seconds = time.perf_counter() - started if len(found) > 1 else 0.0
        started = started or time.perf_counter()
    if parts:
        left = len(parts) * seconds / (len(found) - 1)
        processes = processes_that_fit(job, len(parts)) if left > LONG_SECONDS else 1
        if processes > 1:
            found.append(score_apart(job, parts, processes, on_batch))
        else:
            found.append(scorer(np.concatenate(parts), on_batch))
    return _joined(found)


def processes_that_fit(job: ScoringJob, parts: int) -> int:
    """Return how many processes there are threads, parts and memory for; 1 where they cannot be given the model."""
    try:
        pickle.dumps(job)
        room = int(available_memory(job.placement.device) / PROCESS_BYTES)
    except (pickle.PicklingError, AttributeError, TypeError):  # a model of no module
        return 1
    except ValueError:  # a system that does not say
        room = parts
    return max(1, min(torch.get_num_threads(), parts, room))


def score_apart(
    job: ScoringJob, parts: list[np.ndarray], processes: int, on_batch: OnBatch = lambda clips: None
) -> FamilyScores:
    """Score parts of clips in processes of their own.

    Raises:
        ValueError: as ``score_families``; a process has ended, or cannot be given the model.
    """
    try:
        pickle.dumps(job)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ValueError(
            f"model {job.model_name!r}: other processes cannot be given it ({error}); expected a class or function of "
            "a module, or --jobs 1"
        ) from error
    levels = count_levels(job.settings.alphas, job.families)
    context = multiprocessing.get_context("spawn")  # a fork would lack the threads of torch
    before = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(min(processes, len(parts)), context, _begin, (job,))
    try:
        with sigterm_leaves():
            with ctrl_c_held():
                begun = {pool.submit(_score, part): len(part) for part in parts}
            for future in as_completed(begun):
                future.result()
                on_batch(levels * begun[future])
        return _joined([_tensors(future.result()) for future in begun])
    except BaseException as error:
        for process in set(multiprocessing.active_children()) - before:
            process.terminate()
        if isinstance(error, BrokenProcessPool):
            raise ValueError(
                "a process that scored clips has ended, as where the memory is used up; --jobs 1 scores them in one"
            ) from error
        raise
    finally:
        pool.shutdown(cancel_futures=True)


class _Own:
    """What a process that scores clips has of its own."""

    job: ScoringJob
    scorer: Scorer | None = None


def _begin(job: ScoringJob) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # the process that asks has warned
    _Own.job = job


def _end_with_parent() -> None:
    """End this process when the one that asks is killed, which nothing else would tell it."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)


def _score(indices: np.ndarray) -> Sent:
    """Score clips in a process of its own; tensors would be sent through files."""
    _Own.scorer = _Own.scorer or Scorer(_Own.job)
    found = _Own.scorer(indices)
    return {
        family: (
            scores.labels.cpu().numpy(),
            {alpha: level.cpu().numpy() for alpha, level in scores.by_alpha.items()},
        )
        for family, scores in found.items()
    }


def _tensors(sent: Sent) -> FamilyScores:
    return {
        family: ClipScores(
            torch.from_numpy(labels), {alpha: torch.from_numpy(level) for alpha, level in levels.items()}
        )
        for family, (labels, levels) in sent.items()
    }


def _joined(parts: list[FamilyScores]) -> FamilyScores:
    """Return the scores of all parts, one after another."""
    return {
        family: ClipScores(
            torch.cat([part[family].labels for part in parts]),
            {
                alpha: torch.cat([part[family].by_alpha[alpha] for part in parts])
                for alpha in parts[0][family].by_alpha
            },
        )
        for family in parts[0]
    }
