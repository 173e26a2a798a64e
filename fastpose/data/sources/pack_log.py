"""What a reader left out while packing, and why."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sized
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:  # the help of a command needs no NumPy, which packed clips import
    from fastpose.data.pack.packed import PackedClips

OnError = Literal["skip", "raise"]
SHOWN_PER_REASON = 3


@dataclass(slots=True)
class PackLog:
    """Counts what happens to each file or annotation; with ``on_error="raise"`` the first bad one ends it.

    Attributes:
        on_error: "skip" or "raise".
        skipped: names, each with its own detail or "", by reason.
        unexpected: how many of the skipped were not expected to be.
        lost_joints: joints lost to numbers that are not finite.
        notes: decisions worth reporting, a sentence each.
        of_clips: what was taken to be what in single clips, and in how many.
    """

    on_error: OnError = "skip"
    skipped: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    unexpected: int = 0
    lost_joints: int = 0
    notes: list[str] = field(default_factory=list)
    of_clips: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        if self.on_error not in ("skip", "raise"):
            raise ValueError(f"on_error must be 'skip' or 'raise', got {self.on_error!r}")

    def skip(self, name: str, reason: str, detail: str = "", *, expected: bool = False) -> None:
        """Note a skipped item.

        Raises:
            ValueError: ``on_error`` is "raise" and the item is not ``expected`` to be skipped.
        """
        if self.on_error == "raise" and not expected:
            raise ValueError(detail or f"{name}: {reason}")
        self.skipped.setdefault(reason, []).append((name, detail))
        self.unexpected += not expected

    def note_clips(self, notes: Iterable[str]) -> None:
        """Count the notes of a clip."""
        self.of_clips.update(notes)

    @property
    def num_skipped(self) -> int:
        """All skipped items."""
        return sum(map(len, self.skipped.values()))

    def skip_lines(self) -> list[str]:
        """Return one line per reason, with the first few names, or the detail of the first."""
        lines = []
        for reason, items in sorted(self.skipped.items(), key=lambda pair: -len(pair[1])):
            names = ", ".join(name for name, _ in items[:SHOWN_PER_REASON])
            more = ", …" if len(items) > SHOWN_PER_REASON else ""
            lines.append(f"skipped {len(items)}: {reason} ({names}{more})")
            lines += [f"  {detail}" for _, detail in items[:SHOWN_PER_REASON] if detail]
        return lines

    def need_clips(self, clips: Sized, source: str | Path) -> None:
        """Refuse an empty result.

        Raises:
            ValueError: nothing is left to pack; the text says what was skipped.
        """
        if not clips:
            reasons = "; ".join(line.strip() for line in self.skip_lines()) or "it holds nothing"
            raise ValueError(f"{source}: no clip to pack: {reasons}")


@dataclass(frozen=True, slots=True)
class PackReport:
    """What was packed, for people; ``complete`` unless clips were left out that should not have been."""

    text: str
    complete: bool


def summary(packed: "PackedClips", log: PackLog, path: str | Path, seconds: float) -> str:
    """Return several lines for people: what was packed, what was not, where it went."""
    from fastpose.data.pack.pack_report import describe

    lines = [
        *describe(packed),
        *log.skip_lines(),
        *log.notes,
        *(f"{note} ({count} clip{'s' * (count > 1)})" for note, count in log.of_clips.items()),
    ]
    if log.lost_joints:
        lines.append(f"lost {log.lost_joints} joints to numbers that are not finite; they count as missing")
    lines.append(f"wrote {path} ({Path(path).stat().st_size / 1e6:.1f} MB) in {seconds:.1f} s")
    return "\n".join(lines)


def read_classes(classes: str | None) -> list[str] | int | None:
    """Return class names from a text file, one a line, or their number; None stays None.

    A mark of the encoding at the beginning and blank lines at the end, as editors write them, are left out.

    Raises:
        ValueError: a number or a file of more classes than any set has, or whatever ``class_names_in`` refuses.
        OSError: no such file.
    """
    if classes is None or classes.lstrip("-").isdecimal():
        if classes is not None and len(classes) > 9:
            raise ValueError(
                f"--classes {classes:.40}: expected the number of classes, or a text file of their names"
            )
        return None if classes is None else int(classes)
    from fastpose.data.pack.class_names import class_names_in

    return class_names_in(classes)


def pack_to_file(
    out: str | Path, read: Callable[..., tuple["PackedClips", PackLog]], *source: object, **settings: object
) -> PackReport:
    """Save what ``read(*source, **settings)`` packs to ``out``, and return what to say of it.

    Raises:
        ValueError: whatever ``read`` refuses.
        OSError: ``out`` cannot be written; this is found before reading where it can be.
    """
    from fastpose.system.files import check_target

    check_target(out)
    start = time.perf_counter()
    packed, log = read(*source, **settings)
    packed.save(out)
    return PackReport(summary(packed, log, out, time.perf_counter() - start), complete=not log.unexpected)
