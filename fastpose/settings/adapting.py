"""What of a preset gives way to settings that a user chose, because both together are impossible."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fastpose.settings.model import ModelConfig
from fastpose.settings.run import RunConfig

# The flags that are looked at, by the settings' names.
ADAPTED_BY = {
    "epochs": "--epochs",
    "warmup_epochs": "--warmup-epochs",
    "model": "--model",
    "input": "--input",
    "crop": "--crop",
}
SKELETONS_ONLY = ("dct_mlp", "motionbert")  # of the networks that presets name
SHORT_WARMUP = 0.1  # of the epochs, where the preset's own warm-up leaves none


def adapted(base: RunConfig, chosen: Mapping[str, Any]) -> tuple[RunConfig, list[str]]:
    """Return the settings of a preset made to fit those that a user ``chosen`` by name, and a sentence for each change.

    What the user chose himself is left alone, even where it is impossible: that is an error, which the settings tell.

    - A warm-up that would take all epochs takes a tenth of them.
    - A network for skeletons alone gives way to the default one where another input is chosen.
    - Joints as MotionBERT's published code makes them, which need the whole frame, give way to another crop.
    """
    said = []
    epochs = _number(chosen.get("epochs"))
    warmup = base.optim.warmup_epochs
    if epochs is not None and "warmup_epochs" not in chosen and 0 < epochs <= warmup:
        short = SHORT_WARMUP * epochs
        base = replace(base, optim=replace(base.optim, warmup_epochs=short))
        said.append(
            f"warmup_epochs = {warmup:g} of the preset leaves nothing of epochs = {epochs:g}; {short:g} is taken"
        )
    model, default = base.model.model, ModelConfig().model
    given = chosen.get("input", "skeleton")
    if given != "skeleton" and "model" not in chosen and model in SKELETONS_ONLY:
        base = replace(base, model=replace(base.model, model=default))
        said.append(
            f"model = {model!r} of the preset takes skeletons alone, not input = {given!r}; {default} is taken"
        )
    crop = chosen.get("crop", base.data.sampling.crop)
    if base.model.published and "published" not in chosen and crop != "frame":
        base = replace(base, model=replace(base.model, published=False))
        said.append(f"published = True of the preset needs crop = 'frame', not {crop!r}; it is switched off")
    return base, said


def _number(value: Any) -> float | None:
    """Return a setting as it was typed or read, as a number; None where it is none."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
