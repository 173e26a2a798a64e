"""Which settings decide the result of a run, and a name that follows from them."""

import hashlib
import json
from collections.abc import Mapping

from fastpose.settings.files import by_dotted_name
from fastpose.settings.run import RunConfig

DIGITS = 10  # of the name
NOT_DECIDING = (
    "data.data",
    "optim.threads",
    "optim.device",
    "optim.checkpoint_minutes",
    "eval.eval_batch_size",
)


def deciding_settings(settings: Mapping[str, object]) -> dict[str, object]:
    """Return those of a run's settings, by dotted name, that decide its result, without seed and data file."""
    return {name: value for name, value in settings.items() if name != "seed" and name not in NOT_DECIDING}


def settings_hash(config: RunConfig, data: str) -> str:
    """Return a name of the settings that decide a run's result, but for the seed, and of its ``data``.

    Those at their defaults are left out, so that a setting that comes to be later changes no name.
    """
    defaults = by_dotted_name(RunConfig())
    chosen = deciding_settings(by_dotted_name(config))
    changed = {name: value for name, value in chosen.items() if value != defaults[name]}
    text = json.dumps([changed, data], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]
