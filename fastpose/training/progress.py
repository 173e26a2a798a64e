"""One display of runs that are trained at once."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

TOTAL = "{l_bar}{bar}| [{elapsed}<{remaining}{postfix}]"
LOG_SECONDS = 10.0  # from one line to the next where they are kept, as in a file


@dataclass(slots=True)
class _Shown:
    """A run that is at work: its bar on a terminal, and what is told of it elsewhere."""

    unit: str
    bar: tqdm | None
    text: str = ""


class Progress:
    """Shows how far all runs are together and how long they will take, and on a terminal a line for each at work.

    Args:
        views: what each run has before it, to train and then to be measured, in any unit of work.
    """

    def __init__(self, views: Mapping[str, tuple[float, float]]) -> None:
        self._views, self._done = dict(views), dict.fromkeys(views, 0.0)
        self._ended = 0
        self._shown: dict[str, _Shown] = {}
        self._terminal = sys.stderr.isatty()
        self._total = tqdm(
            total=sum(map(sum, views.values())) or 1.0, desc=f"{len(views)} runs", bar_format=TOTAL, smoothing=0,
            mininterval=0.5 if self._terminal else LOG_SECONDS, miniters=0,
        )  # fmt: skip
        self._tell()

    def show(
        self, name: str, unit: str, first: int, done: int, total: int, postfix: Mapping[str, str]
    ) -> None:
        """Show that a run is at ``done`` of ``total``, begun at ``first``: of steps, or of clips to score."""
        training, measuring = self._views[name]
        share = (done - first) / (total - first) if total > first else 1.0
        at = share * training if unit == "step" else training + share * measuring
        shown = self._shown.get(name)
        if shown is None or shown.unit != unit:
            shown = self._begin(name, unit, first, total)
        shown.text = f"{name} {unit} {done}/{total}"
        if shown.bar is not None:
            shown.bar.set_postfix(postfix, refresh=False)
            shown.bar.update(done - shown.bar.n)
        self._advance(name, at)

    def end(self, name: str) -> None:
        """Show that a run has ended, well or not."""
        shown = self._shown.pop(name, None)
        if shown is not None and shown.bar is not None:
            shown.bar.close()
        self._ended += 1
        self._advance(name, sum(self._views[name]))

    def leave_out(self, name: str) -> None:
        """Count a run no longer, which will not begin."""
        del self._views[name], self._done[name]
        self._total.total = sum(map(sum, self._views.values())) or 1.0
        self._total.set_description(f"{len(self._views)} runs", refresh=False)
        self._tell()

    def say(self, echo: Callable[..., object], *values: Any) -> None:
        """Call ``echo``, which prints, between the bars."""
        with tqdm.external_write_mode():
            echo(*values)

    def _begin(self, name: str, unit: str, first: int, total: int) -> _Shown:
        before = self._shown.pop(name, None)
        if before is not None and before.bar is not None:
            before.bar.close()
        bar = None
        if self._terminal:
            title = name if unit == "step" else f"{name} α grid"
            bar = tqdm(
                total=total, initial=first, desc=title, unit=unit, leave=False, mininterval=0.5, miniters=0
            )
        self._shown[name] = _Shown(unit, bar)
        return self._shown[name]

    def _advance(self, name: str, at: float) -> None:
        self._done[name] = at
        self._tell()
        bar = self._total
        bar.update(min(sum(self._done.values()), bar.total) - bar.n)  # sums of shares round

    def _tell(self) -> None:
        at_work = [] if self._terminal else [shown.text for shown in self._shown.values()]
        self._total.set_postfix_str(", ".join([f"{self._ended} done", *at_work]), refresh=False)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        for shown in self._shown.values():
            if shown.bar is not None:
                shown.bar.close()
        self._total.close()
