"""The flow of control in a disassembled kernel: how many instructions a way through it takes."""

import heapq
import itertools
import re
from collections.abc import Iterable, Sequence

from support.cubin import Cubin

_LABEL = re.compile(r"(\.L_x_\d+):")
_INSTRUCTION = re.compile(r"\s*/\*[0-9a-f]{4,5}\*/\s+(.*?) ;")
_TARGET = re.compile(r"\bBRA\b.*`\((\.L_x_\d+)\)")


class Flow:
    """The blocks of a kernel, runs of instructions without a branch into or out of them, by their place.

    A warp executes all instructions of a block, or none: branches of the kernels counted here are uniform.
    """

    def __init__(self, cubin: Cubin):
        instructions, labels = [], {}
        for line in cubin.code.splitlines():
            if label := _LABEL.match(line.strip()):
                labels[label[1]] = len(instructions)
            elif instruction := _INSTRUCTION.match(line):
                instructions.append(instruction[1])
        leaves = [place + 1 for place, text in enumerate(instructions) if re.search(r"\b(BRA|EXIT)\b", text)]
        starts = sorted({0, *labels.values(), *leaves} - {len(instructions)})
        block_at = {start: block for block, start in enumerate(starts)}
        ends = [*starts[1:], len(instructions)]
        self.blocks = [instructions[start:end] for start, end in zip(starts, ends, strict=True)]
        self.next_blocks: list[list[int]] = []
        for block, texts in enumerate(self.blocks):
            last = texts[-1]
            following = []
            if target := _TARGET.search(last):
                following.append(block_at[labels[target[1]]])
            leaves_always = re.match(r"(BRA|EXIT)\b", last)
            if not leaves_always and block + 1 < len(self.blocks):
                following.append(block + 1)
            self.next_blocks.append(following)

    def having(self, instruction: str) -> list[int]:
        """Return the blocks with an instruction that begins so."""
        return [
            block
            for block, texts in enumerate(self.blocks)
            if any(re.search(rf"\b{re.escape(instruction)}", text) for text in texts)
        ]

    def loops_around(self, blocks: Iterable[int]) -> list[tuple[int, int]]:
        """Return (first block, last block) of the loops that contain all of the blocks, the inmost first."""
        first, last = min(blocks), max(blocks)
        loops = [
            (target, block)
            for block, following in enumerate(self.next_blocks)
            for target in following
            if target <= first and last <= block
        ]
        return sorted(loops, key=lambda loop: loop[1] - loop[0])

    def loops_within(self, first: int, last: int) -> list[int]:
        """Return the blocks from first to last that are loops of their own."""
        return [block for block in range(first, last + 1) if block in self.next_blocks[block]]

    def cost(self, way: Sequence[int]) -> int:
        """Return the fewest instructions from the first block of a way to its last by the others, both included."""
        return len(self.blocks[way[0]]) + sum(itertools.starmap(self._cost_to_reach, itertools.pairwise(way)))

    def _cost_to_reach(self, start: int, end: int) -> int:
        """Return the fewest instructions after ``start`` until ``end`` is executed."""
        costs = {start: 0}
        waiting = [(0, start)]
        while waiting:
            cost, block = heapq.heappop(waiting)
            if block == end:
                return cost
            for following in self.next_blocks[block]:
                new = cost + len(self.blocks[following])
                if new < costs.get(following, new + 1):
                    costs[following] = new
                    heapq.heappush(waiting, (new, following))
        raise ValueError(f"no way leads from block {start} to block {end}")
