"""How a module of a quantised checkpoint is stored, and what a config says of all of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeGuard

EVERY = frozenset({"Linear"})
"""The targets of a group that is for every linear layer."""
ROW = 0
"""As a block's width: a whole row."""


class Scheme(NamedTuple):
    """How one module is stored: `bits` an element, and scale and zero bits for every block of (rows, columns).

    No block: what is stored once a tensor is left out. `flat`: blocks run on from row to row.
    """

    id: str
    bits: int
    compute: str
    block: tuple[int, int] | None = None
    scale_bits: float = 0.0
    zero_bits: float = 0.0
    otherwise: str | None = None
    flat: bool = False

    def stored_bits(self, rows: int, columns: int) -> float:
        """Bits of one matrix with its scales and zeros; a block begun counts whole."""
        if self.block is None:
            return self.bits * rows * columns
        high, wide = self.block[0], self.block[1] or columns
        blocks = rows * columns / wide if self.flat else math.ceil(rows / high) * math.ceil(columns / wide)
        return self.bits * rows * columns + blocks * (self.scale_bits + self.zero_bits)

    def in_whole_blocks(self, rows: int, columns: int) -> bool:
        """Whether a matrix is whole blocks of a size that does not depend on it."""
        if self.block is None or self.flat:
            return True
        return self.block[1] != ROW and rows % self.block[0] == 0 and columns % self.block[1] == 0

    @property
    def group(self) -> int | None:
        """Elements of one block."""
        return None if self.block is None else self.block[0] * self.block[1]


@dataclass(frozen=True)
class Statement:
    """Schemes by target, and the patterns of the modules left in 16 bits.

    `groups`: targets ("Linear" for every module, a name, or "re:" and an expression) and their scheme;
    `named`: schemes by module name, instead of groups; a module named nowhere is left. `style`: how `left`
    is matched. `head`: whether the head is among "Linear". `only_experts`: whether nothing else ever is.
    """

    method: str
    groups: tuple[tuple[frozenset[str], Scheme], ...] = ()
    named: Mapping[str, Scheme] = field(default_factory=dict)
    left: frozenset[str] = frozenset()
    style: Literal["glob", "regex", "part"] = "part"
    head: bool = True
    only_experts: bool = False


NVFP4 = Scheme("nvfp4", 4, "fp4", (1, 16), 8, otherwise="16-bit")
MXFP4 = Scheme("mxfp4", 4, "fp4", (1, 32), 8, otherwise="16-bit")
MXFP8 = Scheme("mxfp8", 8, "fp8", (1, 32), 8)
"""MX formats: 32 elements share an 8-bit power of two (OCP Microscaling Formats, MX, v1.0)."""


def is_size(value: Any) -> TypeGuard[int]:
    """Whether a value is a positive whole number of a size a config can mean."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**40


def name_set(value: Any) -> frozenset[str] | None:
    """A list of names; an absent one is empty."""
    if value is None:
        return frozenset()
    return frozenset(value) if isinstance(value, list) and all(isinstance(n, str) for n in value) else None
