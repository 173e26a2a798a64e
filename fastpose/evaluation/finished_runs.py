"""Finished runs as their folders tell of them: settings, accuracies, time of training."""

import csv
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fastpose.evaluation.curves import Curve, mean_corruption_accuracy, read_curves
from fastpose.evaluation.families import read_families
from fastpose.settings import RunConfig
from fastpose.settings.checks import is_changed, require
from fastpose.settings.files import by_dotted_name, from_file
from fastpose.weights.runs import BY_FAMILY, COMPLETE, CONFIG, METRICS


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """What the folder of a run says.

    Attributes:
        folder: where it is.
        settings: all of them, by dotted name.
        curve: accuracy by noise level.
        mca_percent: mean corruption accuracy; None where Gaussian noise alone was measured.
        train_s: seconds of all epochs; None where there are no metrics.
    """

    folder: Path
    settings: dict[str, object]
    curve: Curve
    mca_percent: float | None
    train_s: float | None


def find_finished(
    folder: Path, note: Callable[[str], object], names: Sequence[str] | None = None
) -> list[FinishedRun]:
    """Return the finished runs in a folder, at any depth, in the order of their paths.

    Args:
        folder: a run, or what holds runs.
        note: is given a sentence for each run that is unfinished or damaged, and so left out.
        names: of the folders directly in it that count; None for all runs.

    Raises:
        ValueError: the folder is not there, or holds no finished run.
    """
    require(folder.is_dir(), f"{folder}: no such folder; expected one that holds runs of fastpose train")
    runs = []
    paths = folder.rglob(CONFIG) if names is None else (folder / name / CONFIG for name in names)
    for path in sorted(paths):
        try:
            runs.append(read_run(path.parent, note))
        except (OSError, ValueError) as error:
            note(f"left out: {error}")
    require(bool(runs), f"{folder}: holds no finished run, which is a folder with {CONFIG} and {COMPLETE}")
    return runs


def read_run(folder: Path, note: Callable[[str], object]) -> FinishedRun:
    """Read a finished run; ``note`` is given what is odd about it.

    Raises:
        ValueError: it is unfinished, a file of it is damaged, or its files do not fit each other.
        OSError: a file cannot be read.
    """
    require((folder / COMPLETE).exists(), f"{folder}: is unfinished, it has no {COMPLETE}")
    config = from_file(folder / CONFIG)
    curves = read_curves(folder / COMPLETE)
    require(len(curves) == 1, f"{folder / COMPLETE}: holds {len(curves)} runs, expected one")
    curve = next(iter(curves.values()))
    _check_levels(folder / COMPLETE, curve, config)
    mca = _read_mca(folder / BY_FAMILY, config, note)
    return FinishedRun(folder, by_dotted_name(config), curve, mca, _read_train_s(folder / METRICS, config))


def _check_levels(path: Path, curve: Curve, config: RunConfig) -> None:
    """Refuse a curve that is not at the levels of the settings: it is older than these, or cut off."""
    measured, wanted = _levels(curve), _levels(config.eval.alphas)
    require(measured == wanted, f"{path}: holds α = {measured}, expected {wanted} by its {CONFIG}")


def _levels(alphas: Iterable[float]) -> str:
    return ", ".join(f"{alpha:g}" for alpha in sorted(alphas))


def _read_mca(path: Path, config: RunConfig, note: Callable[[str], object]) -> float | None:
    if not is_changed(config.eval, "families"):
        if path.exists():  # the run was measured anew, without them
            note(f"{path} is not read, since its {CONFIG} names no noise families to measure")
        return None
    runs = read_families(path)
    require(len(runs) == 1, f"{path}: holds {len(runs)} runs, expected one")
    families = next(iter(runs.values()))
    held, wanted = ", ".join(sorted(families)), ", ".join(sorted(config.eval.families))
    require(held == wanted, f"{path}: holds the families {held}, expected {wanted} by its {CONFIG}")
    for curve in families.values():
        _check_levels(path, curve, config)
    return mean_corruption_accuracy(families)


def _read_train_s(path: Path, config: RunConfig) -> float | None:
    """Return the seconds of all epochs, validations not counted; None where there are no metrics.

    Raises:
        ValueError: the metrics are damaged, or are not of all epochs, as in a run that was gone on with.
    """
    if not path.exists():
        return None
    try:
        with open(path, newline="", encoding="utf-8") as file:
            seconds = [float(row["epoch_s"]) for row in csv.DictReader(file)]
        if not all(0 <= each < math.inf for each in seconds):
            raise ValueError("seconds that are negative or not finite")
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise ValueError(f"{path}: is no table of epochs with their seconds, epoch_s ({error!r})") from error
    done, planned = len(seconds), config.optim.epochs
    may_end_early = config.optim.patience > 0
    require(
        done == planned or (may_end_early and 0 < done < planned),
        f"{path}: holds {done} epochs, expected {planned} by its {CONFIG}",
    )
    return sum(seconds)
