"""How many instructions the stem's convolution executes, counted in its machine code.

A block of the code counts as often as warps execute it for 32 clips of 24 frames of walking figures (those of
benchmarks/bench_render.py): for each program, strip of rows, entry of a strip, and row of pixels of an entry.
"""

import itertools
from collections import Counter

import numpy as np
import pytest
import torch
from support.cubin import compile_kernel
from support.flow import Flow

from fastpose.ops.stem import kernels_forward as kernels

CLIPS, FRAMES, JOINTS, SIDE, RADIUS = 32, 24, 17, 56, 1.8
KERNEL, PADDING, CHANNELS = (1, 7, 7), (0, 3, 3), 32
COLUMNS = kernels.COLUMNS.value


def walking_figures(persons: int) -> np.ndarray:
    """[B, M, T, V, 2]: about 30 px high, every joint seen."""
    rng = np.random.default_rng(0)
    figure = rng.uniform(-15, 15, (CLIPS, persons, 1, JOINTS, 2))
    path = rng.normal(0, 0.7, (CLIPS, persons, FRAMES, 1, 2)).cumsum(2) + rng.uniform(18, 38, 2)
    jitter = rng.normal(0, 0.5, (CLIPS, persons, FRAMES, JOINTS, 2))
    return (figure + path + jitter).astype(np.float32)


def executions(persons: int, rows: int, strips: int) -> tuple[Counter, np.ndarray, np.ndarray]:
    """Return how often what is executed, and each row of pixels a strip sees: of one person, of several that meet."""
    centres = walking_figures(persons)
    first = np.maximum(np.trunc(centres - RADIUS).astype(int), 0)
    last = np.minimum(np.trunc(centres + RADIUS).astype(int), SIDE - 1)
    meets = np.zeros((CLIPS, 1, FRAMES, JOINTS), bool)
    for a, b in itertools.combinations(range(persons), 2):
        meets[:, 0] |= ((first[:, a] <= last[:, b]) & (last[:, a] >= first[:, b])).all(-1)
    counts = Counter()
    span = rows + KERNEL[1] - 1
    single, several = np.zeros(span, int), np.zeros(span, int)
    tops = range(0, SIDE, rows)
    for left in range(0, SIDE, COLUMNS):
        seen_x = left - PADDING[2]
        near = (first[..., 0] <= seen_x + COLUMNS - 1 + KERNEL[2] - 1) & (last[..., 0] >= seen_x)
        hull_first = np.where(near, first[..., 1], SIDE).min(1, keepdims=True)
        hull_last = np.where(near, last[..., 1], -1).max(1, keepdims=True)
        counts["program"] += CLIPS * FRAMES * -(-len(tops) // strips)
        for top in tops:
            y = top - PADDING[1]
            reaches = near & (first[..., 1] < y + span) & (last[..., 1] >= y)
            own, all_persons = reaches & ~meets, reaches.any(1, keepdims=True) & meets
            busy = (own.any(1) | all_persons.any(1)).any(-1).sum()
            counts["busy strip"] += busy
            counts["empty strip"] += CLIPS * FRAMES - busy
            counts["entry"] += own.sum() + all_persons.sum()
            counts["entry of several"] += all_persons.sum()
            for step in range(span):
                single[step] += (own & (first[..., 1] <= y + step) & (last[..., 1] >= y + step)).sum()
                several[step] += (all_persons & (hull_first <= y + step) & (hull_last >= y + step)).sum()
    return counts, single, several


def executed(flow: Flow, persons: int, rows: int, strips: int) -> int:
    """Return the instructions of warps, from the ways that programs take through the code."""
    counts, single, several = executions(persons, rows, strips)
    products = flow.having("HMMA")
    assert len(products) == len(single)
    (entry, next_entry), (strip, next_strip) = flow.loops_around(products)[:2]
    without = len(flow.blocks[entry]), len(flow.blocks[next_entry])
    to_end = flow.cost([next_strip, flow.having("EXIT")[-1]]) - len(flow.blocks[next_strip])
    bare = flow.cost([entry, next_entry])
    total = counts["program"] * (flow.cost([0, strip]) - len(flow.blocks[strip]) + to_end)
    total += counts["empty strip"] * flow.cost([strip, next_strip])
    busy = flow.cost([strip, entry]) + flow.cost([next_entry, next_strip]) - sum(without)
    total += counts["busy strip"] * busy
    total += counts["entry"] * bare
    before = entry
    for product, times, times_of_several in zip(products, single, several, strict=True):
        total += times * (flow.cost([entry, product, next_entry]) - bare)
        if persons > 1:
            loops = flow.loops_within(before, product)
            if before == entry:  # the rows that all persons reach
                rows_of_all = loops.pop(0)
                more = (persons - 1) * len(flow.blocks[rows_of_all])
                total += counts["entry of several"] * (
                    flow.cost([entry, rows_of_all, next_entry]) - bare + more
                )
            (values,) = loops
            more = (persons - 1) * len(flow.blocks[values])
            total += times_of_several * (flow.cost([entry, values, product, next_entry]) - bare + more)
        before = product
    return int(total)


@pytest.mark.parametrize(
    ("persons", "most"), [(1, 15_000_000), (2, 35_500_000)], ids=["one person", "two persons"]
)
def test_instructions_of_a_batch(persons, most):
    """The bounds may fall, not rise."""
    out = torch.empty(CLIPS, CHANNELS, FRAMES, SIDE, SIDE, device="meta", dtype=torch.bfloat16)
    constants = kernels.convolution_constants(out, persons, JOINTS, KERNEL, "heatmap")
    cubin = compile_kernel(
        kernels.convolve_maps,
        90,
        {"keypoints": "fp32", "limbs": "i32", "filters": "fp32", "pixels": "i32", "out": "bf16"},
        constants | kernels.geometry(KERNEL, (1, 1, 1), PADDING, "heatmap") | {"WIDE": False},
        {"radius": "fp32", "decay": "fp32", "num_blocks": "i64"},
        num_warps=1,
        maxnreg=kernels.REGISTERS,
        enable_fp_fusion=True,
    )
    found = executed(Flow(cubin), persons, constants["ROWS"], constants["STRIPS"])
    assert found <= most
    assert found >= 0.9 * most, "fewer than bound: lower it"
