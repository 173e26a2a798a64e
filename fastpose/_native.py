"""The compiled extension, or None where it cannot be loaded: the one place that decides and says why."""

import os
import warnings
from types import ModuleType
from typing import TYPE_CHECKING

__all__ = ["extension_obstacle", "native"]


def _load() -> tuple[ModuleType | None, str]:
    """Return the extension, else None and the reason; FASTPOSE_NO_EXTENSION=1 hides it."""
    if os.environ.get("FASTPOSE_NO_EXTENSION") == "1":
        return None, "FASTPOSE_NO_EXTENSION=1 hides it"
    try:
        import fastpose._C as extension
    except ImportError as error:
        return None, str(error)
    return extension, ""


_extension, _reason = _load()

if TYPE_CHECKING:  # its types are those of _C.pyi; callers have asked extension_obstacle()
    import fastpose._C as native
else:
    native = _extension

if _extension is None:  # a module is imported once, so this is said once
    warnings.warn(
        f"fastpose's compiled extension fastpose._C could not be loaded ({_reason}); slower references are used "
        "in its place. To build it, run `pip install -e .` in the project's folder, with a C++20 compiler.",
        stacklevel=2,
    )


def extension_obstacle() -> str | None:
    """Return why no native code can run, or None; it completes "backend='native' …"."""
    if _extension is None:
        return f"needs the compiled extension fastpose._C, which could not be loaded ({_reason})"
    return None
