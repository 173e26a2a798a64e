"""What fastpose asks of a network, its own or a user's, and of the input that a network is given."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from fastpose.data.pack.layouts import Layout
from fastpose.data.sampling.batch import PoseBatch
from fastpose.models.outputs import ModelOutput


class PoseModel(Protocol):
    """A ``torch.nn.Module`` that can be trained, measured and used: ``output = model(model.prepare_input(batch))``.

    Networks of fastpose also take the batch itself. An attribute ``takes_images`` that is true says that the
    prepared input is volumes [B, C, T, H, W] of more than one pixel.
    """

    def prepare_input(self, batch: PoseBatch, /) -> Any:
        """Return what ``forward`` takes, made of the keypoints float32 [B, M, T, V, 3]: pixels x, y and score."""
        ...

    def __call__(self, x: Any, /) -> ModelOutput:
        """Return logits [B, K] and features [B, D] of what ``prepare_input`` returned."""
        ...


class PoseModule(nn.Module):
    """A ``torch.nn.Module`` that is a ``PoseModel``, as annotations name it; a user's network need not inherit it."""

    __call__: Callable[..., ModelOutput]
    pose_input: "ModelInput"  # of fastpose's own networks, with the numbers that go with it
    num_classes: int
    num_keypoints: int

    def prepare_input(self, batch: PoseBatch, /) -> Any:
        """Return what ``forward`` takes, made of the keypoints."""
        raise NotImplementedError

    def separate_views(self, views: int, /) -> bool:
        """Take batches in which so many views of a clip follow each other, and treat each view in training as if its
        clips were all; return whether the network can."""
        return False


class ModelInput(Protocol):
    """How the networks of fastpose come from a batch of keypoints to their input."""

    @property
    def takes_images(self) -> bool:
        """Whether it is volumes of more than one pixel."""
        ...

    @property
    def fed(self) -> Layout | None:
        """The joints that the network itself sees; None where they were not named."""
        ...

    @property
    def axes(self) -> dict[int, str]:
        """The axes of the dense input whose size the network leaves open, by what they count."""
        ...

    def prepare(self, batch: Any, dtype: torch.dtype = torch.float32) -> Any:
        """Return the form of the input with which the network is fast."""
        ...

    def dense(self, batch: Any, dtype: torch.dtype = torch.float32, out: Tensor | None = None) -> Tensor:
        """Return the input as one tensor, which exported programs take."""
        ...

    def shape(self, keypoints: Tensor) -> tuple[int, ...]:
        """Return the shape of the dense input made from keypoints [B, M, T, V, 3]."""
        ...

    def misfit(self, layout: Layout, settings: Mapping[str, Any]) -> Layout | None:
        """Return the joints that such an input of ``layout`` and ``settings`` is fed, where they are not its own."""
        ...


def as_input(model: PoseModel, x: Any) -> Any:
    """Return the input of ``model``: ``x`` itself, or what the model prepares of it where it is a batch."""
    return model.prepare_input(x) if isinstance(x, PoseBatch) else x
