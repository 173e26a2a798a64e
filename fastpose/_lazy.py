"""Public names that load their module at first use, so that importing a package costs nothing."""

import importlib
from collections.abc import Callable


def attach(package: str, names: dict[str, str]) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Return module-level ``__getattr__`` and ``__dir__`` for ``package``.

    ``names`` maps each public name to the module that defines it, relative to ``package`` or from "fastpose."
    on; a name that maps to itself is the submodule.
    """

    def __getattr__(name: str) -> object:
        if name not in names:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        target = names[name]
        module = importlib.import_module(target if target.startswith("fastpose.") else f"{package}.{target}")
        return module if target == name else getattr(module, name)

    def __dir__() -> list[str]:
        return sorted(names)

    return __getattr__, __dir__
