"""What attention and states of one sequence move and compute in a step, by its new and its cached tokens.

Rows of attention are the only ones that depend on how long each sequence is. Those of a decode are tables over the cached
tokens, so that a batch of sequences is a sum; those of a prompt's chunk are the rows themselves, for that chunk.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from sol.physics.network.sharding import device_model
from sol.physics.operators.forward_pass import ROWS
from sol.physics.operators.operator import Amount, Operator, Pass
from sol.specs.blocks import StateMixer
from sol.specs.mixers import Attention, LatentAttention
from sol.specs.model import Model
from sol.specs.quantities import Array
from sol.specs.split import Split
from sol.specs.step import Fusion, Routing, Step, Storage

VARYING = ("attention", "index")
"""The roles of rows that depend on the lengths of the sequences."""


QUANTITIES = ("kv_bytes", "flops", "activation_bytes")


class Work(NamedTuple):
    """What the rows of attention move and compute [B, FLOP]: for each row a number, or an array of one value a step."""

    kv_bytes: tuple[Amount, ...]
    flops: tuple[Amount, ...]
    activation_bytes: tuple[Amount, ...]
    sequences: int

    def plus(self, other: Work) -> Work:
        """The work of both, in the same kernels."""
        kv, flops, act = (tuple(a + b for a, b in zip(mine, its, strict=True)) for mine, its in zip(self[:3], other[:3], strict=True))
        return Work(kv, flops, act, self.sequences + other.sequences)

    def part(self, share: float) -> Work:
        """A share of it; the sequences are those of the whole."""
        kv, flops, act = (tuple(share * value for value in column) for column in self[:3])
        return Work(kv, flops, act, self.sequences)


class AttentionWork:
    """The work of attention of one device's part of a model; `longest` is the most tokens a sequence will have cached."""

    def __init__(
        self, model: Model, split: Split, storage: Storage, routing: Routing, fusion: Fusion, longest: int
    ) -> None:  # fmt: skip
        part = device_model(model, split)
        self._shared = (part.hidden, storage, routing, fusion, split.cp)
        self._mixers = [
            (_maker(type(block)), block, group.count)
            for group in part.groups for block in group.blocks if isinstance(block, Attention | LatentAttention | StateMixer)
        ]  # fmt: skip
        self.rows: list[Operator] = self._operators(1.0, 1.0)
        """The rows as one sequence has them; their kernels and rates are those of every step."""
        past = np.arange(max(longest, 3) + 1, dtype=np.float64)
        rows = self._operators(np.ones(1), past)
        self._table = np.concatenate([_stacked(rows, name, past.size) for name in QUANTITIES])
        """Every quantity of every row by cached tokens: (3·rows, tokens)."""
        slopes = np.diff(self._table[:, 1:], axis=1)
        self.is_linear = bool(np.allclose(slopes, slopes[:, -1:], rtol=1e-9, atol=0.0))
        self._slopes = slopes[:, -1].tolist()
        self._bases = (self._table[:, 1] - slopes[:, -1]).tolist()
        self.chunk: Callable[[int, int], Work] = lru_cache(maxsize=65_536)(self._chunk)

    def _operators(self, new: Amount, past: Amount) -> list[Operator]:
        hidden, storage, routing, fusion, cp = self._shared
        one: Any = 1.0 if isinstance(past, float) else np.ones(1)
        step = Step(one, new, past, "all", cp=cp)  # type: ignore[arg-type]  # what computes takes both
        shared = Pass(hidden, step, one * new, storage, routing, fusion)
        return [op for make, block, count in self._mixers for op in make(block, count, shared) if op.role in VARYING]

    def decodes(self, past: np.ndarray, steps: int) -> Work:
        """The work of sequences with so many cached tokens, one or more each, in each of so many steps of one token."""
        if self.is_linear:  # Σ over sequences of a + b·(past + j) is a line in j
            count, cached = past.size, float(past.sum())
            if steps > 1:
                cached = cached + count * np.arange(steps)  # type: ignore[assignment]  # an array: one value a step
            return self._work([a * count + b * cached for a, b in zip(self._bases, self._slopes, strict=True)], count)
        if steps == 1:
            return self._work(self._table[:, past].sum(axis=1).tolist(), past.size)
        return self._work(list(self._table[:, past[:, None] + np.arange(steps)].sum(axis=1)), past.size)

    def _work(self, values: Sequence[Amount], sequences: int) -> Work:
        rows = len(self.rows)
        return Work(tuple(values[:rows]), tuple(values[rows : 2 * rows]), tuple(values[2 * rows :]), sequences)

    def _chunk(self, new: int, past: int) -> Work:
        """The work of one prompt's chunk."""
        rows = self._operators(float(new), float(past))
        return self._work([float(getattr(op, name)) for name in QUANTITIES for op in rows], 1)


def _maker(kind: type) -> Callable[..., list[Operator]]:
    """The function that makes the rows of a kind of block."""
    return next(ROWS[base] for base in kind.__mro__ if base in ROWS)


def _stacked(rows: list[Operator], name: str, size: int) -> Array:
    """One quantity of every row, for each number of cached tokens: (rows, tokens)."""
    values = [np.broadcast_to(np.asarray(getattr(op, name), dtype=np.float64), (size,)) for op in rows]
    return np.stack(values) if values else np.zeros((0, size))
