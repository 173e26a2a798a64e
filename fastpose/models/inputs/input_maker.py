"""Inputs of any model in the number format and the memory layout in which it is fast."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fastpose.models.inputs.pose_input import ImplicitHeatmaps, keypoints_of


def memory_format_for(model: nn.Module, dtype: torch.dtype) -> torch.memory_format:
    """The layout of weights and inputs in which ``model`` is fast when its matrix products are in ``dtype``."""
    drawn = model.pose_input.input != "skeleton"
    return torch.channels_last_3d if drawn and dtype == torch.bfloat16 else torch.contiguous_format


class InputMaker:
    """Makes inputs from batches; drawn ones are written where the last of the same name were.

    Fresh memory for each step costs more than the drawing: it has to be mapped page by page.

    Args:
        dtype: of drawn inputs, that of the model's matrix products. Coordinates stay float32.
    """

    def __init__(self, dtype: torch.dtype):
        self.dtype = dtype
        self._memory: dict[str, Tensor] = {}

    def make(self, model: nn.Module, batches: Sequence[Any], name: str = "") -> Tensor | ImplicitHeatmaps:
        """The input of ``model`` for batches of one size, stacked; a drawn one lasts until ``name`` comes again."""
        if model.pose_input.input == "skeleton":
            return torch.cat([model.prepare_input(batch) for batch in batches])
        if model.pose_input.is_implicit:
            return model.implicit_input(torch.cat([keypoints_of(batch) for batch in batches]))
        count, *volume = model.pose_input.shape(batches[0].keypoints)
        total = count * len(batches)
        memory = self._memory_of(name, (total, *volume), model, batches[0].keypoints.device)
        for i, batch in enumerate(batches):
            model.prepare_input(batch, self.dtype, out=memory[i * count : (i + 1) * count])
        return memory[:total]  # [n·B, C, T, H, W]

    def release(self) -> None:
        """Give back the memory of all inputs made so far."""
        self._memory.clear()

    def _memory_of(self, name: str, shape: tuple[int, ...], model: nn.Module, device: torch.device) -> Tensor:
        planned = torch.compiler.is_compiling() or _is_captured(device)  # a graph plans its own memory
        kept = None if planned else self._memory.get(name)
        if kept is not None and len(kept) >= shape[0] and kept.shape[1:] == shape[1:]:
            return kept
        fresh = torch.empty(
            shape, dtype=self.dtype, device=device, memory_format=memory_format_for(model, self.dtype)
        )
        if not planned:
            self._memory[name] = fresh
        return fresh


def _is_captured(device: torch.device) -> bool:
    return device.type == "cuda" and torch.cuda.is_current_stream_capturing()
