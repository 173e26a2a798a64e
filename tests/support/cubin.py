"""Compile Triton kernels to machine code without a GPU, and read what came out."""

import os
import re
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from support.needs import NO_TRITON

pytest.importorskip("triton", reason=NO_TRITON)
if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("interpreted kernels have no machine code: unset TRITON_INTERPRET", allow_module_level=True)

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

ARCHITECTURES = (80, 90, 100)
MATRIX_INSTRUCTION = {80: "HMMA", 90: "HGMMA", 100: "UTCHMMA"}
TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"


@dataclass(frozen=True, slots=True)
class Cubin:
    """One compiled kernel."""

    registers: int  # per thread
    stack: int  # bytes per thread
    shared: int  # bytes per block
    code: str = field(repr=False)  # disassembly

    def count(self, instruction: str) -> int:
        """How often an instruction that begins so (``"STG.E.128"``) stands in the code."""
        return len(re.findall(rf"\b{re.escape(instruction)}\b", self.code))

    @property
    def spills(self) -> int:
        """Loads and stores of local memory, where registers that do not fit go."""
        return self.count("STL") + self.count("LDL")


def compile_kernel(
    kernel, architecture: int, pointers: dict[str, str], constants: dict, scalars=None, **options
) -> Cubin:
    """Compile one specialisation.

    Args:
        kernel: a ``triton.jit`` function.
        architecture: 80, 90 or 100.
        pointers: element types by argument, ``{"x_ptr": "bf16"}``; taken as aligned to 16 bytes.
        constants: values of the constexpr arguments.
        scalars: types by argument of the others; int32, ending in _16 where a multiple of 16, unless given.
        options: num_warps, num_stages.
    """
    types, attributes = {}, {}
    for index, name in enumerate(kernel.arg_names):
        if name in constants:
            types[name] = "constexpr"
            continue
        types[name] = f"*{pointers[name]}" if name in pointers else (scalars or {}).get(name, "i32")
        if types[name].endswith("_16") or name in pointers:
            types[name] = types[name].removesuffix("_16")
            attributes[(index,)] = [["tt.divisibility", 16]]
    values = {(kernel.arg_names.index(name),): value for name, value in constants.items()}
    compiled = triton.compile(
        ASTSource(kernel, types, values, attributes),
        target=GPUTarget("cuda", architecture, 32),
        options=options,
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(compiled.asm["cubin"])
        usage = _run("cuobjdump", "--dump-resource-usage", path)
        code = _run("nvdisasm", "-c", path)
    function = usage[usage.rindex("Function") :]
    registers, stack = (int(re.search(rf"{key}:(\d+)", function)[1]) for key in ("REG", "STACK"))
    return Cubin(registers, stack, compiled.metadata.shared, code)


def _run(tool: str, *arguments) -> str:
    return subprocess.run([TOOLS / tool, *arguments], capture_output=True, text=True, check=True).stdout
