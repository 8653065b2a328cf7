"""The machine code of CUDA kernels, as cuobjdump and nvdisasm print it: loops, and what an entry costs in them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

# An instruction with its address, without the predicate before it; and where a branch leads.
_INSTRUCTION = re.compile(r"/\*([0-9a-f]{4,6})\*/\s+(?:@!?U?P\d+ )?([A-Z0-9][^;]*);")
_TARGET = re.compile(r"\bBRA[^;]*?0x([0-9a-f]+)")
# What the arithmetic of an entry comes down to.
_PRODUCTS = ("FFMA", "DFMA")
_EXPONENTIAL = "MUFU.EX2"
# Entries of a row that a lane holds in float, and how many of them a block of code takes at once, or more.
_HELD_ENTRIES, _AT_ONCE = 32, 4

Code = list[tuple[int, str]]


def functions(text: str) -> Iterator[tuple[str, Code]]:
    """Names and instructions of all functions of a dump."""
    for part in text.split("Function : ")[1:]:
        name, _, body = part.partition("\n")
        yield name.strip(), [(int(a, 16), op.strip()) for a, op in _INSTRUCTION.findall(body)]


def _jumps(code: Code) -> list[tuple[int, int]]:
    """Each branch as its own place and that which it leads to."""
    place = {address: k for k, (address, _) in enumerate(code)}
    found = [(k, _TARGET.search(op)) for k, (_, op) in enumerate(code)]
    ends = [(k, place.get(int(m[1], 16))) for k, m in found if m]
    return [(k, to) for k, to in ends if to is not None]


def innermost_loops(code: Code, exponentials: int = 0) -> list[Code]:
    """The code from where a branch back leads to it, where no other such lies within.

    With `exponentials`, of the loops that take so many.
    """
    loops = [
        (to, k)
        for k, to in _jumps(code)
        if to < k and _count(code[to : k + 1], _EXPONENTIAL) >= exponentials
    ]
    return [
        code[low : high + 1]
        for low, high in loops
        if not any((low, high) != other and low <= other[0] and other[1] <= high for other in loops)
    ]


def blocks(code: Code) -> list[Code]:
    """The code between branches and their targets."""
    jumps = _jumps(code)
    cuts = sorted({0, len(code)} | {to for _, to in jumps} | {k + 1 for k, _ in jumps})
    return [code[low:high] for low, high in itertools.pairwise(cuts)]


def _count(code: Code, *names: str) -> int:
    return sum(op.split()[0].startswith(names) for _, op in code)


def per_exponential(code: Code, least: int = 4) -> float | None:
    """Instructions for each exponential of the innermost loop that costs most, of those with `least` and more."""
    costs = [
        len(loop) / exponentials
        for loop in innermost_loops(code)
        if (exponentials := _count(loop, _EXPONENTIAL)) >= least
    ]
    return max(costs, default=None)


def local_accesses(code: Code) -> int:
    """Reads and writes of local memory in loops over entries: those that take exponentials, and hold rows in registers."""
    short = [loop for loop in innermost_loops(code) if _count(loop, _EXPONENTIAL) >= _AT_ONCE]
    loops = [*short, *innermost_loops(code, _HELD_ENTRIES)]
    return sum(_count(loop, "LDL", "STL") for loop in loops)


def per_held_entry(code: Code) -> float | None:
    """Instructions for each entry of a row that a block holds in registers, without what is done once for the row.

    They are those of the blocks that read some costs, take their exponentials or add them up, of the loop that costs least.
    """
    costs = [
        sum(
            len(block)
            for block in blocks(loop)
            if _count(block, _EXPONENTIAL) >= _AT_ONCE
            or _count(block, "LDG") >= _AT_ONCE
            or _count(block, *_PRODUCTS) >= _HELD_ENTRIES
        )
        for loop in innermost_loops(code, _HELD_ENTRIES)
    ]
    return min(costs, default=0) / _HELD_ENTRIES or None


def per_product(code: Code, least: int = 48) -> float | None:
    """Instructions for each multiply-add of the block that costs least, of those with `least` and more."""
    costs = [
        len(block) / products
        for block in blocks(code)
        if (products := _count(block, *_PRODUCTS)) >= least
    ]
    return min(costs, default=None)
