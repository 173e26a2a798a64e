"""The runs of a grid: their settings, the folders named after these, and what is wrong before the first begins."""

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fastpose.data.denoising.denoiser import Denoiser
from fastpose.data.pack.fingerprint import fingerprint
from fastpose.data.pack.packed import PackedClips
from fastpose.data.pack.splits import select_clips
from fastpose.data.synthetic.builtin import open_clips
from fastpose.evaluation.metrics import majority_percent
from fastpose.reproduction.run_plan import PlannedRun
from fastpose.settings import DataConfig, RunConfig
from fastpose.settings.checks import require
from fastpose.settings.files import by_dotted_name
from fastpose.settings.identity import settings_hash
from fastpose.sweeps.grid import SEED, Grid
from fastpose.training.experiment import jobs_that_fit, plan_runs
from fastpose.training.setup import Setup
from fastpose.training.trainer import Trainer


class Clips:
    """The clips that runs name, each file opened once, and what runs need to know of them."""

    def __init__(self) -> None:
        self._opened: dict[str, PackedClips] = {}
        self._fingerprints: dict[str, str] = {}
        self._chances: dict[DataConfig, float] = {}

    def opened(self, data: DataConfig) -> PackedClips:
        """Return the clips of some settings."""
        if data.data not in self._opened:
            self._opened[data.data] = open_clips(data.data)
        return self._opened[data.data]

    def fingerprint(self, data: DataConfig) -> str:
        """Return a hash of the clips, wherever their file lies."""
        if data.data not in self._fingerprints:
            self._fingerprints[data.data] = fingerprint(self.opened(data))
        return self._fingerprints[data.data]

    def chance(self, data: DataConfig) -> float:
        """Return top-1, in percent, of always answering the largest class of the clips that are measured on."""
        if data not in self._chances:
            packed = self.opened(data)
            _, measured = select_clips(packed, data)
            require(len(measured) > 0, f"{data.data}: there are no clips to measure on")
            self._chances[data] = majority_percent(packed.labels[measured])
        return self._chances[data]


@dataclass(frozen=True, slots=True)
class SweptRun:
    """A run of a sweep, what was chosen for it, and what always answering the largest class would reach in percent."""

    run: PlannedRun
    choice: Mapping[str, Any]
    chance: float


def name_run(config: RunConfig, clips: Clips) -> PlannedRun:
    """Return a run whose folder is named after its settings and clips, so that any others have another."""
    (name,) = plan_runs(config, [config.arm], [config.seed])
    stem, _, seed = name.rpartition("-")
    settings = settings_hash(config, clips.fingerprint(config.data))
    return PlannedRun(name=f"{stem}-{settings}-{seed}", config=config)


def plan_grid(grid: Grid, clips: Clips) -> tuple[dict[str, SweptRun], list[str]]:
    """Return the runs of a grid by the names of their folders, and what is to note about them.

    Raises:
        ValueError: settings refuse a value, or clips cannot be opened or have not the splits that are named.
    """
    plan: dict[str, SweptRun] = {}
    notes: list[str] = []
    several = 0
    for choice in grid.choices():
        for seed in grid.seeds:
            config, said = grid.settle(choice, seed)
            swept = sweep_run(grid, config, choice, clips)
            notes += [*said, *config.idle_settings()]
            several += swept.run.name in plan
            plan.setdefault(swept.run.name, swept)
    if several:
        notes.append(
            f"{several} of {len(plan) + several} runs have the settings of others, and are not run twice"
        )
    return plan, list(dict.fromkeys(notes))


def sweep_run(grid: Grid, config: RunConfig, choice: Mapping[str, Any], clips: Clips) -> SweptRun:
    """Return the run of a choice of a grid.

    Raises:
        ValueError: as ``plan_grid``.
    """
    try:
        require(
            config.optim.batch_size != "auto",
            "batch_size = 'auto': expected a number, since a run's folder is named after its settings",
        )
        return SweptRun(name_run(config, clips), choice, clips.chance(config.data))
    except (ValueError, OSError) as error:
        raise ValueError(grid.place(error, choice)) from error


def check_runs(grid: Grid, runs: Iterable[SweptRun], clips: Clips, jobs: int, *, here: bool) -> int:
    """Return how many of ``jobs`` runs the memory holds at a time, with each of ``runs`` made ready as for training.

    Of runs that differ in seed, number of epochs and fractions of their objective alone, one is.

    Args:
        here: whether they are trained on this machine; where not, this is done on the CPU, and all are said to fit.

    Raises:
        ValueError: a run cannot be trained; the sentence names the file of the grid, and its values that vary.
    """
    checked = set()
    for swept in runs:
        config = swept.run.config
        key = _what_sets_up(config)
        if key in checked:
            continue
        checked.add(key)
        if not here:
            config = replace(config, optim=replace(config.optim, device="cpu", precision="auto"))
        packed = clips.opened(config.data)
        try:
            if (denoiser := Denoiser.open(config.eval.denoise)) is not None:
                denoiser.check_layout(packed.layout)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the run itself warns
                setup = Trainer(Setup(config, packed), Path(swept.run.name), quiet=True).setup
        except (ValueError, OSError) as error:
            raise ValueError(grid.place(error, swept.choice)) from error
        jobs = jobs_that_fit(setup, jobs) if here and jobs > 1 else jobs
    return max(jobs, 1)


def _what_sets_up(config: RunConfig) -> tuple[object, ...]:
    """Return the settings without those that no more than weigh terms and steps."""
    return tuple(
        (name, value)
        for name, value in by_dotted_name(config).items()
        if name.startswith(("data.", "model."))
        or not (isinstance(value, float) or name in (SEED, "optim.epochs", "optim.patience"))
    )
