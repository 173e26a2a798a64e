"""The settings that a command starts from, before those of its flags: a preset, a file of settings, a front end."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fastpose.settings.adapting import adapted
from fastpose.settings.files import by_name, from_file, from_preset, read_values
from fastpose.settings.front_ends import with_front_end
from fastpose.settings.presets import FIRST_RUN, OWN_DATA, PRESET_ARMS, REPORT
from fastpose.settings.run import Arm, RunConfig


@dataclass(frozen=True, slots=True)
class Start:
    """Settings to start from.

    Attributes:
        config: the settings.
        arms: that are trained where none is named.
        said: a sentence for each setting of the preset that gave way to what the user chose.
    """

    config: RunConfig
    arms: tuple[Arm, ...]
    said: list[str]


def starting_settings(
    preset: str | None, config: Path | None, front_end: str | None, chosen: Mapping[str, Any]
) -> Start:
    """Return the settings of a preset, with those of the file ``config`` and of a front end in their place.

    Args:
        preset: its name; by default "report" with a file, "robust" with data, and else that of a first run.
        config: a JSON file of settings.
        front_end: a name of ``FRONT_ENDS``; None for that of preset and file.
        chosen: what the user chooses beside these, by the settings' names, to which a preset gives way; "data" too.

    Raises:
        ValueError: there is no such preset or front end, or the file is none of settings.
    """
    name = preset or (REPORT if config else OWN_DATA if "data" in chosen else FIRST_RUN)
    in_file = by_name(read_values(config)) if config else {}
    base, said = adapted(from_preset(name), in_file | dict(chosen))
    arms: tuple[Arm, ...] = PRESET_ARMS.get(name, ("contrastive",))
    if config:
        base = from_file(config, base)
        arms = (base.arm,)
    if front_end is not None:
        sampling = with_front_end(base.data.sampling, front_end)
        base = replace(base, data=replace(base.data, sampling=sampling))
    return Start(base, arms, said)
