"""What is said of an experiment before its first run."""

import csv
from collections.abc import Mapping
from pathlib import Path

from fastpose.data.pack.splits import TEST_NAMES, TRAIN_NAMES, choose_split
from fastpose.settings import RunConfig
from fastpose.training.expected_time import expected_views, format_duration, seconds_at_once, seconds_per_view
from fastpose.training.setup import Setup
from fastpose.weights.runs import METRICS


def experiment_header(
    setup: Setup, plan: Mapping[str, RunConfig], out: Path, *, resume: bool = False, jobs: int = 1
) -> str:
    """Return lines on the data, model, runs, folder and expected time of a plan.

    Args:
        setup: of the first run.
        plan: the settings of each run, by the name of its folder in ``out``.
        resume: whether the epochs that are done there are not done again.
        jobs: runs at a time.
    """
    config, packed = setup.config, setup.packed
    names = choose_split(packed, config.data.train_split, TRAIN_NAMES), "held-out clips"
    if config.data.test_on == "test":
        names = names[0], choose_split(packed, config.data.test_split, TEST_NAMES)
    parameters = sum(parameter.numel() for parameter in setup.model.parameters())
    clips = setup.num_labelled + setup.num_unlabelled
    lines = {
        "data": f"{config.data.data}: {_count(clips, 'clip')} to train on ({names[0]}), "
        f"{len(setup.test_indices)} to measure on ({names[1]}), {_count(packed.num_classes, 'class', 'classes')}, "
        f"layout {packed.layout.name}",
        "labels": _labels(setup),
        "model": f"{config.model.model}, input {config.model.input}, {parameters:,} parameters, {setup.placement}",
        "runs": _runs(plan, setup),
        "folder": str(out),
        "time": _expected(setup, views_by_run(setup, plan, out if resume else None), jobs),
    }
    return "\n".join(f"{name:<8}{text}" for name, text in lines.items() if text)


def _labels(setup: Setup) -> str:
    """Return what to say of labels where few are used."""
    if not setup.config.data.few_labels:
        return ""
    labelled, others = setup.num_labelled, setup.num_unlabelled
    return f"of {_count(labelled, 'clip')}; {_count(others, 'other')} unlabelled, for arms that contrast or guess"


def _runs(plan: Mapping[str, RunConfig], setup: Setup) -> str:
    arms = list(dict.fromkeys(config.arm for config in plan.values()))
    seeds = list(dict.fromkeys(config.seed for config in plan.values()))
    kinds = f"{_count(len(arms), 'arm')} ({', '.join(arms)}) × {_count(len(seeds), 'seed')}"
    if len(plan) != len(arms) * len(seeds):
        kinds = f"{_count(len(plan), 'run')} of {kinds}"
    batch_size, clips = setup.config.optim.batch_size, len(setup.order)
    assert isinstance(batch_size, int)
    steps = len(setup.order.batches)
    text = (
        f"{kinds}, {_count(setup.config.optim.epochs, 'epoch')} of {_count(steps, 'step')} "
        f"on {_count(min(batch_size, clips), 'clip')}"
    )
    if setup.processes.size > 1:
        text += f", shared by {setup.processes.size} processes"
    if steps * batch_size < clips:
        text += "; the last clip, which would be alone, joins the batch before it"
    return text


def views_by_run(
    setup: Setup, plan: Mapping[str, RunConfig], begun: Path | None
) -> dict[str, tuple[float, float]]:
    """Return what each run of a plan has before it, to train and to be measured, as ``expected_views`` counts.

    ``setup`` is of any of them; ``begun`` is the folder in which they go on.
    """
    sizes = [len(part) for part in (setup.order, setup.test_indices, setup.val_indices)]
    return {
        name: expected_views(config, epochs_logged(begun / name) if begun else 0, *sizes)
        for name, config in plan.items()
    }


def _expected(setup: Setup, views: Mapping[str, tuple[float, float]], jobs: int) -> str:
    at_once = f", {jobs} runs at a time" if jobs > 1 else ""
    per_view = seconds_per_view(setup)
    if per_view is None:
        return f"as the bar of each run says after its first steps{at_once}"
    seconds = seconds_at_once((per_view * sum(parts) for parts in views.values()), jobs)
    if setup.processes.size > 1:
        shared = f"shared by {setup.processes.size} processes, without their exchange"
        return f"about {format_duration(seconds / setup.processes.size)}, by the time of a few clips in one, {shared}"
    return f"about {format_duration(seconds)}{at_once}, by the time of a few clips"


def epochs_logged(folder: Path) -> int:
    """Return how many epochs the metrics of a run hold, 0 where there are none, or none that can be read."""
    try:
        with open(folder / METRICS, newline="", encoding="utf-8") as file:
            return sum(1 for row in csv.DictReader(file) if int(row["epoch"]) >= 0)
    except (OSError, KeyError, TypeError, ValueError, csv.Error):
        return 0


def _count(number: int, one: str, several: str = "") -> str:
    return f"{number} {one if number == 1 else several or one + 's'}"
