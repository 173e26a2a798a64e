"""A Triton kernel that writes whole clips with their noise, as csrc/sample/noised_clip.cpp does.

A program goes over the frames of one clip, one after the other: drift and the places of the frames that remain are
those of the frame before, and a step.
"""

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from fastpose.data.sampling.kernels_random import (
    ALPHA,
    HITS,
    LOSSES,
    NOISE,
    below,
    centred_uniform,
    drawn_alpha,
    laplace,
    noise_coefficient,
    normals,
    random_pair,
    random_word,
    student,
    uniform,
)
from fastpose.ops import limits
from fastpose.ops.launch import ceil_div, launch
from fastpose.settings import SamplingConfig
from fastpose.settings.families import FAMILIES, check_families

ELEMENTS_PER_PROGRAM = 64

LAPLACE = tl.constexpr(FAMILIES.index("laplace"))
UNIFORM = tl.constexpr(FAMILIES.index("uniform"))
STUDENT = tl.constexpr(FAMILIES.index("student"))
DRIFT = tl.constexpr(FAMILIES.index("drift"))
OUTLIERS = tl.constexpr(FAMILIES.index("outliers"))  # the last of those that displace joints
DROPOUT = tl.constexpr(FAMILIES.index("dropout"))
OCCLUSION = tl.constexpr(FAMILIES.index("occlusion"))
SWAP = tl.constexpr(FAMILIES.index("swap"))
DROP_UNIFORM = tl.constexpr(FAMILIES.index("drop_uniform"))
DROP_RANDOM = tl.constexpr(FAMILIES.index("drop_random"))
DROP_BLOCK = tl.constexpr(FAMILIES.index("drop_block"))
SCORES = tl.constexpr(FAMILIES.index("scores"))

MAX_COORDINATE = tl.constexpr(limits.MAX_COORDINATE)
MAX_FINITE = tl.constexpr(3.4028234663852886e38)


@triton.jit(do_not_specialize=["seed", "stream", "noise_epoch", "alpha_low", "alpha_high", "families",
                               "num_families", "max_frames"])  # fmt: skip
def noise_clips(
    keypoints,  # float32 [rows, V, 2]
    scores,  # float32 [rows, V]
    offsets,  # int64 [n + 1]
    num_persons,  # int32 [n]
    num_frames,  # int32 [n]
    image_sizes,  # int32 [n, 2]
    name_hashes,  # int64 [n]
    total_differences,  # float64 [n]
    flipped_joint,  # int32 [V]
    limb_joints,  # uint8 [V, V]
    indices,  # int64 [B]
    alphas,  # float64 [2, B], low and high; PER_CLIP only
    out,  # float32 [B, M, max_frames, V, 3]
    lengths,  # out: int32 [B]
    places,  # out: int32 [B, max_frames]
    alpha_low,
    alpha_high,
    seed,
    noise_epoch,
    stream,
    families,  # int64, four bits for each
    num_families,
    batch_size,
    num_clips,
    max_frames,
    MAX_PERSONS: tl.constexpr,
    NUM_JOINTS: tl.constexpr,
    PER_CLIP: tl.constexpr,
    ELEMENTS: tl.constexpr,
):
    position = tl.program_id(0).to(tl.int64)
    clip = tl.load(indices + position)
    clip = tl.where((clip >= 0) & (clip < num_clips), clip, 0)
    name_hash = tl.load(name_hashes + clip)
    length = tl.load(num_frames + clip)
    height = tl.load(image_sizes + clip * 2).to(tl.float64)
    width = tl.load(image_sizes + clip * 2 + 1).to(tl.float64)
    zero = tl.cast(0, tl.int32)

    alpha_word, family_word = random_pair(seed, name_hash, noise_epoch, stream, ALPHA, zero)
    alpha = drawn_alpha(alpha_word, alphas, alpha_low, alpha_high, position, batch_size, PER_CLIP)
    number = below(family_word, tl.cast(num_families, tl.int32))
    family = ((tl.cast(families, tl.int64) >> (number * 4)) & 15).to(tl.int32)
    strength = alpha * noise_coefficient(tl.load(total_differences + clip), height, width)
    deviation_x = (strength * width).to(tl.float32)
    deviation_y = (strength * height).to(tl.float32)
    share = tl.minimum(alpha * 2.0, 1.0)

    element = tl.program_id(1) * ELEMENTS + tl.arange(0, ELEMENTS)
    person = element // NUM_JOINTS
    joint = element % NUM_JOINTS
    other = tl.load(flipped_joint + joint)
    inside = element < MAX_PERSONS * NUM_JOINTS
    exists = inside & (person < tl.load(num_persons + clip))
    first_row = tl.load(offsets + clip) + person.to(tl.int64) * length

    hidden = tl.floor(share * length + 0.5).to(tl.int32)  # frames of a limb
    limb_word, start_word = random_pair(seed, name_hash, noise_epoch, stream, LOSSES, person)
    limb = below(limb_word, joint * 0 + NUM_JOINTS)
    limb_start = below(start_word, joint * 0 + (length - hidden + 1))
    in_limb = tl.load(limb_joints + limb * NUM_JOINTS + joint) != 0

    remaining = length
    if (family >= DROP_UNIFORM) & (family <= DROP_BLOCK):
        remaining = tl.maximum(tl.floor((1.0 - share) * length + 0.5).to(tl.int32), 1)
    block_start = below(random_word(seed, name_hash, noise_epoch, stream, LOSSES, zero), remaining + 1)

    kept = zero  # frames so far
    drift_x = tl.zeros([ELEMENTS], tl.float32)
    drift_y = tl.zeros([ELEMENTS], tl.float32)
    out += (position * MAX_PERSONS + person) * max_frames * NUM_JOINTS * 3 + joint * 3
    places += position * max_frames
    for frame in range(length):
        keep = frame >= 0
        if family == DROP_UNIFORM:
            keep = frame == (kept * 2 + 1) * length.to(tl.int64) // (remaining * 2)
        elif family == DROP_RANDOM:
            word = random_word(seed, name_hash, noise_epoch, stream, LOSSES, zero + frame)
            keep = below(word, length - frame) < remaining - kept
        elif family == DROP_BLOCK:
            keep = (frame < block_start) | (frame >= block_start + length - remaining)
        if keep:
            hit = tl.zeros([ELEMENTS], tl.float32)
            if (family == OUTLIERS) | (family == DROPOUT) | (family == SWAP) | (family == SCORES):
                of_frame = tl.where(family == SWAP, person, element)
                hit = uniform(random_word(seed, name_hash + frame, noise_epoch, stream, HITS, of_frame))
            drawn = hit.to(tl.float64)
            swapped = (family == SWAP) & (drawn < tl.minimum(alpha, 0.5))
            at = (first_row + frame) * NUM_JOINTS + tl.where(swapped, other, joint)
            x = tl.load(keypoints + at * 2, mask=exists, other=0.0)
            y = tl.load(keypoints + at * 2 + 1, mask=exists, other=0.0)
            score = tl.load(scores + at, mask=exists, other=0.0)
            near = (tl.abs(x) <= MAX_COORDINATE) & (tl.abs(y) <= MAX_COORDINATE)
            present = near & (score > 0.0) & (score <= MAX_FINITE)
            if family <= OUTLIERS:
                first, second = random_pair(seed, name_hash + frame, noise_epoch, stream, NOISE, element)
                if family == LAPLACE:
                    dx = laplace(first)
                    dy = laplace(second)
                elif family == UNIFORM:
                    dx = centred_uniform(first)
                    dy = centred_uniform(second)
                elif family == STUDENT:
                    dx, dy = student(first, second)
                else:
                    dx, dy = normals(first, second)
                if family == DRIFT:
                    if frame > 0:
                        dx = drift_x * 0.9 + dx * 0.4358898944
                        dy = drift_y * 0.9 + dy * 0.4358898944
                    drift_x = dx
                    drift_y = dy
                if family == OUTLIERS:
                    scale = tl.where(drawn < 0.1, 3.16227766, 0.0)
                    dx *= scale
                    dy *= scale
                x += deviation_x * dx
                y += deviation_y * dy
            if family == DROPOUT:
                present = present & (drawn >= share)
            if family == OCCLUSION:
                present = present & ~(in_limb & (frame >= limb_start) & (frame < limb_start + hidden))
            if family == SCORES:
                lowered = score * tl.maximum(1.0 - share * drawn, 1e-6).to(tl.float32)
                score = tl.where(lowered > 0.0, lowered, score)  # the least of numbers stays as it is
            row = out + kept.to(tl.int64) * NUM_JOINTS * 3
            tl.store(row, tl.where(present, x, 0.0), mask=inside)
            tl.store(row + 1, tl.where(present, y, 0.0), mask=inside)
            tl.store(row + 2, tl.where(present, score, 0.0), mask=inside)
            tl.store(places + kept, frame, mask=tl.program_id(1) == 0)
            kept += 1
    tl.store(lengths + position, kept, mask=tl.program_id(1) == 0)
    nothing = tl.zeros([ELEMENTS], tl.float32)
    for frame in range(kept, max_frames):
        row = out + tl.cast(frame, tl.int64) * NUM_JOINTS * 3
        tl.store(row, nothing, mask=inside)
        tl.store(row + 1, nothing, mask=inside)
        tl.store(row + 2, nothing, mask=inside)
        tl.store(places + frame, 0, mask=tl.program_id(1) == 0)


def noised_clips(
    arrays: dict[str, Tensor],
    settings: SamplingConfig,
    indices: Tensor,
    *,
    random: tuple[int, int, int],
    alphas: Tensor | tuple[float, float],
    families: Sequence[str],
    max_frames: int,
    train: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return all frames of the clips ``indices`` [B] with their noise; the device is not waited for.

    Args:
        arrays, random, alphas: as of ``kernels.sample``.
        settings: of which ``max_persons`` counts, a number M.
        families: of ``FAMILIES``, from which each clip draws its own.
        max_frames: L, at least the most that a clip of the pack has.

    Returns:
        Keypoints float32 [B, M, L, V, 3]: x, y in pixels of the clip and score, all 0 where missing and after the
        clip's end; how many frames each clip has left, int32 [B]; and their places in the video, int32 [B, L], then 0.
    """
    families = check_families(families)
    seed, epoch, stream = random
    count, num_joints, persons = len(indices), arrays["scores"].shape[1], settings.max_persons
    keypoints = arrays["keypoints"].new_empty(count, persons, max_frames, num_joints, 3)
    lengths = torch.empty(count, dtype=torch.int32, device=indices.device)
    places = torch.empty(count, max_frames, dtype=torch.int32, device=indices.device)
    per_clip = isinstance(alphas, Tensor)
    names = ("keypoints", "scores", "offsets", "num_persons", "num_frames", "image_sizes", "name_hashes",
             "total_differences", "flipped_joint", "limb_joints")  # fmt: skip
    launch(
        noise_clips, (count, ceil_div(persons * num_joints, ELEMENTS_PER_PROGRAM)),
        *(arrays[name] for name in names), indices, alphas if per_clip else arrays["total_differences"],
        keypoints, lengths, places, *((0.0, 0.0) if per_clip else map(float, alphas)),
        seed, epoch if train else 0, stream,
        sum(FAMILIES.index(family) << 4 * i for i, family in enumerate(families)), len(families),
        count, len(arrays["labels"]), max_frames,
        MAX_PERSONS=persons, NUM_JOINTS=num_joints, PER_CLIP=per_clip, ELEMENTS=ELEMENTS_PER_PROGRAM,
        num_warps=2, enable_fp_fusion=False,
    )  # fmt: skip
    return keypoints, lengths, places
