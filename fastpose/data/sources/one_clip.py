"""One clip out of all that a file, or several, hold."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from fastpose.data.pack.packed import PackedClips
from fastpose.data.sources.clip_files import find_files, read_clips
from fastpose.data.sources.found_files import Problem, ReadOptions
from fastpose.data.sources.unlabelled import find_faults

NAMED = 5  # clips that a message names


@dataclass(frozen=True, slots=True, eq=False)
class ChosenClip:
    """A clip, and what stands beside it.

    Attributes:
        packed: the clip alone.
        file: that it is from.
        num_others: clips that could be read as well.
        problems: what could not.
    """

    packed: PackedClips
    file: str
    num_others: int
    problems: list[Problem]

    def notes(self) -> list[str]:
        """Return what a user should know of the clip: others beside it, what could not be read, what looks wrong."""
        notes = [f"{self.packed.names[0]!r}: {fault}" for fault in find_faults(self.packed).values()]
        notes += [f"not read: {problem}" for problem in self.problems[:NAMED]]
        if len(self.problems) > NAMED:
            notes.append(f"not read: {len(self.problems) - NAMED} more")
        if self.num_others:
            others = "another clip" if self.num_others == 1 else f"{self.num_others} other clips"
            notes.append(f"there {'is' if self.num_others == 1 else 'are'} {others}; --clip NAME chooses one")
        return notes


def find_clip(source: str | Path, options: ReadOptions, name: str | None = None) -> ChosenClip:
    """Return the clip of that name, or the first one, of a file, a folder or a glob pattern.

    Raises:
        ValueError: no clip can be read, and why; or none has that name, with the names that are near it.
    """
    paths, problems = find_files([source])
    found: tuple[PackedClips, str] | None = None
    names: list[str] = []
    for item in read_clips(paths, options):
        if isinstance(item, Problem):
            problems.append(item)
            continue
        if found is None and (name is None or name in item.packed.names):
            index = 0 if name is None else item.packed.names.index(name)
            found = item.packed.subset([index]), item.files[index]
        names += item.packed.names
    if found is None:
        raise ValueError(_reason(source, name, names, problems))
    return ChosenClip(*found, len(names) - 1, problems)


def _reason(source: str | Path, name: str | None, names: Sequence[str], problems: Sequence[Problem]) -> str:
    if not names:
        return str(problems[0]) if problems else f"{source}: holds no clip"
    close = difflib.get_close_matches(str(name), names, n=10 * NAMED)
    if close:  # names differ at their ends rather than where they begin
        close.sort(key=lambda other: -_same_letters(str(name), other))
        return f"{source}: no clip {name!r}; did you mean {' or '.join(map(repr, close[:NAMED]))}?"
    there = ", ".join(map(repr, names[:NAMED])) + (", …" if len(names) > NAMED else "")
    return f"{source}: no clip {name!r} among {len(names)}: {there}"


def _same_letters(one: str, other: str) -> int:
    """Return with how many equal letters two names begin."""
    return sum(1 for _ in takewhile(lambda letters: letters[0] == letters[1], zip(one, other, strict=False)))
