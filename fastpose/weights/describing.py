"""Model cards: what a model's file says of itself, as text for people."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from fastpose.settings.optim import parse_alpha
from fastpose.weights.card import ModelCard


def without_folders(card: ModelCard) -> ModelCard:
    """Return ``card`` with the names of files in place of their paths, which concern nobody else."""
    config = card.config
    first = config.model.init and Path(config.model.init).name
    data = replace(config.data, data=Path(config.data.data).name)
    return replace(card, config=replace(config, data=data, model=replace(config.model, init=first)))


def describe(
    card: ModelCard,
    weights: Mapping[str, Tensor],
    *,
    title: str,
    run: str,
    top1: Mapping[float, float] | None = None,
    front_matter: bool = False,
) -> str:
    """Return the model card of a run in Markdown.

    Args:
        title: the model's name.
        run: what commands and ``Predictor.load`` call it.
        top1: accuracy in percent on the test clips by noise level, where it is known.
        front_matter: begin with the YAML that Hugging Face's hub reads.
    """
    config, layout = card.config, card.layout
    sampling, optim = config.data.sampling, config.optim
    tensors = [value for value in weights.values() if value.is_floating_point()]
    kinds = " and ".join(sorted({str(value.dtype).removeprefix("torch.") for value in tensors}))
    low, high = parse_alpha(optim.alpha)
    level = f"α = {high:g}" if low == high else f"α from {low:g} to {high:g}"
    noise = (
        "clean" if config.arm == "supervised" else f"{' and '.join(optim.train_families)} noise of {level}"
    )
    persons = "1 person" if card.max_persons == 1 else f"{card.max_persons} persons"
    rows = {
        "network": f"`{config.model.model}`, input {config.model.input}, "
        f"{sum(value.numel() for value in tensors):,} numbers in {kinds}",
        "takes": f"{sampling.clip_len} frames of {persons}, {layout.num_joints} joints in pixels "
        f"(layout {layout.name}: {', '.join(layout.joints)})",
        "front end": "none"
        if sampling.motion_filter == "off"
        else f"a filter of motion ({sampling.motion_filter})",
        "classes": f"{len(card.class_names)}: {', '.join(card.class_names)}",
        "trained on": f"{config.data.data}: arm {config.arm}, {noise}, {optim.epochs} epochs, seed {config.seed}",
    }
    table = "\n".join(["| | |", "|---|---|", *(f"| {name} | {_cell(text)} |" for name, text in rows.items())])
    parts = [
        f"# {title}",
        "Recognises actions from body keypoints. Made with fastpose (`pip install fastpose-action`), which loads it:",
        f"```sh\nfastpose predict {run} keypoints.json --layout {layout.name} --image-size HEIGHT WIDTH\n```",
        table,
    ]
    if top1:
        levels = " | ".join(f"{alpha:g}" for alpha in top1)
        shares = " | ".join(f"{share:.1f}" for share in top1.values())
        parts += [
            "## Accuracy",
            "Top-1 in percent on the test clips, at each level α of Gaussian noise:",
            f"| α | {levels} |\n|---|{'---|' * len(top1)}\n| top-1 % | {shares} |",
        ]
    text = "\n\n".join(parts) + "\n"
    return _FRONT_MATTER + text if front_matter else text


_FRONT_MATTER = """---
library_name: fastpose
tags: [action-recognition, skeleton, pose, keypoints]
---

"""


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
