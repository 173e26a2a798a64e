"""The folder of a run: its settings, when it may be gone on with, and the one process that writes it."""

import json
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from fastpose.data.pack.fingerprint import FORM
from fastpose.settings import RunConfig
from fastpose.settings.files import by_dotted_name, from_file, to_json
from fastpose.settings.identity import settings_hash
from fastpose.settings.json_text import read_json
from fastpose.system.environment import describe
from fastpose.system.files import write_text
from fastpose.system.lock import LOCK, locked_folder
from fastpose.system.placement import Placement
from fastpose.training.checkpoint import CHECKPOINT, has_checkpoint, read_checkpoint
from fastpose.training.schedules import depends_on_epochs
from fastpose.weights.runs import CONFIG, ENVIRONMENT, WEIGHTS

FINGERPRINT = "data_fingerprint"  # of the clips, in the environment of a run


def check_folder(
    folder: Path,
    config: RunConfig,
    *,
    resume: bool,
    overwrite: bool,
    clips: str | None = None,
    may_differ: Collection[str] = (),
) -> None:
    """Refuse a run folder that exists, unless it is to be overwritten, or resumed with settings that allow it.

    A run may be resumed with another number of epochs, measured in another way, and on the same clips in another file.

    Args:
        folder: of the run.
        config: its settings from here on.
        resume, overwrite: what is to become of what is there.
        clips: fingerprint of the clips; None where the folder's name tells them.
        may_differ: other settings that may, by their dotted names.

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
    if changed := _differences(folder, config, clips, may_differ):
        raise ValueError(
            f"{folder}: its settings differ in {', '.join(changed)}; --resume needs the same ones"
        )
    if (folder / WEIGHTS).exists() and not has_checkpoint(folder):
        raise ValueError(
            f"{folder}: is finished, and has no {CHECKPOINT} to go on from; fastpose evaluate measures it again"
        )


def _exists(folder: Path) -> ValueError:
    return ValueError(f"{folder} exists; use --resume to go on, --overwrite to start anew, or another --out")


def told_apart(
    plan: Mapping[str, RunConfig], out: Path, clips: str, *, resume: bool
) -> tuple[dict[str, RunConfig], list[str]]:
    """Return the runs of ``plan`` under names that no run of other settings has in ``out``, and what to say of it.

    So any grid of settings fits one folder: where a name is taken, a hash of the settings stands before the seed.
    With ``resume`` only where there is such a run to go on with. ``clips`` is the fingerprint of the clips.
    """
    named, said = {}, []
    for name, config in plan.items():
        taken = _taken_by(out / name, config, clips)
        if taken:
            stem, _, seed = name.rpartition("-")
            other = f"{stem}-{settings_hash(config, config.data.data)}-{seed}"
            if resume:  # with other epochs than it was begun with, as it may be
                others = sorted(out.glob(f"{stem}-*-{seed}"))
                other = next((path.name for path in others if _taken_by(path, config, clips) == ""), None)
            if other is not None:
                said.append(f"{name} is a run with other settings ({taken}); this one is {other}")
                name = other
        named[name] = config
    return named, said


def _taken_by(folder: Path, config: RunConfig, clips: str) -> str | None:
    """Return in what the settings of the run in ``folder`` differ from ``config``, empty where it could go on so.

    None where there is no run, or one whose settings cannot be read.
    """
    try:
        return ", ".join(_differences(folder, continued(folder, config)[0], clips))
    except ValueError:
        return None


def _differences(
    folder: Path, wanted: RunConfig, clips: str | None, may_differ: Collection[str] = ()
) -> list[str]:
    """Return the settings in which a run differs from what it is to go on with, but for those that may."""
    there, here = by_dotted_name(from_file(folder / CONFIG)), by_dotted_name(wanted)
    of_run = _fingerprint_of(folder)
    known = clips is not None and of_run is not None  # then the clips count, and not where they lie
    changed = [
        f"{name} ({there[name]!r} there)"
        for name in here
        if there[name] != here[name]
        and name not in may_differ
        and not _may_change(name, wanted)
        and not (known and name == "data.data")
    ]
    if known and clips != of_run:
        changed.append(f"data.data (other clips than {there['data.data']!r} held there)")
    return changed


def _fingerprint_of(folder: Path) -> str | None:
    """Return the fingerprint of the clips of a run, None where it is not known."""
    try:
        found = read_json(folder / ENVIRONMENT).get(FINGERPRINT)
    except (ValueError, AttributeError):
        return None
    return found if isinstance(found, str) and found.startswith(FORM) else None


def _may_change(name: str, config: RunConfig) -> bool:
    """Return whether a setting may differ in a run that goes on: it has no part in what was trained so far."""
    if name == "eval.denoise":
        return not config.optim.val_every  # validations filter too, and may end a run
    return name in ("optim.epochs", "optim.checkpoint_minutes") or name.startswith("eval.")


def continued(folder: Path, config: RunConfig) -> tuple[RunConfig, list[str]]:
    """Return the settings with which the run in ``folder`` goes on as ``config`` asks, and what to say of them.

    A batch size that was found, threads that are not asked for, and the warm-up of a run whose number of epochs
    changes, are those it was begun with.
    A run is never taken back to fewer epochs than it has done, or begun.
    """
    if not (folder / CONFIG).exists():
        return config, []
    written, optim = from_file(folder / CONFIG).optim, config.optim
    said = []
    if optim.batch_size == "auto":
        optim = replace(optim, batch_size=written.batch_size)
    if optim.threads is None:
        optim = replace(optim, threads=written.threads)
    if optim.epochs != written.epochs and has_checkpoint(folder):
        state = read_checkpoint(folder)
        done, begun = int(state["epochs_done"]), "epoch" in state
        epochs = max(optim.epochs, done + begun)
        if epochs == done:
            said.append(
                f"{done} epochs are done, of the {optim.epochs} asked for: it is measured again, and not trained"
            )
        elif epochs > optim.epochs:
            said.append(
                f"{done} epochs are done, of the {optim.epochs} asked for, and one is begun: that one is finished"
            )
        if epochs > done and depends_on_epochs(optim.schedule):
            said.append(
                f"schedule = {optim.schedule!r} was planned for {written.epochs} epochs; from epoch {done} on its "
                f"learning rate is that of {epochs}, and the result not that of a run planned so from the start"
            )
        if optim.warmup_epochs != written.warmup_epochs:
            said.append(f"warmup_epochs stays {written.warmup_epochs:g}, with which it was begun")
        optim = replace(optim, epochs=epochs, warmup_epochs=written.warmup_epochs)
    return replace(config, optim=optim), said


@contextmanager
def open_folder(
    folder: Path, config: RunConfig, *, resume: bool, overwrite: bool, facts: Mapping[str, object]
) -> Iterator[None]:
    """Hold the folder of a run, with its settings and environment, for this process alone.

    What it held goes if ``overwrite``; of what it did not get to write, when it was killed, nothing stays.
    Its environment is the machine's, and ``facts`` of the run.

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
        for left in folder.glob(".*.partial"):
            left.unlink()
        write_text(folder / CONFIG, to_json(config))
        placement = Placement.choose(config.optim.device, config.optim.precision)
        environment = {**describe(), **facts, "placement": str(placement)}
        write_text(folder / ENVIRONMENT, json.dumps(environment, indent=2) + "\n")
        yield


def _clear(folder: Path) -> None:
    """Delete what is in a folder but its lock."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != LOCK:
            path.unlink()
