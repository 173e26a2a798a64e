"""What torch.compile makes of a training step for an H100: the kernels in the code that it writes, which is not run.

For processes that have loaded tests/fake_cuda/cuda.cpp.
"""

import re
from collections import Counter
from types import SimpleNamespace

import pytest
import torch
import torch._functorch.config as functorch_config
import torch._inductor.config as inductor_config
from support.dry_launch import MockedDriver
from support.fake_cuda import fake_device, fake_views
from torch._inductor import async_compile, compile_fx
from torch._inductor import graph as inductor_graph
from torch._inductor.fx_passes import joint_graph, post_grad
from triton.runtime import driver

from fastpose.data import PackedClips
from fastpose.settings import RunConfig
from fastpose.training.compiled import INDUCTOR_OPTIONS
from fastpose.training.setup import Setup

H100 = SimpleNamespace(
    name="NVIDIA H100", multi_processor_count=132, major=9, minor=0, total_memory=80 * 2**30,
    regs_per_multiprocessor=65536, max_threads_per_multi_processor=2048, max_threads_per_block=1024, warp_size=32,
    L2_cache_size=50 * 2**20, shared_memory_per_block=48 * 1024, shared_memory_per_block_optin=227 * 1024,
    shared_memory_per_multiprocessor=228 * 1024, gcnArchName="", uuid="0",
)  # fmt: skip
# Kernels of operators; any other call launches one.
LAUNCHES = {"contrast": 2, "contrast_backward": 2, "pose_stem": 2, "convolution_backward": 2}
CALL = re.compile(
    r"^\s+(?:\w+ = )?(?:(triton_\w+)\.run|extern_kernels\.(\w+)|torch\.ops\.fastpose\.(\w+)\.\w+"
    r"|(?:torch\.ops\.)?aten\.(\w+)(?:\.\w+)?)\(",
    re.M,
)


def compiled_launches(
    config: RunConfig, packed: PackedClips, clips: int = 32, epoch: int = 0
) -> Counter[str]:
    """Return how often kernels are launched by the compiled passes, forward and backward, and the loss of a step."""
    programs: list[str] = []

    class Compiled(Exception):
        pass

    def backend(graph, inputs):
        compile_fx.compile_fx(graph, inputs, config_patches=INDUCTOR_OPTIONS)
        raise Compiled  # what was compiled cannot be run

    # Folding runs what it folds.
    compiler = inductor_config.patch(force_disable_caches=True, joint_graph_constant_folding=False)
    at_once = functorch_config.patch(force_non_lazy_backward_lowering=True)
    with fake_device(), pytest.MonkeyPatch.context() as patch, compiler, at_once:
        _pretend(patch, programs)
        setup = Setup(config, packed)
        setup.model.train()
        step = torch.compile(setup.task.step, fullgraph=True, backend=backend)
        torch.compiler.reset()
        with pytest.raises(Exception, match="Compiled"):
            step(setup.model, fake_views(setup, clips), setup.task.phase(epoch), setup.placement.autocast)
    assert len(programs) == 2  # forward and backward
    counts: Counter[str] = Counter()
    for program in programs:
        for triton, library, own, aten in CALL.findall(program[program.rindex("def call(") :]):
            counts["triton" if triton else library or own or aten] += LAUNCHES.get(own or aten, 1)
    return counts


def _pretend(patch: pytest.MonkeyPatch, programs: list[str]) -> None:
    """Let torch's compiler find an H100, and keep the programs that it writes without compiling their kernels."""
    for name in ("get_device_properties", "_get_device_properties"):
        patch.setattr(torch.cuda, name, lambda *_: H100, raising=False)
    patch.setattr(torch.cuda, "get_device_capability", lambda *_: (9, 0))
    for name in ("current_device", "_exchange_device", "_maybe_exchange_device"):
        patch.setattr(torch.cuda, name, lambda *_: 0)
    patch.setattr(torch.cuda, "device_count", lambda: 1)
    for name in ("_lazy_init", "set_rng_state"):
        patch.setattr(torch.cuda, name, lambda *_: None)
    patch.setattr(torch.cuda, "get_rng_state", lambda *_: torch.zeros(16, dtype=torch.uint8))
    for name in ("_cuda_getCurrentRawStream", "_cuda_setDevice"):
        patch.setattr(torch._C, name, lambda *_: 0, raising=False)
    patch.setattr(driver, "_active", MockedDriver(90))
    for passes in (joint_graph, post_grad):
        patch.setattr(passes, "lazy_init", lambda *_: None)  # patterns, traced with real tensors
    patch.setattr(async_compile.AsyncCompile, "triton", lambda *_, **__: None)
    patch.setattr(inductor_graph.GraphLowering, "save_output_code", staticmethod(programs.append))
