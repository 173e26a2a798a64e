"""Which front end suits some clips: tried with a small network on held-out recordings."""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from fastpose.data.pack.few_labels import labelled_clips
from fastpose.data.pack.packed import PackedClips
from fastpose.data.pack.splits import select_clips
from fastpose.settings import EvalConfig, ModelConfig, RunConfig
from fastpose.settings.files import from_preset
from fastpose.settings.front_ends import FRONT_ENDS, with_front_end
from fastpose.settings.optim import parse_alpha
from fastpose.training.setup import Setup
from fastpose.training.trainer import Trainer

LEVELS = (0.0, 0.05, 0.15, 0.33, 0.67, 1.0)  # of the strongest noise in training
HELD_OUT = 6  # every such share of the training clips, where the run holds none out itself
EPOCHS = 20
SEEDS = 2
MOST_LOSS = 1.0  # points of clean accuracy that robustness may cost


def choose_front_end(
    config: RunConfig, packed: PackedClips, echo: Callable[[str], None] = print
) -> RunConfig:
    """Return ``config`` with the front end that is best on held-out clips of the training split, and say why.

    With few labels, both these clips and those of the trials are labelled ones.

    ``dct_mlp`` is trained with each of ``FRONT_ENDS`` on noise as strong as that of ``config``; of those that cost no
    more than a point of accuracy on clean clips against "off", the one with the best mean over noise levels is taken.
    """
    data = replace(config.data, val_clips=0, test_on="test")
    train, _ = select_clips(packed, data)
    count = config.data.val_clips or max(1, len(train) // HELD_OUT)
    if config.data.few_labels:  # the others are not to be known
        train = train[labelled_clips(packed, train, data, config.seed)]
        packed, count = packed.subset(train), max(1, len(train) // HELD_OUT)
        data = replace(data, label_fraction=1.0, labels_per_class=None, label_seed=None, limit=None)
    strongest = parse_alpha(config.optim.alpha)[1]
    alphas = tuple(dict.fromkeys(level * strongest for level in LEVELS))
    preset = from_preset("dct_mlp")
    optim = replace(
        preset.optim,
        epochs=EPOCHS,
        alpha=f"0:{strongest}",
        device=config.optim.device,
        threads=config.optim.threads,
    )
    data = replace(data, val_clips=count, test_on="val")
    found: dict[str, np.ndarray] = {}  # top-1 at each level
    for name in FRONT_ENDS:
        sampling = with_front_end(config.data.sampling, name)
        trial = replace(
            preset, arm="augmented", data=replace(data, sampling=sampling), model=ModelConfig(model="dct_mlp"),
            optim=optim, eval=EvalConfig(alphas=alphas),
        )  # fmt: skip
        curves = [_measure(replace(trial, seed=seed), packed) for seed in range(SEEDS)]
        found[name] = np.mean(curves, axis=0)
    means = {name: float(curve.mean()) for name, curve in found.items()}
    allowed = [name for name in found if found[name][0] >= found["off"][0] - MOST_LOSS]
    best = max(allowed, key=means.__getitem__)
    width = max(map(len, found))
    echo(
        f"front ends on {count} held-out clips, top-1 % of dct_mlp at α = {', '.join(f'{a:g}' for a in alphas)}:"
    )
    for name, curve in found.items():
        row = " ".join(f"{value:5.1f}" for value in curve)
        echo(f"  {name:<{width}}  {row}  mean {means[name]:.1f}{'  chosen' if name == best else ''}")
    return replace(config, data=replace(config.data, sampling=with_front_end(config.data.sampling, best)))


def _measure(config: RunConfig, packed: PackedClips) -> np.ndarray:
    """Train and measure a run that leaves nothing behind; return its top-1 at each noise level in percent."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(Setup(config, packed), Path(folder), quiet=True)
        trainer.fit()
        return np.array([accuracy.top1_percent for accuracy in trainer.measure().values()])
