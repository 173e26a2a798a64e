"""What a model on disk says of itself."""

import dataclasses
import json
import warnings
from pathlib import Path

from fastpose.data.denoising.denoiser import Denoiser
from fastpose.data.pack.layouts import Layout
from fastpose.data.pack.packed import PackedClips
from fastpose.data.sampling.sample_prior import SamplePrior
from fastpose.models.inputs.motionbert_published import match_clips
from fastpose.models.inputs.protocol import PoseModule
from fastpose.models.registry import accepted_options, create_model
from fastpose.settings import ModelConfig, RunConfig
from fastpose.settings.files import from_dict

FORMAT = "fastpose-model-1"
NOT_OPTIONS = ("model", "init")  # of ModelConfig: which network, and its first weights


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
            config=from_dict(json.loads(metadata["config"]), source=str(path)),
            layout=Layout.from_json(json.loads(metadata["layout"])),
            class_names=tuple(json.loads(metadata["class_names"])),
            max_persons=int(metadata["max_persons"]),
            prior=_prior_of(metadata, path),
            denoise=metadata.get("denoise", "off"),
        )
        try:
            card.denoiser()
        except ValueError as error:
            raise ValueError(f"{path}: its denoising cannot be read: {error}") from error
        return card

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


def _prior_of(metadata: dict[str, str], path: Path) -> SamplePrior | None:
    if "prior" not in metadata:
        return None
    try:
        return SamplePrior.from_json(json.loads(metadata["prior"]))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: the prior of its motion filter cannot be read: {error}") from error


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
