"""The file of a sweep: settings by their names, each with the values that it takes."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from fastpose.settings import RunConfig
from fastpose.settings.checks import require
from fastpose.settings.files import by_dotted_name, from_dict, read_values
from fastpose.settings.front_ends import FRONT_ENDS
from fastpose.settings.identity import NOT_DECIDING
from fastpose.settings.names import find_setting, short_name, type_of
from fastpose.settings.short_text import short
from fastpose.settings.starting import Start, starting_settings
from fastpose.system.errors import error_sentence

PRESET, CONFIG = "preset", "config"  # what the runs start from
FRONT_END = "front_end"  # stands for several settings
ARM, SEED, DATA, MODEL = "arm", "seed", "data.data", "model.model"
ALIASES = {"arms": ARM, "seeds": SEED}  # as the flags of train are called
KNOWN = tuple(by_dotted_name(RunConfig()))
SECTIONS = {"data", "model", "loss", "optim", "eval", "data.sampling", "sampling"}
MOST_RUNS = 10_000
MOST_WHOLE = 2**53  # up to which floats hold integers


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers from ``low`` to ``high``, both included, to search in: integers where ``low`` is one.

    Attributes:
        log: whether equal ratios count as equally far.
        step: from one of the numbers to the next; None for all of them.
    """

    low: float
    high: float
    log: bool = False
    step: float | None = None


Values = tuple[Any, ...] | Range


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """What the runs of a sweep start from, and the values that their settings take.

    Attributes:
        path: of the file, which errors name.
        preset, config: what the runs start from, as the flags of ``fastpose train``.
        values: as JSON has them, by dotted name, and of "front_end"; not those of the seed.
        seeds: one run of all else for each.
    """

    path: Path
    preset: str | None
    config: Path | None
    values: Mapping[str, Values]
    seeds: tuple[int, ...]

    def choices(self) -> Iterator[dict[str, Any]]:
        """Yield a value for each name, in all combinations of lists.

        Raises:
            ValueError: there are more than ``MOST_RUNS`` runs.
        """
        lists = {name: values for name, values in self.values.items() if not isinstance(values, Range)}
        runs = math.prod(map(len, [*lists.values(), self.seeds]))
        require(runs <= MOST_RUNS, f"{self.path}: has {runs:,} runs; expected at most {MOST_RUNS:,}")
        for values in product(*lists.values()):
            yield dict(zip(lists, values, strict=True))

    def corners(self) -> Iterator[dict[str, Any]]:
        """Yield the first value of each name, and then with each other value, or end of a range, of one of them."""
        ends = {
            name: (values.low, values.high) if isinstance(values, Range) else values
            for name, values in self.values.items()
        }
        first = {name: values[0] for name, values in ends.items()}
        yield first
        yield from (first | {name: value} for name, values in ends.items() for value in values[1:])

    def settle(self, choice: Mapping[str, Any], seed: int) -> tuple[RunConfig, list[str]]:
        """Return the settings of a choice, and a sentence for each value of the preset that gave way to it.

        Raises:
            ValueError: settings refuse it; the sentence names the file, and the values that vary.
        """
        values = {name: value for name, value in choice.items() if name != FRONT_END}
        try:
            start = _start(self.preset, self.config, choice.get(FRONT_END), values)
            settings = from_dict(_nested(values), start.config, source=str(self.path))
        except ValueError as error:
            raise ValueError(self.place(error, choice)) from error
        return replace(settings, seed=seed), start.said

    def place(self, error: Exception, choice: Mapping[str, Any]) -> str:
        """Return why a choice is refused as a sentence that names the file, and the values that vary."""
        reason = error_sentence(error)
        if reason.startswith(f"{self.path}: "):
            return reason
        return ": ".join(part for part in (str(self.path), self.describe(choice), reason) if part)

    def describe(self, choice: Mapping[str, Any]) -> str:
        """Return the values of a choice that are one of several, as text."""
        several = [
            name for name, values in self.values.items() if isinstance(values, Range) or len(values) > 1
        ]
        return ", ".join(f"{name} = {choice[name]!r}" for name in several)


def _start(
    preset: str | None, config: Path | None, front_end: str | None, values: Mapping[str, Any]
) -> Start:
    chosen = {short_name(name): value for name, value in values.items()}
    return starting_settings(preset, config, front_end, chosen)


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values by dotted name as objects in objects, which files of settings hold."""
    nested: dict[str, Any] = {}
    for name, value in values.items():
        *sections, last = name.split(".")
        inner = nested
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[last] = value
    return nested


def read_grid(path: Path, *, search: bool = False) -> Grid:
    """Read the file of a sweep: an object of settings by their names, and of "preset", "config" and "front_end".

    A name is "lr", "optim.lr", or "lr" in an object "optim". It has a value, a list of values, or to ``search`` in a
    range such as {"low": 1e-4, "high": 1e-2, "log": true}.

    Raises:
        ValueError: the file cannot be read; a name is unknown or stands twice; or what it has is neither of these.
            Values that the settings refuse are told of by ``Grid.settle``.
    """
    content = read_values(path)
    require(isinstance(content, dict), f"{path}: expected an object of settings, got {short(content)}")
    starts: dict[str, str] = {}
    values: dict[str, Values] = {}
    keys: dict[str, str] = {}
    for key, value in _flat(content):
        where, name = f"{path}: {key}", key.replace("-", "_")
        if name in (PRESET, CONFIG):
            require(isinstance(value, str), f"{where} = {short(value)}: expected text")
            starts[name] = value
            continue
        if name != FRONT_END:
            name = find_setting(ALIASES.get(name, name), KNOWN, where)
        require(name not in keys, f"{path}: {name} stands twice, as {keys.get(name)!r} and {key!r}")
        keys[name] = key
        values[name] = _values(name, value, where, search=search)
    config = Path(starts[CONFIG]) if CONFIG in starts else None
    try:
        start = _start(starts.get(PRESET), config, None, {name: None for name in values if name == DATA})
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if ARM not in values:
        require(
            not search or len(start.arms) == 1,
            f'{path}: expected an arm to search with, of {", ".join(start.arms)}, as "arm"',
        )
        values[ARM] = start.arms
    seeds = values.pop(SEED, (start.config.seed,))
    require(
        not isinstance(seeds, Range) and all(type(seed) is int and 0 <= seed < 2**63 for seed in seeds),
        f"{path}: {keys.get(SEED)}: expected seeds from 0 to 2^63 - 1",
    )
    assert not isinstance(seeds, Range)
    return Grid(
        path=path, preset=starts.get(PRESET), config=config, values=values, seeds=tuple(dict.fromkeys(seeds))
    )


def _flat(content: Mapping[str, Any], section: str = "") -> Iterator[tuple[str, Any]]:
    """Yield what an object holds, by dotted name, that of its sections too."""
    for key, value in content.items():
        name = section + key
        if isinstance(value, dict) and name.replace("-", "_") in SECTIONS:
            yield from _flat(value, f"{name}.")
        else:
            yield name, value


def _values(name: str, value: Any, where: str, *, search: bool) -> Values:
    if isinstance(value, dict):
        require(search, f"{where}: a range is to search in; expected --trials N, or a list of values")
        return _range(name, value, where)
    is_list = name != FRONT_END and get_origin(type_of(name)) is tuple
    several = isinstance(value, list) and not (is_list and not any(isinstance(item, list) for item in value))
    require(value != [], f"{where} = []: expected one value or more")
    values = tuple(value) if several else (value,)
    require(
        len(values) == 1 or name == DATA or name not in NOT_DECIDING,
        f"{where}: decides no result; expected one value",
    )
    if name == FRONT_END:
        for word in values:
            known = ", ".join(FRONT_ENDS)
            require(
                isinstance(word, str) and word in FRONT_ENDS,
                f"{where} = {short(word)}: expected some of {known}",
            )
    return values


def _range(name: str, value: dict[str, Any], where: str) -> Range:
    """Read a range of the numbers that a setting takes."""
    unknown = next((key for key in value if key not in ("low", "high", "log", "step")), None)
    require(unknown is None, f"{where}: unknown {unknown!r}; a range has low, high, and perhaps log and step")
    require(
        {"low", "high"} <= value.keys(), f"{where}: expected a range with low and high, got {short(value)}"
    )
    whole, kind = _kind_of_number(name, where)
    for key in ("low", "high", "step"):
        number = value.get(key)
        fits = type(number) is int and abs(number) <= MOST_WHOLE
        fits = fits or (not whole and type(number) is float and math.isfinite(number))
        require(
            fits or (key == "step" and number is None), f"{where}: {key} = {short(number)}: expected {kind}"
        )
    low, high, step, log = value["low"], value["high"], value.get("step"), value.get("log", False)
    require(low < high, f"{where}: low = {low}, high = {high}: expected low < high")
    require(type(log) is bool, f"{where}: log = {short(log)}: expected true or false")
    require(not log or low > 0, f"{where}: low = {low}, log = true: expected low > 0")
    require(not (log and step is not None), f"{where}: log = true, step = {step}: expected one of them")
    require(step is None or 0 < step <= high - low, f"{where}: step = {step}: expected 0 < step ≤ high - low")
    if step is not None:
        steps = round((high - low) / step)
        require(
            math.isclose(low + steps * step, high, rel_tol=1e-9, abs_tol=1e-9 * step),
            f"{where}: step = {step}: expected one that leads from low = {low} to high = {high}",
        )
    return Range(low, high, log, step) if whole else Range(float(low), float(high), log, step and float(step))


def _kind_of_number(name: str, where: str) -> tuple[bool, str]:
    """Return whether a setting takes integers, and what its numbers are called."""
    hint = str if name == FRONT_END else type_of(name)
    kinds = [hint, *get_args(hint)] if get_origin(hint) not in (tuple, Literal) else []
    if int in kinds:
        return True, "an integer"
    require(
        float in kinds or name == "optim.alpha", f"{where}: takes no numbers; expected a list to choose from"
    )
    return False, "a number"
