"""Runs that leave one noise family out of their training, and are measured on that one."""

import warnings
from collections.abc import Mapping
from dataclasses import replace

from fastpose.evaluation.curves import Curve, Families
from fastpose.evaluation.scores import GAUSSIAN
from fastpose.settings import RunConfig
from fastpose.settings.checks import is_changed
from fastpose.settings.families import FAMILIES

WITHOUT = "-without-"


def leave_one_out(plan: Mapping[str, RunConfig]) -> dict[str, RunConfig]:
    """Return a run for each of ``plan`` and each of its noise families, trained on the others, measured on this one.

    Of an arm that is trained on no noise, "supervised" or at two speeds, one run is measured on all.

    Raises:
        ValueError: a run has no family to train on beside the one left out.
    """
    runs = {}
    if any(is_changed(config.eval, "families") for config in plan.values()):
        warnings.warn("families has no effect on runs that are measured on what they leave out", stacklevel=2)
    for name, config in plan.items():
        families = config.optim.train_families
        if len(families) < 2:
            raise ValueError(
                f"train_families = {', '.join(families)}: expected two noise families or more, one to leave out and "
                "others to train on"
            )
        if config.arm == "supervised" or (config.arm == "contrastive" and config.optim.views == "tempo"):
            runs[name] = _with_families(config, (GAUSSIAN,), families)
            continue
        stem, _, seed = name.rpartition("-")
        for family in families:
            others = tuple(other for other in families if other != family)
            runs[f"{stem}{WITHOUT}{family}-{seed}"] = _with_families(config, others, (family,))
    return runs


def _with_families(config: RunConfig, trained: tuple[str, ...], measured: tuple[str, ...]) -> RunConfig:
    optim, evaluation = replace(config.optim, train_families=trained), replace(config.eval, families=measured)
    return replace(config, optim=optim, eval=evaluation)


def join_left_out(
    runs: Mapping[str, Families], gaussian: Mapping[str, Curve]
) -> tuple[dict[str, Families], dict[str, Families]]:
    """Return measured runs by name: those that left no family out, and those that did, joined.

    Joined are the runs of an arm and seed, each with the family that it was trained without, under the name that they
    share.

    Args:
        runs: what each run has measured of other noise than Gaussian.
        gaussian: the curve of each run, which is all that one measures that was trained without Gaussian noise.
    """
    whole = {name: families for name, families in runs.items() if WITHOUT not in name}
    joined: dict[str, Families] = {}
    for family in FAMILIES:
        for name, curve in gaussian.items():
            stem, _, rest = name.partition(WITHOUT)
            if rest.rpartition("-")[0] != family:
                continue
            measured = {GAUSSIAN: curve} | runs.get(name, {})
            if family in measured:
                joined.setdefault(f"{stem}-{rest.rpartition('-')[2]}", {})[family] = measured[family]
    return whole, joined
