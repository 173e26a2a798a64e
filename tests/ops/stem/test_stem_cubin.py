"""The stem's kernels as machine code: no spills, products of joints in multiply-adds, wide stores."""

import re

import pytest
import torch
from support.cubin import ARCHITECTURES, compile_kernel
from support.effort import FULL

from fastpose.ops.stem import kernels_forward as kernels
from fastpose.ops.stem import kernels_keypoint_gradient as keypoint_kernels
from fastpose.ops.stem import kernels_weight_gradient as weight_kernels
from fastpose.ops.stem.kernels_filters import arrange_filters

SCALARS = dict.fromkeys(["radius", "decay", "inverse_variance"], "fp32") | dict.fromkeys(
    ["num_blocks", "num_programs", "num_joints_of_all"], "i64"
)
SIDE, PERSONS, JOINTS, SIGMA = 56, 2, 17, 0.6
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
STEMS = {  # output channels, kernel, stride, padding
    "SlowOnly": (32, (1, 7, 7), (1, 1, 1), (0, 3, 3)),
    "X3D": (24, (1, 3, 3), (1, 2, 2), (0, 1, 1)),
    "C3D": (32, (3, 3, 3), (1, 1, 1), (1, 1, 1)),
}
CASES = [(stem, "heatmap", "bf16") for stem in STEMS]
if FULL:
    CASES = [
        (stem, mode, element)
        for stem in STEMS
        for mode in ("heatmap", "grayscale_sum", "limb")
        for element in ("fp32", "fp16", "bf16")
    ]
each_case = pytest.mark.parametrize(("stem", "mode", "element"), CASES)
each_architecture = pytest.mark.parametrize(
    "architecture", ARCHITECTURES if FULL else (80, 90)
)  # a compilation takes seconds


def compiled(kernel, architecture, pointers, constants, **options):
    pointers = {"keypoints": "fp32", "limbs": "i32", **pointers}
    cubin = compile_kernel(kernel, architecture, pointers, constants, SCALARS, num_warps=1, **options)
    assert cubin.spills == 0
    assert cubin.stack == 0
    return cubin


@each_architecture
@each_case
def test_convolution(architecture, stem, mode, element):
    channels, kernel, stride, padding = STEMS[stem]
    sides = [
        (SIDE + 2 * pad - side) // step + 1
        for side, step, pad in zip(kernel[1:], stride[1:], padding[1:], strict=True)
    ]
    out = torch.empty(1, channels, 24, *sides, device="meta", dtype=DTYPES[element])
    constants = kernels.convolution_constants(out, PERSONS, JOINTS, kernel, mode)
    cubin = compiled(
        kernels.convolve_maps, architecture,
        {"filters": "fp32", "pixels": "i32", "out": element},
        constants | kernels.geometry(kernel, stride, padding, mode) | {"WIDE": stem == "C3D"},
        maxnreg=kernels.REGISTERS, enable_fp_fusion=True,
    )  # fmt: skip
    assert cubin.count("STG.E.128") > 0
    assert cubin.count("STG.E") == cubin.count("STG.E.128")
    assert not re.search(r"\bF2FP[.\w]*\.RZ", cubin.code)  # to nearest even
    # Each of the kernel's rows meets each row of the tile once, in products of 8 outputs.
    products = constants["ROWS"] * kernel[1] * {1: 1, 2: 3}[constants["PARTS"]] * 4
    assert cubin.count("HMMA.1688.F32.TF32") == products
    # Operands and results are where they are used: nothing goes through shared memory or from lane to lane.
    assert cubin.shared == 0
    if element != "fp32":
        assert cubin.count("SHFL") == 0


@each_architecture
@each_case
def test_filters(architecture, stem, mode, element):
    channels, kernel, _, _ = STEMS[stem]
    constants = dict(zip(("KT", "KH", "KW"), kernel, strict=True)) | {"OUT_CHANNELS": channels, "BLOCK": 1024}
    parts = 2 if element == "fp32" else 1
    cubin = compile_kernel(
        arrange_filters, architecture, {"weight": "fp32", "filters": "fp32", "pixels": "i32"},
        constants | {"TAPS": 8, "PARTS": parts}, num_warps=4, enable_fp_fusion=True,
    )  # fmt: skip
    assert cubin.spills == 0
    assert cubin.stack == 0


@each_architecture
@each_case
def test_weight_gradient(architecture, stem, mode, element):
    channels, kernel, stride, padding = STEMS[stem]
    shape = (channels, JOINTS, *kernel)
    constants = weight_kernels.correlation_constants(shape, stride, SIGMA)
    constants |= kernels.geometry(kernel, stride, padding, mode)
    compiled(
        weight_kernels.correlate_maps, architecture, {"gradient": element, "shares": "fp32"}, constants,
        maxnreg=weight_kernels.REGISTERS, enable_fp_fusion=True,
    )  # fmt: skip


@each_architecture
@each_case
def test_keypoint_gradient(architecture, stem, mode, element):
    channels, kernel, stride, padding = STEMS[stem]
    constants = keypoint_kernels.gather_constants((channels, JOINTS, *kernel))
    constants |= kernels.geometry(kernel, stride, padding, mode)
    compiled(
        keypoint_kernels.keypoint_gradients, architecture,
        {"weight": "fp32", "gradient": element, "result": "fp32"}, constants,
        maxnreg=keypoint_kernels.REGISTERS, enable_fp_fusion=False,
    )  # fmt: skip
