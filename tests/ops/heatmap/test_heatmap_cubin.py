"""The renderer's kernels as machine code: no spills, 16-byte stores, rounding to nearest even."""

import itertools
import re

import pytest
from support.cubin import ARCHITECTURES, compile_kernel
from support.effort import FULL

from fastpose.ops.heatmap import kernels
from fastpose.ops.heatmap import kernels_gradient as gradient_kernels

SCALARS = dict.fromkeys(["radius", "decay", "inverse_variance"], "fp32") | {"num_tiles": "i64"}
HEIGHT, WIDTH, JOINTS, LIMBS = 56, 56, 17, 24

# element, interleaved channels, persons (0: a loop)
CASES = {False: [("bf16", JOINTS, 2)], True: [("bf16", LIMBS, 2)]}  # by whether limbs are drawn
if FULL:
    CASES = {limbs: list(itertools.product(["fp32", "fp16", "bf16"], [1, LIMBS if limbs else JOINTS], [1, 2, 4, 0]))
             for limbs in CASES}  # fmt: skip


def compiled(kernel, architecture, pointers, constants, **options):
    cubin = compile_kernel(kernel, architecture, pointers, constants, SCALARS, **options)
    assert cubin.spills == 0
    assert cubin.stack == 0
    return cubin


def assert_wide_stores(cubin, element):
    assert cubin.count("STG.E.128") > 0
    assert cubin.count("STG.E") == cubin.count("STG.E.128")
    conversions = re.findall(r"\bF2FP[.\w]*", cubin.code)
    assert (element == "fp32") == (not conversions)
    assert not any(".RZ" in conversion for conversion in conversions)  # to nearest even


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(
    ("limbs", "element", "interleaved", "persons"),
    [(limbs, *case) for limbs, cases in CASES.items() for case in cases],
)
def test_maps(architecture, limbs, element, interleaved, persons):
    elements = 4096 if interleaved == 1 and not limbs else 2048
    rows, columns = kernels.tile_shape(HEIGHT, WIDTH * interleaved, elements)
    constants = {"WIDTH": WIDTH, "INTERLEAVED": interleaved, "LIMBS": limbs, "PERSONS": persons,
                 "ROWS": rows, "COLUMNS": columns}  # fmt: skip
    pointers = {"keypoints": "fp32", "limbs": "i32", "out": element}
    cubin = compiled(kernels.draw_maps, architecture, pointers, constants, num_warps=4, enable_fp_fusion=True)
    assert_wide_stores(cubin, element)
    if interleaved == 1 and persons > 0:
        assert cubin.count("STS") == 0  # the tile stays in registers


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("element", ["fp32", "fp16", "bf16"] if FULL else ["bf16"])
@pytest.mark.parametrize("takes_max", [False, True] if FULL else [False])
def test_grayscale(architecture, element, takes_max):
    rows, columns = kernels.tile_shape(HEIGHT, WIDTH, 512)
    constants = {"WIDTH": WIDTH, "TAKES_MAX": takes_max, "JOINTS": 32, "ROWS": rows, "COLUMNS": columns}
    pointers = {"keypoints": "fp32", "out": element}
    cubin = compiled(
        kernels.draw_grayscale, architecture, pointers, constants, num_warps=1, enable_fp_fusion=True
    )
    assert_wide_stores(cubin, element)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("element", ["fp32", "fp16", "bf16"] if FULL else ["bf16"])
@pytest.mark.parametrize("side", [8, 16, 32] if FULL else [8])
@pytest.mark.parametrize(("grayscale", "compete"), [(False, False), (True, True)][: 1 + FULL])
def test_joint_gradients(architecture, element, side, grayscale, compete):
    pointers = {"keypoints": "fp32", "gradient": element, "result": "fp32"}
    constants = {"GRAYSCALE": grayscale, "JOINTS_COMPETE": compete, "ROWS": side, "COLUMNS": side}
    warps = 4 if side == 32 else 1
    compiled(
        gradient_kernels.joint_gradients,
        architecture,
        pointers,
        constants,
        num_warps=warps,
        enable_fp_fusion=False,
    )


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("element", ["fp32", "fp16", "bf16"] if FULL else ["bf16"])
@pytest.mark.parametrize("side", [16, 32] if FULL else [16])
def test_limb_gradients(architecture, element, side):
    pointers = {"keypoints": "fp32", "limbs": "i32", "gradient": element, "result": "fp32"}
    constants = {"ROWS": side, "COLUMNS": side}
    warps = 4 if side == 32 else 1
    compiled(
        gradient_kernels.limb_gradients,
        architecture,
        pointers,
        constants,
        num_warps=warps,
        enable_fp_fusion=False,
    )
