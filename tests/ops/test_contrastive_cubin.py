"""The contrastive kernels as machine code: no spills, wide stores, matrix instructions."""

import itertools
import os

import pytest

pytest.importorskip("triton")
if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("interpreted kernels have no machine code", allow_module_level=True)

from cubin import ARCHITECTURES, MATRIX_INSTRUCTION, compile_kernel, full_matrix

from fastpose.ops.class_means import kernels as means_kernels
from fastpose.ops.contrastive import fused, kernels

SHARED_MEMORY = {80: 163, 90: 227, 100: 227}  # KiB that one block can have
MANY, FEW = 10**5, 500  # rows: large and small tiles
SCALARS = {"temperature": "fp32", "width": "i32_16", "stride_x": "i32_16", "stride_y": "i32_16"}
COMMON = {"PAIRED": True, "TAU_IS_TENSOR": False}


def compiled(kernel, architecture, constants, element="fp32", **options):
    pointers = {name: "fp32" for name in kernel.arg_names if name.endswith("_ptr")}
    pointers |= {name: "i64" for name in pointers if name.startswith("labels")}
    pointers |= {name: element for name in ("z_ptr", "x_ptr", "y_ptr") if name in pointers}
    cubin = compile_kernel(kernel, architecture, pointers, constants, SCALARS, **options)
    assert cubin.spills == 0
    assert cubin.stack == 0
    assert cubin.shared <= SHARED_MEMORY[architecture] * 1024
    return cubin


# precision, padded width, rows, paired, row maxima. Full: each crossed with each; else where tiles are largest.
PAIRS = [("bf16", 128, MANY, True, False)]
if full_matrix():
    PAIRS = list(itertools.product(fused.OPERANDS, (16, 32, 64, 128, 256, 384, 512, 2048), (FEW, MANY),
                                   (True, False), (False, True)))  # fmt: skip
    PAIRS = [
        case for case in PAIRS if case[0] == "bf16" or case[2] == MANY
    ]  # the others have one size of tile


@pytest.mark.parametrize(("precision", "width", "rows", "paired", "row_max"), PAIRS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_pairs(direction, architecture, precision, width, rows, paired, row_max):
    kernel = kernels.sums_kernel if direction == "forward" else kernels.pairs_grad_kernel
    if direction == "forward":
        tiles = fused.forward_tiles(width, rows, precision, architecture, paired)
    else:
        tiles = fused.backward_tiles(width, rows, precision, architecture, paired and not row_max)
    constants = tiles.meta() | {
        "WIDTH": width, "ROW_MAX": row_max, "PRECISION": fused.DOT_PRECISION[precision],
        **COMMON, "PAIRED": paired,
    }  # fmt: skip
    options = {name: constants.pop(name) for name in ("num_warps", "num_stages")}
    if direction == "backward":
        constants["BLOCK_O"] = tiles.columns
    cubin = compiled(kernel, architecture, constants, "bf16" if precision == "bf16" else "fp32", **options)
    if width >= tiles.depth > 16 or precision == "bf16":
        assert cubin.count(MATRIX_INSTRUCTION[architecture]) > 0
    assert cubin.count("LDGSTS") + cubin.count("UTMALDG") > 0  # keys arrive asynchronously
    if direction == "backward":
        assert cubin.count("STG.E.128") > 0


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("element", ["fp32", "bf16"] if full_matrix() else ["fp32"])
def test_rows(architecture, element):
    constants = {"WIDTH": 512, "BLOCK": 512, **COMMON}
    flags = {"COUNTED": False, "ROW_MAX": False}
    cubin = compiled(kernels.normalize_kernel, architecture, constants | flags, element, num_warps=4)
    assert cubin.count("STG.E.128") > 0 or element == "bf16"
    flags = {"NEEDS_X": True, "NEEDS_Y": True}
    cubin = compiled(kernels.rows_grad_kernel, architecture, constants | flags, element, num_warps=4)
    assert cubin.count("STG.E.128") > 0


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("reduction", ["mean", "none"] if full_matrix() else ["mean"])
def test_reductions(architecture, reduction):
    constants = {"BLOCK": 2048, "SYMMETRIC": True, "ROW_MAX": False, "REDUCTION": reduction, **COMMON}
    compiled(kernels.finish_kernel, architecture, constants, num_warps=16)
    compiled(kernels.tau_grad_kernel, architecture, {"BLOCK": 1024}, num_warps=4)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("element", ["fp32", "fp16", "bf16"] if full_matrix() else ["fp32"])
def test_class_means(architecture, element):
    constants = {"BLOCK_K": 64, "BLOCK_N": 32, "BLOCK_D": 32}
    cubin = compiled(means_kernels.means_kernel, architecture, constants, element, num_warps=4, num_stages=3)
    assert cubin.count(MATRIX_INSTRUCTION[architecture]) > 0
    cubin = compiled(
        means_kernels.means_grad_kernel, architecture, {"BLOCK_N": 16, "BLOCK_D": 128}, element, num_warps=4
    )
    assert cubin.count("STG.E.128") > 0
