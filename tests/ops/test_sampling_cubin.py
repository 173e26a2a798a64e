"""The device sampler's kernels as machine code: no spills."""

import itertools
import os

import pytest

pytest.importorskip("triton")
if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("interpreted kernels have no machine code", allow_module_level=True)

from cubin import ARCHITECTURES, compile_kernel, full_matrix

from fastpose.ops.sampling import kernels

SCALARS = {"seed": "i64", "alpha_low": "fp32", "alpha_high": "fp32"}
FRAME_POINTERS = {"indices": "i64", "name_hashes": "i64", "num_frames": "i32", "labels": "i64", "frames": "i32",
                  "batch_labels": "i64"}  # fmt: skip
POINTERS = {"keypoints": "fp32", "scores": "fp32", "offsets": "i64", "num_persons": "i32", "num_frames": "i32",
            "image_sizes": "i32", "name_hashes": "i64", "total_differences": "fp64", "flipped_joint": "i32",
            "settings": "fp64", "indices": "i64", "alphas": "fp64", "frames": "i32", "out": "fp32"}  # fmt: skip
CASES = [(True, 1, False)]  # train, flip, alpha per clip
if full_matrix():
    CASES = list(itertools.product([False, True], [0, 1, 2], [False, True]))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("draw", [True, False] if full_matrix() else [True])
def test_frames(architecture, draw):
    constants = {"CLIP_LEN": 24, "DRAW": draw, "CLIPS": 32}
    options = {"num_warps": 1, "debug": True, "sanitize_overflow": False, "enable_fp_fusion": False}
    cubin = compile_kernel(kernels.choose_frames, architecture, FRAME_POINTERS, constants, SCALARS, **options)
    assert cubin.spills == cubin.stack == 0
    assert "__assertfail" in cubin.code  # an index out of range stops the program


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(("train", "flip", "per_clip"), CASES)
def test_joints(architecture, train, flip, per_clip):
    constants = {"MAX_PERSONS": 2, "CLIP_LEN": 24, "NUM_JOINTS": 25, "TRAIN": train, "FLIP": flip,
                 "PER_CLIP": per_clip, "ELEMENTS": 512}  # fmt: skip
    options = {"num_warps": 4, "enable_fp_fusion": False}
    cubin = compile_kernel(kernels.place_joints, architecture, POINTERS, constants, SCALARS, **options)
    assert cubin.spills == cubin.stack == 0
