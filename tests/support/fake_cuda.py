"""A training step on fake CUDA tensors: what it would ask of a GPU, without one.

For processes that have loaded tests/fake_cuda/cuda.cpp.
"""

import contextlib
from collections import Counter
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from fastpose.data import PackedClips
from fastpose.data.sampling.batch import PoseBatch
from fastpose.data.sampling.sampler import INPUT_DRAWS
from fastpose.settings import RunConfig
from fastpose.training import setup as setups
from fastpose.training.setup import Setup
from fastpose.training.task import Views

# An operator for tensors without values, which torch lacks for rates that are tensors.
_library = torch.library.Library("aten", "IMPL")
_library.impl("_fused_adamw_.tensor_lr", lambda *_, **__: None, "Meta")

# What a GPU chooses for bf16; torch's build without CUDA knows no choice there.
_flash_attention = torch.ops.aten._scaled_dot_product_flash_attention

VIEWS = (
    "_reshape_alias alias as_strided chunk detach expand permute select slice split split_with_sizes squeeze t "
    "transpose unbind unsqueeze view _unsafe_view"
)
ALLOCATIONS = "empty empty_like empty_strided lift_fresh new_empty new_empty_strided"
NO_WORK = {*VIEWS.split(), *ALLOCATIONS.split()}


class Operators(TorchDispatchMode):
    """Counts what is computed inside, and lists what reads or writes both the host and the device."""

    def __init__(self) -> None:
        super().__init__()
        self.working: Counter[str] = Counter()
        self.copies: list[str] = []

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        result = operator(*args, **(kwargs or {}))
        name = str(operator)
        namespace, short, _ = name.split(".")
        tensors = [each for each in tree_leaves((args, kwargs, result)) if isinstance(each, Tensor)]
        devices = {tensor.device.type for tensor in tensors if _is_read(short, tensor)}
        if len(devices) > 1 or (short == "_local_scalar_dense" and "cuda" in devices):
            self.copies.append(name)
        if namespace in ("aten", "fastpose") and short not in NO_WORK and "cuda" in devices:
            self.working[short] += 1
        return result


def _is_read(operator: str, tensor: Tensor) -> bool:
    """Return whether a tensor's memory is used: a number on the host becomes an argument, unless it is copied."""
    return tensor.device.type != "cpu" or tensor.dim() > 0 or "copy" in operator


def trace_step(config: RunConfig, packed: PackedClips, clips: int = 32, epoch: int = 0) -> Operators:
    """Return what the second training step on ``clips`` clips does, launched without graph or compiler."""
    with fake_device():
        setup = Setup(config, packed)
        views = fake_views(setup, clips)
        setup.model.train()
        setup.step._launch(views, epoch)
        with Operators() as operators:
            setup.step._launch(views, epoch)
    return operators


def fake_views(setup: Setup, clips: int) -> Views:
    """Return the views of a batch, on the device."""
    persons, frames = setup.card.max_persons, setup.config.data.sampling.clip_len
    joints = setup.packed.layout.num_joints

    def new(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.empty(shape, dtype=dtype, device="cuda")

    return {
        view: PoseBatch(
            keypoints=new(clips, persons, frames, joints, 3),
            labels=new(clips, dtype=torch.int64),
            frames=new(clips, frames, dtype=torch.int32),
            indices=new(clips, dtype=torch.int64),
            draws=new(clips, INPUT_DRAWS),
        )
        for view in setup.task.views
    }


@contextlib.contextmanager
def fake_device() -> Iterator[None]:
    """Within, torch has a CUDA device, and tensors are fake."""
    build_model = setups.build_model

    def build_really(card):
        with unset_fake_temporarily():  # initialisation looks at what it has drawn
            return build_model(card)

    with pytest.MonkeyPatch.context() as patch, FakeTensorMode(allow_non_fake_inputs=True):
        patch.setattr(torch.cuda, "is_available", lambda: True)
        patch.setattr(torch.cuda, "is_bf16_supported", lambda *_: True)
        patch.setattr(nn.Module, "to", _move)
        patch.setattr(setups, "build_model", build_really)
        patch.setattr(F, "scaled_dot_product_attention", lambda *qkv: _flash_attention(*qkv)[0])
        # Of fake tensors torch takes those one by one that it takes in one kernel on a device.
        patch.setattr(torch.utils._foreach_utils, "_has_foreach_support", lambda tensors, device: True)
        patch.setattr(nn.utils.clip_grad, "_has_foreach_support", lambda tensors, device: True)
        yield


def _move(module: nn.Module, device: torch.device, memory_format: torch.memory_format) -> nn.Module:
    """Do what ``nn.Module.to`` does, which cannot exchange real weights for fake ones."""
    for part in module.modules():
        for name, weight in part._parameters.items():
            if weight is not None:
                part._parameters[name] = nn.Parameter(_like(weight, device, memory_format))
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = _like(buffer, device, memory_format)
    return module


def _like(tensor: Tensor, device: torch.device, memory_format: torch.memory_format) -> FakeTensor:
    fake = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=device)
    return fake.contiguous(memory_format=memory_format) if tensor.dim() == 5 else fake
