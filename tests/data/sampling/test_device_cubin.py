"""The device sampler's kernels as machine code: no spills."""

import itertools

import pytest
from support.cubin import ARCHITECTURES, compile_kernel
from support.effort import FULL

from fastpose.data.sampling import kernels, kernels_noise

SCALARS = {"seed": "i64", "alpha_low": "fp32", "alpha_high": "fp32", "families": "i64"}
FRAME_POINTERS = {"indices": "i64", "name_hashes": "i64", "num_frames": "i32", "labels": "i64", "frames": "i32",
                  "batch_labels": "i64", "draws": "fp32", "lengths": "i32"}  # fmt: skip
POINTERS = {"keypoints": "fp32", "scores": "fp32", "offsets": "i64", "num_persons": "i32", "num_frames": "i32",
            "image_sizes": "i32", "name_hashes": "i64", "total_differences": "fp64", "flipped_joint": "i32",
            "crop": "fp64", "indices": "i64", "alphas": "fp64", "frames": "i32", "out": "fp32", "limb_joints": "u8",
            "lengths": "i32", "places": "i32", "noised": "fp32", "frame_places": "i32", "extents": "fp64",
            "views": "fp64"}  # fmt: skip
CASES = [(True, False, 1, False)]  # random crop, whole frame, flip, alpha per clip
if FULL:
    crops = [(True, False), (False, False), (False, True)]
    CASES = [(*crop, *rest) for crop in crops for rest in itertools.product([0, 1, 2], [False, True])]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("resample", [True, False])
@pytest.mark.parametrize("draw", [True, False] if FULL else [True])
@pytest.mark.parametrize("noised", [False, True] if FULL else [False])
def test_frames(architecture, noised, draw, resample):
    constants = {"CLIP_LEN": 24, "DRAW": draw, "RESAMPLE": resample, "INPUT_DRAWS": 12, "CLIPS": 32}
    constants |= {} if noised else {"lengths": None}
    options = {"num_warps": 1, "debug": True, "sanitize_overflow": False, "enable_fp_fusion": False}
    cubin = compile_kernel(kernels.choose_frames, architecture, FRAME_POINTERS, constants, SCALARS, **options)
    assert cubin.spills == cubin.stack == 0
    assert "__assertfail" in cubin.code  # an index out of range stops the program


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("kind", ["plain", "noised", "seen"] if FULL else ["plain", "seen"])
@pytest.mark.parametrize(("random_crop", "whole_frame", "flip", "per_clip"), CASES)
def test_joints(architecture, random_crop, whole_frame, flip, per_clip, kind):
    constants = {"MAX_PERSONS": 2, "CLIP_LEN": 24, "NUM_JOINTS": 25, "RANDOM_CROP": random_crop,
                 "WHOLE_FRAME": whole_frame, "FLIP": flip, "PER_CLIP": per_clip, "ELEMENTS": 512}  # fmt: skip
    constants |= dict.fromkeys(("noised", "places", "frame_places") if kind == "plain" else ())
    constants |= dict.fromkeys(() if kind == "seen" else ("extents", "views"))
    options = {"num_warps": 4, "enable_fp_fusion": False}
    cubin = compile_kernel(kernels.place_joints, architecture, POINTERS, constants, SCALARS, **options)
    assert cubin.spills == cubin.stack == 0


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("per_clip", [False, True])
def test_noise_of_whole_clips(architecture, per_clip):
    constants = {"MAX_PERSONS": 2, "NUM_JOINTS": 25, "PER_CLIP": per_clip, "ELEMENTS": 64}
    options = {"num_warps": 2, "enable_fp_fusion": False}
    cubin = compile_kernel(kernels_noise.noise_clips, architecture, POINTERS, constants, SCALARS, **options)
    assert cubin.spills == cubin.stack == 0


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_uniform_numbers(architecture):
    constants = {"PURPOSE": 0, "COUNT": 25, "CLIPS": 32}
    options = {"num_warps": 1, "enable_fp_fusion": False}
    cubin = compile_kernel(kernels.draw_uniform, architecture, POINTERS, constants, SCALARS, **options)
    assert cubin.spills == cubin.stack == 0
