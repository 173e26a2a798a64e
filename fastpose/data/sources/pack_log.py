"""What a reader left out while packing, and why."""

import time
from collections.abc import Callable, Sequence, Sized
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from fastpose.data.pack.clip_builder import CheckedClip
from fastpose.data.pack.packed import PackedClips
from fastpose.data.pack.packed_file import check_target
from fastpose.data.pack.presence import count_stray_joints, tell_stray_joints

OnError = Literal["skip", "raise"]
SHOWN_PER_REASON = 3


@dataclass(slots=True)
class PackLog:
    """Counts what happens to each file or annotation; with ``on_error="raise"`` the first bad one ends it.

    Attributes:
        on_error: "skip" or "raise".
        skipped: names, each with its own detail or "", by reason.
        lost_joints: joints lost to numbers that are not finite.
        notes: decisions worth reporting, a sentence each.
    """

    on_error: OnError = "skip"
    skipped: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    lost_joints: int = 0
    notes: list[str] = field(default_factory=list)

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


def summary(packed: PackedClips, log: PackLog, path: str | Path, seconds: float) -> str:
    """Return several lines for people: what was packed, what was not, where it went."""
    lines = [
        f"packed {packed.num_clips} clips, {int(packed.num_frames.sum())} frames, "
        f"{packed.num_classes} classes, layout {packed.layout.name}",
        *log.skip_lines(),
        *log.notes,
    ]
    if log.lost_joints:
        lines.append(f"lost {log.lost_joints} joints to numbers that are not finite; they count as missing")
    if count := count_stray_joints(packed.keypoints, packed.scores):
        lines.append(tell_stray_joints(count))
    lines += [f"split {name}: {len(members)} clips" for name, members in packed.splits.items()]
    lines.append(f"wrote {path} ({Path(path).stat().st_size / 1e6:.1f} MB) in {seconds:.1f} s")
    return "\n".join(lines)


def refuse_normalised(clips: Sequence[CheckedClip], source: str | Path) -> None:
    """Refuse coordinates that all lie in [−1, 1]: keypoints must be pixels.

    Raises:
        ValueError: no coordinate of the first clips exceeds 1, although some are not 0.
    """
    largest = max((abs(clip.keypoints).max() for clip in clips[:64]), default=0)
    if 0 < largest <= 1:
        raise ValueError(
            f"{source}: the keypoints look normalised (none exceeds {largest:.3g}), but pixels are needed: "
            "multiply x by the image's width and y by its height"
        )


def read_classes(classes: str | None) -> list[str] | int | None:
    """Return class names from a text file, one a line, or their number; None stays None.

    Raises:
        OSError: no such file.
    """
    if classes is None or classes.lstrip("-").isdecimal():
        return None if classes is None else int(classes)
    return Path(classes).read_text(encoding="utf-8").splitlines()


def pack_to_file(
    out: str | Path, read: Callable[..., tuple[PackedClips, PackLog]], *source: object, **settings: object
) -> str:
    """Save what ``read(*source, **settings)`` packs to ``out``, and return its summary.

    Raises:
        ValueError: whatever ``read`` refuses.
        OSError: ``out`` cannot be written; this is found before reading where it can be.
    """
    check_target(out)
    start = time.perf_counter()
    packed, log = read(*source, **settings)
    packed.save(out)
    return summary(packed, log, out, time.perf_counter() - start)
