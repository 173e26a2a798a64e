"""Public names that load their module at first use, so that importing a package costs nothing."""

import ast
import importlib
from collections.abc import Callable
from pathlib import Path


def attach(package: str, file: str) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Return module-level ``__getattr__`` and ``__dir__`` for ``package``, whose ``__init__.py`` is ``file``.

    The imports of the ``__init__.pyi`` beside it are its public names, to type checkers and here; a name that
    is imported from ``package`` itself is a submodule.
    """
    sources = {
        alias.name: node.module
        for node in ast.parse(Path(file).with_suffix(".pyi").read_text(encoding="utf-8")).body
        if isinstance(node, ast.ImportFrom) and node.module is not None
        for alias in node.names
    }

    def __getattr__(name: str) -> object:
        if name not in sources:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        if sources[name] == package:
            return importlib.import_module(f"{package}.{name}")
        return getattr(importlib.import_module(sources[name]), name)

    def __dir__() -> list[str]:
        return sorted(sources)

    return __getattr__, __dir__
