"""A search by Optuna: which trials there are, what one does, and what it is judged by."""

import csv
import hashlib
import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fastpose.data.pack.splits import select_clips
from fastpose.settings import RunConfig
from fastpose.settings.checks import require
from fastpose.settings.identity import DIGITS
from fastpose.sweeps.grid import Grid, Range
from fastpose.sweeps.job import Ended
from fastpose.sweeps.packages import optuna_package
from fastpose.sweeps.plan import Clips, SweptRun, sweep_run
from fastpose.sweeps.run_job import TrainingJob
from fastpose.system.errors import error_sentence
from fastpose.system.lock import FolderInUseError, locked_folder
from fastpose.training.front_end_choice import HELD_OUT
from fastpose.training.trainer import OnEpoch
from fastpose.weights.runs import METRICS

COLUMN = "val_top1_percent"  # of the metrics: the mean over the noise levels of a validation
VALIDATIONS = 10  # of a run whose settings name no number of epochs between them
UNPRUNED_TRIALS = 5  # that are complete before others are pruned
UNPRUNED_SHARE = 5  # every such share of the epochs passes before a trial may be pruned
RUNS = "runs"  # names of a trial's runs, among its attributes
INSTEAD_OF = "instead_of"  # number of the trial that was cut, and that this one goes on with
WAIT_SECONDS = 60.0  # for others that ask for a trial at the same time
LOOK_SECONDS = 0.5  # from one look whether a run is free to the next


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """A search for the settings that are best on held-out clips.

    Attributes:
        grid: what is searched.
        folder: of the study.
        name: of the study: that of the grid's file, and a hash of what it searches.
        trials: how many there are to be, of all processes.
    """

    grid: Grid
    folder: Path
    name: str
    trials: int

    @classmethod
    def begin(cls, grid: Grid, folder: Path, trials: int, clips: Clips) -> "Search":
        """Return the search of a grid whose study lies in ``folder``.

        Raises:
            ValueError: there is nothing to choose, or settings refuse the end of a range or a value of a list.
        """
        require(
            any(isinstance(values, Range) or len(values) > 1 for values in grid.values.values()),
            f"{grid.path}: names one value for each setting; expected ranges, or lists to choose from, to search",
        )
        unnamed = cls(grid=grid, folder=folder, name="", trials=trials)
        corners = [swept.run.name for swept in unnamed.corners(clips)]
        ranges = {name: repr(values) for name, values in grid.values.items() if isinstance(values, Range)}
        content = json.dumps([corners, ranges, grid.seeds], sort_keys=True)
        name = f"{grid.path.stem}-{hashlib.sha256(content.encode()).hexdigest()[:DIGITS]}"
        return replace(unnamed, name=name)

    def corners(self, clips: Clips) -> list[SweptRun]:
        """Return the runs of the first seed at the ends of ranges and for each value of lists, one name at a time.

        Raises:
            ValueError: as ``runs``.
        """
        return [self.runs(choice, clips)[0] for choice in self.grid.corners()]

    def runs(self, choice: Mapping[str, Any], clips: Clips) -> list[SweptRun]:
        """Return the runs of a choice, one for each seed, whose accuracy held-out clips alone tell.

        Where its settings hold none out, a sixth of the training clips is; where they ask for no validations, there are
        about ten.

        Raises:
            ValueError: settings refuse the choice, or the clips do.
        """
        found = []
        for seed in self.grid.seeds:
            config, _ = self.grid.settle(choice, seed)
            try:
                config = _validated(config, clips)
            except (ValueError, OSError) as error:
                raise ValueError(self.grid.place(error, choice)) from error
            found.append(sweep_run(self.grid, config, choice, clips))
        return found

    @property
    def journal(self) -> Path:
        """The file that Optuna keeps the study in."""
        return self.folder / f"{self.name}.journal"

    def lock_of(self, number: int) -> Path:
        """Return the folder that the process at work on a trial holds, made where it is not there."""
        folder = self.folder / f"{self.name}-trials" / str(number)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def choose(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return a value for each name from the parameters of a trial, and from the grid where it has but one."""
        choice = {}
        for name, values in self.grid.values.items():
            if isinstance(values, Range):
                choice[name] = parameters[name]
            else:
                choice[name] = values[int(parameters[name]) if len(values) > 1 else 0]
        return choice

    def spaces(self) -> dict[str, Any]:
        """Return Optuna's distributions of the names that have more than one value; a list's are its places."""
        distributions = optuna_package().distributions
        found: dict[str, Any] = {}
        for name, values in self.grid.values.items():
            if not isinstance(values, Range):
                if len(values) > 1:
                    places = [str(place) for place in range(len(values))]
                    found[name] = distributions.CategoricalDistribution(places)
            elif isinstance(values.low, int):
                step = 1 if values.step is None else values.step
                found[name] = distributions.IntDistribution(values.low, values.high, values.log, step)
            else:
                found[name] = distributions.FloatDistribution(
                    values.low, values.high, values.log, values.step
                )
        return found

    def open_study(self) -> Any:
        """Open the study, which is made where it is not there.

        Raises:
            ValueError: its journal is damaged.
        """
        optuna = optuna_package()
        self.folder.mkdir(parents=True, exist_ok=True)
        path = str(self.journal.absolute())  # a lock beside it is a link, which a relative path would mislead
        journal = optuna.storages.journal
        try:
            backend = journal.JournalFileBackend(path)
            with _held(journal.JournalFileSymlinkLock(path)):
                _cut_half_line(self.journal)
            storage = optuna.storages.JournalStorage(backend)
            study = optuna.create_study(
                study_name=self.name, storage=storage, direction="maximize", load_if_exists=True
            )
            study.get_trials(deepcopy=False)
        except OSError:
            raise
        except Exception as error:  # whatever damage leads to
            raise ValueError(f"{self.journal}: is no journal of Optuna ({error!r}); delete it") from error
        return study


@contextmanager
def _held(lock: Any) -> Iterator[None]:
    """Hold one of Optuna's locks."""
    lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _cut_half_line(journal: Path) -> None:
    """Delete what follows the last line, as a full disk leaves it, to which Optuna would append the next."""
    with open(journal, "rb+") as file:
        content = file.read()
        file.truncate(content.rfind(b"\n") + 1)


def _validated(config: RunConfig, clips: Clips) -> RunConfig:
    data, optim = config.data, config.optim
    train, _ = select_clips(clips.opened(data), replace(data, val_clips=0, test_on="test"))
    data = replace(data, val_clips=data.val_clips or max(1, len(train) // HELD_OUT), test_on="val")
    optim = replace(optim, val_every=optim.val_every or max(1, optim.epochs // VALIDATIONS))
    return replace(config, data=data, optim=optim)


def counted(study: Any) -> list[Any]:
    """Return the trials of a study, but for those that were cut, and that others go on with."""
    trials = study.get_trials(deepcopy=False)
    cut = {trial.user_attrs.get(INSTEAD_OF) for trial in trials}
    return [trial for trial in trials if trial.number not in cut]


def in_state(trials: list[Any], name: str) -> list[Any]:
    """Return the trials in a state of Optuna, such as "PRUNED"."""
    return [trial for trial in trials if trial.state.name == name]


def claim_trial(search: Search, held: ExitStack) -> tuple[Any, Any] | None:
    """Return the study and a trial that no other process has, until ``held`` is closed; None where there are enough.

    Trials that a process left unfinished are told failed; others with their parameters, whose runs go on, come first.
    """
    optuna = optuna_package()
    search.folder.mkdir(parents=True, exist_ok=True)
    with _waiting_for(search.folder):
        study = search.open_study()
        for trial in in_state(counted(study), "RUNNING"):
            try:
                with locked_folder(search.lock_of(trial.number)):
                    pass
            except FolderInUseError:
                continue
            study.enqueue_trial(trial.params, user_attrs={INSTEAD_OF: trial.number})
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        trials = counted(study)
        if len(trials) >= search.trials and not in_state(trials, "WAITING"):
            return None
        # by its number, so that a search one by one can be repeated
        study.sampler = optuna.samplers.TPESampler(seed=len(study.get_trials(deepcopy=False)))
        trial = study.ask(search.spaces())
        held.enter_context(locked_folder(search.lock_of(trial.number)))
        return study, trial


@contextmanager
def _waiting_for(folder: Path) -> Iterator[None]:
    """Hold a folder's lock as soon as others let go of it, who never have it for long."""
    until = time.monotonic() + WAIT_SECONDS
    while True:
        with ExitStack() as held:
            try:
                held.enter_context(locked_folder(folder))
            except FolderInUseError:
                if time.monotonic() > until:
                    raise
            else:
                yield
                return
        time.sleep(0.05)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialJob(TrainingJob):
    """Takes one trial of a search, and trains its runs, one for each seed."""

    search: Search

    def work(self, told_to_end: threading.Event) -> Ended:
        optuna = optuna_package()
        states = optuna.trial.TrialState
        with ExitStack() as held:
            claimed = claim_trial(self.search, held)
            if claimed is None:
                return Ended("nothing")
            study, trial = claimed
            choice = self.search.choose(trial.params)
            title = f"trial {trial.number} ({self.search.grid.describe(choice)})"
            try:
                score = self._score(study, trial, choice, told_to_end)
            except optuna.TrialPruned:
                study.tell(trial, state=states.PRUNED)
                return Ended("pruned", f"{title}: pruned")
            except (
                OSError
            ) as error:  # such as a full disk: no fault of the settings, so the trial is to go on
                raise ValueError(f"{title}: {error_sentence(error)}") from error
            except Exception as error:
                study.tell(trial, state=states.FAIL)
                if isinstance(error, ValueError):
                    raise ValueError(f"{title}: {error}") from error
                raise
            study.tell(trial, score)
            return Ended("done", f"{title}: {score:.2f} %")

    def _score(
        self, study: Any, trial: Any, choice: Mapping[str, Any], told_to_end: threading.Event
    ) -> float:
        """Return the mean over seeds of what ``read_score`` finds; the first seed's validations may prune the trial."""
        swept = self.search.runs(choice, Clips())
        trial.set_user_attr(RUNS, [each.run.name for each in swept])
        epochs = swept[0].run.config.optim.epochs
        optuna = optuna_package()
        study.pruner = optuna.pruners.MedianPruner(UNPRUNED_TRIALS, epochs // UNPRUNED_SHARE)
        told: set[int] = set()
        report = partial(_report, trial, told)
        for epoch, score in read_scores(self.out / swept[0].run.name):  # of a run that was cut
            report(epoch, score)

        def on_epoch(row: Mapping[str, float | int]) -> None:
            if COLUMN not in row:
                return
            report(int(row["epoch"]), row[COLUMN])
            if row["epoch"] + 1 < epochs and trial.should_prune():
                raise optuna.TrialPruned

        scores = []
        for each in swept:
            self._train_once_free(each, told_to_end, on_epoch if each is swept[0] else lambda row: None)
            scores.append(read_score(self.out / each.run.name, each.run.config))
        return float(np.mean(scores))

    def _train_once_free(self, swept: SweptRun, told_to_end: threading.Event, on_epoch: OnEpoch) -> None:
        """Train a run as soon as no other trial, of the same settings, is at it."""
        while True:
            try:
                return self.train(swept, told_to_end, on_epoch)
            except FolderInUseError:
                if told_to_end.wait(LOOK_SECONDS):
                    raise KeyboardInterrupt from None


def _report(trial: Any, told: set[int], epoch: int, score: float) -> None:
    """Tell a trial the score of an epoch, unless it was told before."""
    if epoch not in told:
        told.add(epoch)
        trial.report(score, epoch)


def read_scores(folder: Path) -> list[tuple[int, float]]:
    """Return the epochs of a run that were validated, from 0, and their scores in percent; none without metrics."""
    try:
        with open(folder / METRICS, newline="", encoding="utf-8") as file:
            rows = [(int(row["epoch"]), row.get(COLUMN)) for row in csv.DictReader(file)]
            return [(epoch, float(score)) for epoch, score in rows if score]
    except (OSError, KeyError, TypeError, ValueError, csv.Error):
        return []


def read_score(folder: Path, config: RunConfig) -> float:
    """Return the score, in percent, of the weights that a run ended with: the last, or the best where it may end early.

    Raises:
        ValueError: its metrics have none.
    """
    scores = [score for _, score in read_scores(folder)]
    require(bool(scores), f"{folder / METRICS}: has no {COLUMN}")
    return max(scores) if config.optim.patience else scores[-1]
