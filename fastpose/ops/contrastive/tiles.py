"""How the Triton kernels cut the matrix of pairs, and in which format they multiply."""

from dataclasses import dataclass

import torch

from fastpose.ops.launch import ceil_div

SMALL = 2048  # rows up to which tiles are small
FEW = 1024  # rows up to which a launch saved is worth computing weights again for each block of columns
# Operands by precision. fp16 rows go through tf32, which keeps their 10 bits of mantissa over float32's range;
# float32 rows through three tf32 products, accurate to float32.
OPERANDS = {"bf16": torch.bfloat16, "tf32": torch.float32, "fp32": torch.float32}
DOT_PRECISION = {"bf16": "tf32", "tf32": "tf32", "fp32": "tf32x3"}  # has no effect on bf16
DEFAULT_PRECISION = {torch.bfloat16: "bf16", torch.float16: "tf32", torch.float32: "fp32"}


@dataclass(frozen=True, slots=True)
class Tiles:
    """What one program holds: rows × keys of weights or cosines, operands' columns, columns of output."""

    rows: int
    keys: int
    depth: int
    columns: int
    warps: int
    stages: int
    programs: int = 1  # that one multiprocessor has room for, where that is known to be more

    def meta(self) -> dict[str, int]:
        """Return the arguments of a launch; a kernel has those of the blocks that it cuts."""
        blocks = {
            "BLOCK_M": self.rows,
            "BLOCK_N": self.keys,
            "BLOCK_D": self.depth,
            "BLOCK_O": self.columns,
        }
        blocks = {name: block for name, block in blocks.items() if block}
        return blocks | {"num_warps": self.warps, "num_stages": self.stages}


def padded_width(width: int) -> int:
    """Return the columns of the operands: a power of two, and beyond 256 whole blocks of 128."""
    width = int(width)  # under torch.compile the width is part of the shape compiled for
    return max(16, 1 << (width - 1).bit_length()) if width <= 256 else ceil_div(width, 128) * 128


def padded_rows(rows: int) -> int:
    """Return whole tiles of rows and of keys, whatever their size."""
    block = 128 if rows <= FEW else 256
    return ceil_div(rows, block) * block


def key_splits(programs: int, key_tiles: int, room: int) -> int:
    """Return into how many parts the keys are cut, so that a small problem fills the device's ``room`` for programs."""
    return max(1, min(room // programs, key_tiles, 16))


def forward_tiles(width: int, rows: int, precision: str, capability: int, paired: bool) -> Tiles:
    """Return those for operands of ``padded_width`` ``width``; small problems take small tiles to fill the device.

    Here and below: the largest tiles that the compiler fits into registers on the capability (80, 90, ...).
    Comparing labels takes registers, and row maxima do; so do float32 operands on 80.
    """
    if precision != "bf16":
        depth = min(width, 32)
        if precision == "fp32" and capability < 90:
            return Tiles(64, 64 if paired else 32, depth, 0, 4, 2)
        if rows <= SMALL:
            return Tiles(64, 64, depth, 0, 4, 2 if precision == "fp32" else 3)
        return Tiles(128, 128 if paired else 64, depth, 0, 8, 2)
    depth = width if width <= 256 else 64
    if rows <= SMALL:
        return Tiles(64, 64, depth, 0, 4, 2)
    if paired and width <= 128:
        # Up to 128 registers a thread, and 98 KB on 90, 50 KB on 80, 83 KB on 100: two programs fit, and one can take
        # exponentials while the other multiplies. 128 keys take over 200 registers on 80 and 100.
        keys, stages = {8: (64, 2), 9: (128, 2)}.get(capability // 10, (64, 3))
        return Tiles(128, keys, depth, 0, 8, stages, programs=2)
    keys = 64
    if paired and width > 256:
        keys = 256 if capability >= 90 else 128
    return Tiles(128, keys, depth, 0, 8, 3 if capability >= 90 and (paired or width <= 256) else 2)


def backward_tiles(width: int, rows: int, precision: str, capability: int, plain: bool) -> Tiles:
    """Return tiles where one kernel does all. ``plain``: paired rows, fixed bound; others take more registers."""
    if precision != "bf16":
        roomy = plain and (precision == "tf32" or capability >= 90)
        narrow = not roomy and (precision == "fp32" or capability >= 100)
        warps = 8 if narrow and precision == "tf32" else 4
        return Tiles(64, 32 if narrow else 64, min(width, 32), min(width, 64 if roomy else 32), warps, 2)
    if width > 256:
        return Tiles(64, 64, 64, 128, 8, 2)
    if rows <= SMALL:
        return Tiles(64, 64, width, width, 4 if plain and width < 256 else 8, 2)
    if width == 256:
        return Tiles(64 if capability < 90 else 128, 64, width, width, 8, 2)
    return Tiles(128, 128 if 90 <= capability < 100 else 64, width, width, 8, 2)


def takes_panels(width: int, rows: int, tiles: Tiles) -> bool:
    """Return whether weights are better written out than computed again for each block of columns."""
    return tiles.columns < width and rows > FEW


def weights_tiles(precision: str, capability: int, plain: bool) -> Tiles:
    """Return tiles of a panel; ``plain`` as above."""
    if precision == "fp32" and capability < 90 and plain:
        return Tiles(64, 64, 32, 0, 4, 2)
    keys = 128 if plain and (precision != "fp32" or capability < 100) else 64
    if precision != "bf16":
        return Tiles(128, keys, 32, 0, 8, 2)
    return Tiles(128, 256 if plain and 90 <= capability < 100 else keys, 64, 0, 8, 3)


def product_tiles(width: int, precision: str, capability: int) -> Tiles:
    """Return tiles of a panel with the rows."""
    if precision != "bf16":
        return Tiles(128, 32, 0, min(width, 128), 8, 3)
    return Tiles(128, 64, 0, 256 if width % 256 == 0 else 128, 8, 3 if capability < 90 else 4)


def panel_rows(width: int, padded: int, product: Tiles, processors: int, itemsize: int) -> int:
    """Return the rows of a panel of weights.

    That is one program of the product for each multiprocessor, within 16 · width bytes a key, which holds the panel
    to four times the rows' float32 gradient.
    """
    wanted = processors // (width // product.columns) * product.rows
    most = min(wanted, 16 * width // itemsize, padded)
    return max(most // product.rows, 1) * product.rows
