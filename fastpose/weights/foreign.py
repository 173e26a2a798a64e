"""Models from the checkpoints of others, which do not say what they are."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from fastpose.data.pack.class_names import class_names_in
from fastpose.data.pack.clip_builder import class_name_tuple
from fastpose.data.pack.layouts import Layout, get_layout
from fastpose.data.pack.limits import MOST_CLASSES
from fastpose.models.inputs.protocol import PoseModule
from fastpose.models.registry import accepted_options
from fastpose.settings import CheckpointConfig, RunConfig
from fastpose.settings.files import from_preset
from fastpose.weights.card import ModelCard, build_model, shapes_of
from fastpose.weights.loading import fill_model
from fastpose.weights.named import locate
from fastpose.weights.runs import load_model
from fastpose.weights.weight_files import read_weights


def open_model(
    path: Path, settings: CheckpointConfig, layout: Layout | str | Path | None = None
) -> tuple[PoseModule, ModelCard]:
    """Load a run of fastpose, or, if ``settings`` name a model, a checkpoint of others.

    Args:
        path: a run's folder, one that holds a single run, a weights file, a starter model's name, or a checkpoint.
        layout: of a checkpoint's keypoints where ``settings`` do not say; by default coco17.

    Raises:
        ValueError: no such run, one that is not finished, or whatever ``load_foreign`` refuses.
        OSError: a file cannot be read.
    """
    path = locate(path)
    if settings.model is not None and ":" in settings.model:  # a network of the user's own, of a run
        return load_model(path, settings.model)
    if settings.model is None:
        if settings != CheckpointConfig():
            raise ValueError("--model is missing: the other settings of a checkpoint need it")
        if path.is_file() and path.suffix != ".safetensors":
            raise ValueError(
                f"{path}: is no run of fastpose; for a checkpoint of others give --model as well"
            )
        return load_model(path)
    if path.is_dir():
        raise ValueError(f"{path}: is a folder; a run of fastpose says itself what it is, without --model")
    preset = "motionbert-published" if accepted_options(settings.model)("published") else "report"
    base = from_preset(settings.preset or preset)
    model = replace(base.model, model=settings.model, input=settings.input or base.model.input)
    names = settings.class_names and class_names_in(settings.class_names)
    own_layout = get_layout(settings.model_layout or layout or "coco17")
    return load_foreign(path, replace(base, model=model), own_layout, names, settings.max_persons)


def load_foreign(
    path: str | Path,
    config: RunConfig,
    layout: Layout,
    class_names: Sequence[str] | None = None,
    max_persons: int = 2,
) -> tuple[PoseModule, ModelCard]:
    """Load a checkpoint of PYSKL, MMAction2 or MotionBERT (or bare weights) with its classifier.

    Args:
        path: as for ``load_checkpoint``.
        config: its model and data settings say what the network is and how clips are sampled for it.
        layout: of the keypoints that it takes.
        class_names: K names; by default they are numbered. K is the number of rows of the classifier.
        max_persons: M.

    Returns:
        The model in evaluation mode, and its description.

    Raises:
        ValueError: the file is damaged or pickled code, its weights are those of another network, it holds no
            classifier, or ``class_names`` are not as many as its classes.
        OSError: the file cannot be read.
    """
    card = ModelCard(config, layout, (), max_persons)
    settings = f"model {config.model.model!r}, input {config.model.input!r}, layout {layout.name!r}"
    state, metadata = read_weights(path)
    one, two = (shapes_of(replace(card, class_names=("",) * count)) for count in (1, 2))
    by_class = [key for key in one if one[key] != two[key]]  # what there is one row of for each class
    counts = {len(state[key]) for key in by_class if key in state and state[key].dim()}
    if not counts:
        raise ValueError(
            f"{path} holds no classifier of {settings}: expected {', '.join(by_class)}; of a checkpoint "
            "without one, such as a pretrained backbone, nothing can be predicted"
        )
    num_classes = counts.pop()
    if not 1 <= num_classes <= MOST_CLASSES:
        raise ValueError(
            f"{path}: its classifier has {num_classes:,} classes, expected at most {MOST_CLASSES:,}"
        )
    if class_names is not None and len(class_names) != num_classes:
        raise ValueError(
            f"{path}: its classifier has {num_classes} classes, but {len(class_names)} are named"
        )
    card = replace(card, class_names=class_name_tuple(class_names or num_classes, None))
    model = build_model(card)
    try:
        report = fill_model(model, state, metadata, path)
    except ValueError as error:
        raise ValueError(f"{error} (taken for {settings})") from error
    if report.head_replaced:
        raise ValueError(f"{report} (taken for {settings}): nothing can be predicted without its classifier")
    return model.eval(), card
