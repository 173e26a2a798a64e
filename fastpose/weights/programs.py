"""What exported programs compute: a model from its dense input, or from the keypoints of a clip."""

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from fastpose.data.pack.packed import PackedClips
from fastpose.data.sampling.sampler import ClipSampler
from fastpose.data.sampling.traceable import TraceableSampler
from fastpose.models.inputs.protocol import PoseModule
from fastpose.models.outputs import ModelOutput
from fastpose.weights.card import ModelCard

OUTPUTS = ("logits", "features")
Start = Literal["input", "keypoints"]
TRACED_SIZES = {"batch": 2, "persons": 2, "frames": 4, "height": 32, "width": 40}
CHECKED_SIZES = (
    {"batch": 1, "persons": 1, "frames": 3, "height": 24, "width": 32},
    {"batch": 3, "persons": 2, "frames": 5, "height": 32, "width": 16},
)


class Program(nn.Module):
    """A program with outputs in a dict, since exported ones know no classes of fastpose.

    Attributes:
        inputs: their names.
        axes: of each input, the axes whose size may vary, by what they count.
    """

    inputs: tuple[str, ...]
    axes: tuple[dict[int, str], ...]

    def __init__(self, model: PoseModule, card: ModelCard) -> None:
        super().__init__()
        self.model, self.card = model, card

    def describe(self) -> str:
        """Say what it takes: "input [batch, 17, frames, height, width] → logits [batch, 60], features"."""
        raise NotImplementedError

    def metadata(self) -> dict[str, str]:
        """Return what the program's file says of it."""
        return self.card.to_metadata()

    def traced_inputs(self) -> tuple[Tensor, ...]:
        """Return random inputs to trace it with."""
        raise NotImplementedError

    def checked_inputs(self) -> Iterator[tuple[Tensor, ...]]:
        """Yield random inputs of other sizes."""
        raise NotImplementedError

    def expected(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return what fastpose makes of inputs, output by output."""
        raise NotImplementedError


class InputProgram(Program):
    """The model alone, from what its ``dense_input`` makes of a batch to logits [B, K] and features [B, D]."""

    inputs = ("input",)

    def __init__(self, model: PoseModule, card: ModelCard) -> None:
        if not hasattr(model, "pose_input"):
            raise ValueError(
                f"{type(model).__name__} is a network of your own without pose_input (fastpose.models.inputs), "
                "which says what a program takes; expected --from keypoints, or --format safetensors"
            )
        super().__init__(model, card)
        self.axes = (model.pose_input.axes,)

    def forward(self, input: Tensor) -> dict[str, Tensor]:
        return _by_name(self.model(input))

    def describe(self) -> str:
        shape: list[int | str] = [*self._shape()]
        for axis, name in self.axes[0].items():
            shape[axis] = name
        return f"input [{', '.join(map(str, shape))}] → logits [batch, {self.model.num_classes}], features"

    def traced_inputs(self) -> tuple[Tensor, ...]:
        return (self._random(TRACED_SIZES),)

    def checked_inputs(self) -> Iterator[tuple[Tensor, ...]]:
        yield from ((self._random(sizes),) for sizes in CHECKED_SIZES)

    def expected(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return tuple(_by_name(self.model(*inputs)).values())

    def _random(self, sizes: dict[str, int]) -> Tensor:
        """Return a normally distributed input, with ``sizes`` on the axes that may vary."""
        shape = list(self._shape())
        most = {"frames": getattr(self.model, "maxlen", math.inf)}
        for axis, name in self.axes[0].items():
            shape[axis] = int(min(sizes[name], most.get(name, math.inf)))
        generator = torch.Generator().manual_seed(sum(shape))
        return torch.randn(shape, generator=generator)

    def _shape(self) -> tuple[int, ...]:
        return self.model.pose_input.shape(torch.empty(1, 1, 1, self.model.num_keypoints, 3, device="meta"))


class KeypointProgram(Program):
    """The model behind its sampling outside training, from one clip to logits [K] and features [D].

    It takes the clip as ``TraceableSampler.sample`` does, of the card's layout. Long clips are not cut into windows.

    Raises:
        ValueError: the card asks for more than sampling in front of the model.
    """

    inputs = ("keypoints", "image_size")
    axes = ({0: "persons", 1: "frames"}, {})

    def __init__(self, model: PoseModule, card: ModelCard) -> None:
        if card.denoise != "off":
            raise ValueError(
                "the model stands behind a denoiser, whose steps depend on each clip and fit no program from "
                "keypoints; expected --denoise off, with fastpose.data.Denoiser in front of the program"
            )
        if card.config.model.published:
            raise ValueError(
                "MotionBERT's published form matches persons over whole clips before they are sampled, which no "
                "program from keypoints does; expected --from input"
            )
        super().__init__(model, card)
        self.sampling = replace(card.config.data.sampling, max_persons=card.max_persons)
        self.sampler = TraceableSampler(self.sampling, card.prior)

    def forward(self, keypoints: Tensor, image_size: Tensor) -> dict[str, Tensor]:
        batch = self.sampler.sample(keypoints, image_size)
        make_input = getattr(self.model, "dense_input", self.model.prepare_input)
        return {name: output[0] for name, output in _by_name(self.model(make_input(batch))).items()}

    def describe(self) -> str:
        joints = self.card.layout.num_joints
        return (
            f"keypoints [persons, frames, {joints}, 3], image_size [2] → logits [{len(self.card.class_names)}], "
            "features"
        )

    def metadata(self) -> dict[str, str]:
        inputs = {
            "keypoints": f"float32 [persons, frames, {self.card.layout.num_joints}, 3]: x, y in pixels, score",
            "image_size": "int64 [2]: height, width in pixels",
        }
        return self.card.to_metadata() | {
            "inputs": json.dumps(inputs),
            "joints": json.dumps(self.card.layout.joints),
            "clip_len": str(self.sampling.clip_len),
        }

    def traced_inputs(self) -> tuple[Tensor, ...]:
        return self._random(2, self.sampling.clip_len + 1)

    def checked_inputs(self) -> Iterator[tuple[Tensor, ...]]:
        yield self._random(1, 1)
        yield self._random(1, self.sampling.clip_len // 2 + 1)
        yield self._random(3, 2 * self.sampling.clip_len + 5)

    def expected(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        keypoints, image_size = (tensor.numpy() for tensor in inputs)
        seen = keypoints[(keypoints[..., 2] > 0).any((1, 2))]
        clip = {"keypoints": seen[..., :2], "scores": seen[..., 2], "label": 0, "image_size": image_size}
        packed = PackedClips.from_clips([clip], layout=self.card.layout)
        sampler = ClipSampler(packed, self.sampling, train=False, prior=self.card.prior)
        output = self.model(self.model.prepare_input(sampler.batch([0])))
        return tuple(each[0] for each in _by_name(output).values())

    def _random(self, persons: int, frames: int) -> tuple[Tensor, ...]:
        """Return persons who drift through the image, a tenth of their joints missing and of several one absent."""
        random = np.random.default_rng(frames)
        joints = self.card.layout.num_joints
        places = random.uniform((200, 100), (440, 380), (persons, 1, joints, 2))
        moves = random.normal(0, 4, (persons, frames, joints, 2)).cumsum(1)
        scores = random.uniform(0.3, 1, (persons, frames, joints, 1)) * (
            random.random((persons, frames, joints, 1)) > 0.1
        )
        if persons > 1:
            scores[persons // 2] = 0
        keypoints = np.concatenate([places + moves, scores], axis=-1)
        return torch.from_numpy(keypoints.astype(np.float32)), torch.tensor([480, 640])


PROGRAMS: dict[Start, type[Program]] = {"input": InputProgram, "keypoints": KeypointProgram}


def _by_name(output: ModelOutput) -> dict[str, Tensor]:
    return {name: getattr(output, name) for name in OUTPUTS}
