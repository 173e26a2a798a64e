"""The folder of a run: its settings, when it may be gone on with, and the one process that writes it."""

import json
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from fastpose.settings import RunConfig
from fastpose.settings.files import by_dotted_name, from_file, to_json
from fastpose.settings.identity import settings_hash
from fastpose.system.environment import describe
from fastpose.system.files import write_text
from fastpose.system.lock import LOCK, locked_folder
from fastpose.system.placement import Placement
from fastpose.training.checkpoint import CHECKPOINT, read_checkpoint
from fastpose.training.schedules import depends_on_epochs
from fastpose.weights.runs import CONFIG, ENVIRONMENT, WEIGHTS


def check_folder(
    folder: Path,
    config: RunConfig,
    *,
    resume: bool,
    overwrite: bool,
    may_differ: Collection[str] = (),
) -> None:
    """Refuse a run folder that exists, unless it is to be overwritten, or resumed with settings that allow it.

    A run may be resumed with another number of epochs, and measured in another way; and with others of the settings
    ``may_differ``, by their dotted names.

    Raises:
        ValueError: it exists, its settings are not ``config``, they cannot be read, or another process works in it.
    """
    if not folder.exists():
        return
    if not (resume or overwrite):
        raise _exists(folder)
    with locked_folder(folder):  # or refused
        pass
    if overwrite or not (folder / CONFIG).exists():
        return
    if changed := _differences(from_file(folder / CONFIG), config, may_differ):
        raise ValueError(
            f"{folder}: its settings differ in {', '.join(changed)}; --resume needs the same ones"
        )
    if (folder / WEIGHTS).exists() and not (folder / CHECKPOINT).exists():
        raise ValueError(
            f"{folder}: is finished, and has no {CHECKPOINT} to go on from; fastpose evaluate measures it again"
        )


def _exists(folder: Path) -> ValueError:
    return ValueError(f"{folder} exists; use --resume to go on, --overwrite to start anew, or another --out")


def told_apart(
    plan: Mapping[str, RunConfig], out: Path, *, resume: bool
) -> tuple[dict[str, RunConfig], list[str]]:
    """Return the runs of ``plan`` under names that no run of other settings has in ``out``, and what to say of it.

    So any grid of settings fits one folder: where a name is taken, a hash of the settings stands before the seed.
    With ``resume`` only where there is such a run to go on with.
    """
    named, said = {}, []
    for name, config in plan.items():
        taken = _taken_by(out / name, config)
        if taken:
            stem, _, seed = name.rpartition("-")
            other = f"{stem}-{settings_hash(config, config.data.data)}-{seed}"
            if resume:  # with other epochs than it was begun with, as it may be
                others = sorted(out.glob(f"{stem}-*-{seed}"))
                other = next((path.name for path in others if _taken_by(path, config) == ""), None)
            if other is not None:
                said.append(f"{name} is a run with other settings ({taken}); this one is {other}")
                name = other
        named[name] = config
    return named, said


def _taken_by(folder: Path, config: RunConfig) -> str | None:
    """Return in what the settings of the run in ``folder`` differ from ``config``, empty where it could go on so.

    None where there is no run, or one whose settings cannot be read.
    """
    try:
        return ", ".join(_differences(from_file(folder / CONFIG), continued(folder, config)[0]))
    except ValueError:
        return None


def _differences(written: RunConfig, wanted: RunConfig, may_differ: Collection[str] = ()) -> list[str]:
    """Return the settings in which a run differs from what it is to go on with, but for those that may."""
    there, here = by_dotted_name(written), by_dotted_name(wanted)
    return [
        f"{name} ({there[name]!r} there)"
        for name in here
        if there[name] != here[name] and name not in may_differ and not _may_change(name, wanted)
    ]


def _may_change(name: str, config: RunConfig) -> bool:
    """Return whether a setting may differ in a run that goes on: it has no part in what was trained so far."""
    if name == "eval.denoise":
        return not config.optim.val_every  # validations filter too, and may end a run
    return name == "optim.epochs" or name.startswith("eval.")


def continued(folder: Path, config: RunConfig) -> tuple[RunConfig, list[str]]:
    """Return the settings with which the run in ``folder`` goes on as ``config`` asks, and what to say of them.

    A batch size that was found, threads that are not asked for, and the warm-up of a run whose number of epochs
    changes, are those it was begun with.
    A run is never taken back to fewer epochs than it has done.
    """
    if not (folder / CONFIG).exists():
        return config, []
    written, optim = from_file(folder / CONFIG).optim, config.optim
    said = []
    if optim.batch_size == "auto":
        optim = replace(optim, batch_size=written.batch_size)
    if optim.threads is None:
        optim = replace(optim, threads=written.threads)
    if optim.epochs != written.epochs and (folder / CHECKPOINT).exists():
        done = int(read_checkpoint(folder)["epochs_done"])
        if done >= optim.epochs:
            epochs = done
            said.append(
                f"{done} epochs are done, of the {optim.epochs} asked for: it is measured again, and not trained"
            )
        else:
            epochs = optim.epochs
            if depends_on_epochs(optim.schedule):
                said.append(
                    f"schedule = {optim.schedule!r} was planned for {written.epochs} epochs; from epoch {done} on its "
                    f"learning rate is that of {epochs}, and the result not that of a run planned so from the start"
                )
        if optim.warmup_epochs != written.warmup_epochs:
            said.append(f"warmup_epochs stays {written.warmup_epochs:g}, with which it was begun")
        optim = replace(optim, epochs=epochs, warmup_epochs=written.warmup_epochs)
    return replace(config, optim=optim), said


@contextmanager
def open_folder(folder: Path, config: RunConfig, *, resume: bool, overwrite: bool) -> Iterator[None]:
    """Hold the folder of a run, with its settings and environment, for this process alone.

    What it held goes if ``overwrite``.

    Raises:
        ValueError: it exists, and is neither to be resumed nor overwritten; or another process is at work in it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=resume or overwrite)
    except FileExistsError:
        raise _exists(folder) from None
    with locked_folder(folder):
        if overwrite:
            _clear(folder)
        write_text(folder / CONFIG, to_json(config))
        placement = Placement.choose(config.optim.device, config.optim.precision)
        environment = {**describe(), "placement": str(placement)}
        write_text(folder / ENVIRONMENT, json.dumps(environment, indent=2) + "\n")
        yield


def _clear(folder: Path) -> None:
    """Delete what is in a folder but its lock."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != LOCK:
            path.unlink()
