"""What a model on disk says of itself."""

import dataclasses
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch

from fastpose.data.denoising.denoiser import Denoiser
from fastpose.data.pack.clip_builder import class_name_tuple
from fastpose.data.pack.layouts import Layout
from fastpose.data.pack.packed import PackedClips
from fastpose.data.sampling.sample_prior import SamplePrior
from fastpose.models.inputs.motionbert_published import match_clips
from fastpose.models.inputs.protocol import PoseModule
from fastpose.models.registry import accepted_options, create_model
from fastpose.settings import ModelConfig, RunConfig
from fastpose.settings.files import from_dict
from fastpose.settings.json_text import parse_json

FORMAT = "fastpose-model-1"
NOT_OPTIONS = ("model", "init")  # of ModelConfig: which network, and its first weights
MOST_PERSONS = 1000
MOST_JOINTS_OF_SAMPLE = 2**22  # 50 MB
PARTS = {
    "config": "its settings",
    "layout": "its layout",
    "class_names": "its class names",
    "max_persons": "its number of persons",
    "prior": "the prior of its motion filter",
}
REQUIRED = object()

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, slots=True)
class ModelCard:
    """Enough to rebuild a model and to feed it.

    Attributes:
        prior: what the sampler's motion filter knows, where ``config.data.sampling`` asks for one.
        denoise: what filters keypoints before they are sampled: "off", or ``Denoiser.to_text``.
    """

    config: RunConfig
    layout: Layout
    class_names: tuple[str, ...]
    max_persons: int
    prior: SamplePrior | None = dataclasses.field(default=None, repr=False)
    denoise: str = dataclasses.field(default="off", repr=False)

    def to_metadata(self) -> dict[str, str]:
        """Return the card as texts; ``from_metadata`` is its inverse."""
        metadata = {
            "format": FORMAT,
            "config": json.dumps(dataclasses.asdict(self.config)),
            "layout": json.dumps(self.layout.to_json()),
            "class_names": json.dumps(self.class_names),
            "max_persons": str(self.max_persons),
        }
        if self.prior is not None:
            metadata["prior"] = json.dumps(self.prior.to_json())
        if self.denoise != "off":
            metadata["denoise"] = self.denoise
        return metadata

    @classmethod
    def from_metadata(cls, metadata: dict[str, str], path: Path) -> "ModelCard":
        """Read the metadata of the file ``path``.

        Raises:
            ValueError: it is no model of fastpose, or a setting is unknown or out of range.
            KeyError: a part is missing.
        """
        if metadata.get("format") != FORMAT:
            raise ValueError(f"{path}: holds no fastpose model; expected format {FORMAT} in its metadata")
        card = cls(
            config=from_dict(_part(metadata, "config", parse_json, path), source=str(path)),
            layout=_part(metadata, "layout", lambda text: Layout.from_json(parse_json(text)), path),
            class_names=_part(metadata, "class_names", _class_names, path),
            max_persons=_part(metadata, "max_persons", _number_of_persons, path),
            prior=_part(metadata, "prior", lambda text: SamplePrior.from_json(parse_json(text)), path, None),
            denoise=metadata.get("denoise", "off"),
        )
        try:
            card.check()
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        return card

    def check(self) -> None:
        """Refuse a card whose parts do not fit each other, or that asks for more than any model takes.

        Raises:
            ValueError: samples of more than ``MOST_JOINTS_OF_SAMPLE``, a prior of other joints than the layout's, or a
                denoiser that cannot be read.
        """
        joints, frames = self.layout.num_joints, self.config.data.sampling.clip_len
        if self.max_persons * frames * joints > MOST_JOINTS_OF_SAMPLE:
            raise ValueError(
                f"a sample would hold {self.max_persons} persons · {frames} frames · {joints} joints, expected at most "
                f"{MOST_JOINTS_OF_SAMPLE:,} joints"
            )
        if self.prior is not None and self.prior.num_joints != joints:
            raise ValueError(
                f"the prior of its motion filter knows {self.prior.num_joints} joints, its layout has {joints}"
            )
        try:
            self.denoiser()
        except ValueError as error:
            raise ValueError(f"its denoising cannot be read: {error}") from error

    def denoiser(self) -> Denoiser | None:
        """Return what filters keypoints before they are sampled, if anything does."""
        return None if self.denoise == "off" else Denoiser.from_text(self.denoise)

    def behind(self, denoiser: Denoiser | None) -> "ModelCard":
        """Return the card of the same model behind ``denoiser``.

        Raises:
            ValueError: its prior knows other joints than the model's.
        """
        if denoiser is not None:
            denoiser.check_layout(self.layout, "the model takes")
        return dataclasses.replace(self, denoise="off" if denoiser is None else denoiser.to_text())

    def clips(self, packed: PackedClips) -> PackedClips:
        """Return ``packed`` as the model expects it: persons matched over time where its published form was."""
        return match_clips(packed) if self.config.model.published else packed


def _part(
    metadata: dict[str, str], name: str, read: Callable[[str], T], path: Path, default: Any = REQUIRED
) -> T:
    """Return what ``read`` makes of a text of the metadata, or ``default`` where it is missing.

    Raises:
        ValueError: it cannot be read; the text names the file and the part.
        KeyError: it is missing, and there is no default.
    """
    if name not in metadata and default is not REQUIRED:
        return default
    try:
        return read(metadata[name])
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"{path}: {PARTS[name]} cannot be read: {error}") from error
    except KeyError as error:
        if name not in metadata:
            raise
        raise ValueError(f"{path}: {PARTS[name]} cannot be read: {error} is missing") from error


def _class_names(text: str) -> tuple[str, ...]:
    names = parse_json(text)
    if not isinstance(names, list):
        raise ValueError(f"expected a list of names, got a {type(names).__name__}")
    return class_name_tuple(names, None)


def _number_of_persons(text: str) -> int:
    if not text.isdecimal() or len(text) > 9 or not 1 <= int(text) <= MOST_PERSONS:
        raise ValueError(f"expected a number from 1 to {MOST_PERSONS:,}, got {text!r:.40}")
    return int(text)


def build_model(card: ModelCard) -> PoseModule:
    """Create the untrained model that ``card`` describes; a changed setting that it does not have warns.

    Raises:
        ValueError: no such model, or settings or a layout that it cannot use.
    """
    settings, defaults = card.config.model, ModelConfig()
    accepts = accepted_options(settings.model)
    options: dict[str, object] = {
        "num_classes": len(card.class_names),
        "max_persons": card.max_persons,
        "layout": card.layout,
        "size": card.config.data.sampling.size,
        "evidence": card.config.data.sampling.evidence,
    }
    if not accepts("joints"):  # else the joints say how many they are
        options["num_keypoints"] = card.layout.num_joints
    for field in dataclasses.fields(settings):
        if field.name in NOT_OPTIONS:
            continue
        if accepts(field.name):
            options[field.name] = getattr(settings, field.name)
        elif getattr(settings, field.name) != getattr(defaults, field.name):
            warnings.warn(f"{field.name} has no effect on the model {settings.model}", stacklevel=2)
    if settings.input != "grayscale":
        options.pop("joint_merge", None)
    return create_model(settings.model, **{name: value for name, value in options.items() if accepts(name)})


def shapes_of(card: ModelCard) -> dict[str, tuple[int, ...]]:
    """Return the shape of each weight of the model that ``card`` describes, for which no memory is taken."""
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # said when the model is made
        return {key: tuple(value.shape) for key, value in build_model(card).state_dict().items()}
