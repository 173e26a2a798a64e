"""The packages of the extra `sweep`, imported where they are first needed."""

import importlib
import logging
from typing import Any

INSTALL = 'pip install "fastpose-action[sweep]"'


def submitit_package() -> Any:
    """Import submitit, which says nothing but errors then.

    Raises:
        ValueError: it is not installed, or cannot be imported; the text says how to install it.
    """
    submitit = _import("submitit", "to start runs")
    logging.getLogger("submitit").setLevel(logging.ERROR)
    return submitit


def optuna_package() -> Any:
    """Import Optuna, which says nothing but warnings then.

    Raises:
        ValueError: as ``submitit_package``.
    """
    optuna = _import("optuna", "to search")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _import(name: str, purpose: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ValueError(f"{name} is needed {purpose} ({error}): {INSTALL}") from error
