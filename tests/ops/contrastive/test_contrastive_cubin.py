"""The contrastive kernels as machine code: no spills, wide stores, matrix instructions."""

import itertools

import pytest
from support.cubin import ARCHITECTURES, MATRIX_INSTRUCTION, compile_kernel
from support.effort import FULL

from fastpose.ops.contrastive import kernels_backward as backward
from fastpose.ops.contrastive import kernels_class_means as means_kernels
from fastpose.ops.contrastive import kernels_forward as forward
from fastpose.ops.contrastive import tiles

SHARED_MEMORY = {80: 163, 90: 227, 100: 227}  # KiB that one program can have; a multiprocessor has 1 more
REGISTERS = 65536  # of a multiprocessor
MANY, FEW = 10**5, 500  # rows: large and small tiles
SCALARS = {"temperature": "fp32"} | dict.fromkeys(("width", "stride_x", "stride_y", "padded"), "i32_16")
COMMON = {"PAIRED": True, "TAU_IS_TENSOR": False}
REDUCED = {"BLOCK": 1024, "REDUCTION": "mean"}


def compiled(kernel, architecture, constants, element="fp32", **options):
    pointers = {name: "fp32" for name in kernel.arg_names if name.endswith("_ptr")}
    pointers |= {name: "i64" for name in pointers if name.startswith("labels")}
    pointers |= {name: "i32" for name in pointers if name.startswith("arrivals")}
    pointers |= {name: element for name in ("z_ptr", "x_ptr", "y_ptr", "weights_ptr") if name in pointers}
    constants = dict(constants)
    options |= {name: constants.pop(name) for name in ("num_warps", "num_stages") if name in constants}
    cubin = compile_kernel(
        kernel, architecture, pointers, constants, SCALARS, enable_fp_fusion=True, **options
    )
    assert cubin.spills == 0
    assert cubin.stack == 0
    assert cubin.shared <= SHARED_MEMORY[architecture] * 1024
    return cubin


def assert_room(cubin, architecture, warps, programs):
    """So many programs fit on one multiprocessor, which keeps 1 KiB for each beside what it asks for."""
    assert programs * warps * 32 * -(-cubin.registers // 8) * 8 <= REGISTERS
    assert programs * (cubin.shared + 1024) <= (SHARED_MEMORY[architecture] + 1) * 1024


# precision, padded width, rows, paired, row maxima. Full: each crossed with each; else where tiles are largest.
PAIRS = [("bf16", 128, MANY, True, False), ("bf16", 1024, MANY, True, False)]
if FULL:
    PAIRS = list(itertools.product(tiles.OPERANDS, (16, 32, 64, 128, 256, 384, 512, 1024, 2048), (FEW, MANY),
                                   (True, False), (False, True)))  # fmt: skip


@pytest.mark.parametrize(("precision", "width", "rows", "paired", "row_max"), PAIRS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_pairs(direction, architecture, precision, width, rows, paired, row_max):
    element = "bf16" if precision == "bf16" else "fp32"
    plain = paired and not row_max
    product = {"WIDTH": width, "PRECISION": tiles.DOT_PRECISION[precision]}
    constants = product | COMMON | {"PAIRED": paired, "ROW_MAX": row_max}
    cut = tiles.backward_tiles(width, rows, precision, architecture, plain)
    if direction == "forward":
        cut = tiles.forward_tiles(width, rows, precision, architecture, paired)
        cubins = [compiled(forward.sums_kernel, architecture, constants | REDUCED | cut.meta(), element)]
        assert_room(cubins[0], architecture, cut.warps, cut.programs)
    elif tiles.takes_panels(width, rows, cut):
        cut = tiles.weights_tiles(precision, architecture, plain)
        cubins = [compiled(backward.weights_kernel, architecture, constants | cut.meta(), element)]
        cut = tiles.product_tiles(width, precision, architecture)
        cubins += [compiled(backward.product_kernel, architecture, product | cut.meta(), element)]
    else:
        cubins = [compiled(backward.pairs_grad_kernel, architecture, constants | cut.meta(), element)]
    for cubin in cubins:
        if width > 16 or precision == "bf16":
            assert cubin.count(MATRIX_INSTRUCTION[architecture]) > 0
        assert cubin.count("LDGSTS") + cubin.count("UTMALDG") > 0  # keys arrive asynchronously
        assert cubin.count("STG.E.128") > 0 or direction == "forward"


@pytest.mark.parametrize("row_max", [False, True])
@pytest.mark.parametrize("rows", [2 * 4096, 2 * 16384])
@pytest.mark.parametrize(("architecture", "width"), [(80, 128), (90, 128), (100, 128)])
def test_two_forward_programs_share_a_multiprocessor(architecture, width, rows, row_max):
    """For the symmetric loss of 4096 and 16384 clips; with row maxima also for a temperature on the device."""
    cut = tiles.forward_tiles(width, rows, "bf16", architecture, True)
    assert cut.programs == 2
    constants = REDUCED | COMMON | {"TAU_IS_TENSOR": row_max, "ROW_MAX": row_max}
    constants |= {"WIDTH": width, "PRECISION": tiles.DOT_PRECISION["bf16"]} | cut.meta()
    cubin = compiled(forward.sums_kernel, architecture, constants, "bf16")
    assert_room(cubin, architecture, cut.warps, 2)
    splits = tiles.key_splits(rows // cut.rows, rows // cut.keys, 132 * cut.programs)
    assert 132 < rows // cut.rows * splits <= 2 * 132  # of an H100


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("element", ["fp32", "bf16"] if FULL else ["fp32"])
def test_rows(architecture, element):
    constants = {"WIDTH": 512, "BLOCK": 512, **COMMON}
    flags = {"COUNTED": False, "ROW_MAX": False}
    cubin = compiled(forward.normalize_kernel, architecture, constants | flags, element, num_warps=4)
    assert cubin.count("STG.E.128") > 0 or element == "bf16"
    flags = {"NEEDS_X": True, "NEEDS_Y": True, "NEEDS_TAU": True}
    cubin = compiled(backward.rows_grad_kernel, architecture, constants | flags, element, num_warps=4)
    assert cubin.count("STG.E.128") > 0


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("element", ["fp32", "fp16", "bf16"] if FULL else ["fp32"])
def test_class_means(architecture, element):
    constants = {"BLOCK_K": 64, "BLOCK_N": 32, "BLOCK_D": 32}
    cubin = compiled(means_kernels.means_kernel, architecture, constants, element, num_warps=4, num_stages=3)
    assert cubin.count(MATRIX_INSTRUCTION[architecture]) > 0
    constants = {"BLOCK_N": 16, "BLOCK_D": 128, "NEEDS_X": True, "NEEDS_Y": True}
    cubin = compiled(means_kernels.means_grad_kernel, architecture, constants, element, num_warps=4)
    assert cubin.count("STG.E.128") > 0
