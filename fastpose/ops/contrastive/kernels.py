"""What the Triton kernels of the contrastive losses share.

R rows z are normalised, in the operands' dtype, padded with zeros to whole tiles; every row is compared with
every other, tile by tile, and no matrix of all pairs is stored. Programs own their output and walk tiles in
order. The one atomic operation counts arrivals, so that the last program of a launch can reduce, again in
order: results are bitwise identical on every run. Paired rows: clip i is row i (clean) and row N + i (noisy),
each the other's positive, which stays out of the tiles: its cosine is a float32 dot product of its own.
"""

import triton
import triton.language as tl

LOG2E = tl.constexpr(1.4426950408889634)
SIZES = ("count", "anchors", "total", "splits", "first", "grad_stride")  # one binary for all of them


@triton.jit
def inverse_temperature(tau_ptr, temperature, TAU_IS_TENSOR: tl.constexpr):
    if TAU_IS_TENSOR:
        temperature = tl.load(tau_ptr).to(tl.float32)
        temperature = tl.where(temperature > 0, temperature, float("nan"))  # unseen from the host
    return 1.0 / temperature


@triton.jit
def load_tile(z_ptr, first_row, first_column, WIDTH: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    base = z_ptr + tl.cast(first_row, tl.int64) * WIDTH + first_column  # inside the tile 32 bits suffice
    return tl.load(base + tl.arange(0, ROWS)[:, None] * WIDTH + tl.arange(0, COLUMNS)[None, :])


@triton.jit
def tile_cosines(
    z_ptr,
    z,  # rows [BLOCK_M, BLOCK_D] where one block holds the width
    keys,  # likewise [BLOCK_N, BLOCK_D]
    first_row,
    first_key,
    WIDTH: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
    PRECISION: tl.constexpr,
):
    if WIDTH == BLOCK_D:
        return tl.dot(z, keys.T, input_precision=PRECISION)
    else:
        cosines = tl.zeros([BLOCK_M, BLOCK_N], tl.float32)
        for column in range(0, WIDTH, BLOCK_D):
            z = load_tile(z_ptr, first_row, column, WIDTH, BLOCK_M, BLOCK_D)
            keys = load_tile(z_ptr, first_key, column, WIDTH, BLOCK_N, BLOCK_D)
            cosines = tl.dot(z, keys.T, cosines, input_precision=PRECISION)
        return cosines


@triton.jit
def tile_meets(
    first_row, first_key, count, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, PAIRED: tl.constexpr
):
    """Return whether some row of the tile is its own key in it, or its partner's."""
    ahead = first_key - first_row
    meets = (ahead < BLOCK_M) & (ahead > -BLOCK_N)
    if PAIRED:
        meets |= (ahead - count < BLOCK_M) & (ahead - count > -BLOCK_N)
        meets |= (ahead + count < BLOCK_M) & (ahead + count > -BLOCK_N)
    return meets


@triton.jit
def excluded_pairs(rows, keys, count, PAIRED: tl.constexpr):
    excluded = rows[:, None] == keys[None, :]
    if PAIRED:
        excluded |= tl.where(rows < count, rows + count, rows - count)[:, None] == keys[None, :]
    return excluded


@triton.jit
def arrives_last(counter_ptr, programs):
    """Return whether the others of so many programs have been here; the last one sees all that they stored before."""
    tl.debug_barrier()  # of this program's own threads, whose stores the release then covers
    arrived = tl.atomic_add(counter_ptr, 1, sem="acq_rel", scope="gpu")
    tl.debug_barrier()
    return arrived == programs - 1
