"""Values out of files, in a few words for an error: a small file can hold one whose whole text would never end."""

import reprlib
from typing import Any


class _Short(reprlib.Repr):
    """A ``reprlib.Repr`` that says of arrays no more than what they are."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = 60
        self.maxlist = self.maxtuple = 20  # of 6, the wrong one of some noise levels would not be shown
        self.maxlevel = 2  # of 6, lists of lists would have thousands of letters

    def repr_ndarray(self, value: Any, _level: int) -> str:
        return f"array {value.dtype} {list(value.shape)[:8]}"

    repr__Array = repr_ndarray  # of ``fastpose.data.sources.safe_pickle``


short = _Short().repr


def short_names(names: Any, most: int = 12) -> str:
    """Return some names or other keys as text, "keypoints, label, …", in their order by text."""
    texts = sorted(name if isinstance(name, str) else short(name) for name in names)
    shown = [text if len(text) <= 40 else f"{text[:40]}…" for text in texts[:most]]
    return ", ".join(shown + ["…"] * (len(texts) > most))
