"""The time of any step of a server, from one sweep: what depends on tokens, on sequences, and on the lengths of sequences.

    kernels(T) + head(n) + attention( Σ sequences )

Weights, norms, experts and collectives see only how many tokens T a step has, the head only how many sequences want logits.
Both are tabulated: exact at whole numbers of tokens up to `EXACT` and at every point of the grid above, between them on a
line. Attention sums what its sequences move and compute (`attention`). The three are put together as in `time.estimate`,
or, for a floor, as bytes, FLOPs and sent bytes, each summed, the largest of which binds.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sol.physics.network.sharding import micro_batch, split_operators
from sol.physics.operators.operator import Amount, Operator, larger
from sol.physics.serving.attention import VARYING, AttentionWork, Work
from sol.physics.time.estimate import OperatorTime, operator_time, time_parts
from sol.physics.time.roofline import Rates, price
from sol.specs.calibration import Calibration
from sol.specs.libraries import Library
from sol.specs.model import Model
from sol.specs.quantities import Array
from sol.specs.split import Split
from sol.specs.step import Fusion, Logits, Routing, Step, Storage

EXACT = 1024
"""Up to so many tokens every number of them is tabulated."""
FINER = 1.01
"""Above, each point of the grid is at most so many times the one before."""
CONTEXT = ("context_gather", "context_sum")
"""Rows of what devices that divide cached tokens send each other."""


class Spent(NamedTuple):
    """Seconds of some rows of a step [s]: kernels one after the other with launches, bytes, FLOPs, and collectives."""

    kernels: Amount
    memory: Amount
    compute: Amount
    network: Amount


class StepTable:
    """Seconds of any step of one server: `calibration` makes it an estimate, None the floor.

    `library` runs the collectives of an estimate.
    `most_tokens` and `most_sequences` are those of the largest step, `longest` the most tokens a sequence has cached.
    """

    def __init__(
        self, model: Model, storage: Storage, routing: Routing, fusion: Fusion, split: Split, rates: Rates,
        calibration: Calibration | None, most_tokens: int, most_sequences: int, longest: int, imbalance: float = 1.0,
        library: Library | None = None,
    ) -> None:  # fmt: skip
        self._storage, self._rates, self._calibration, self._split = storage, rates, calibration, split
        self._layers, self._library = model.layers, library
        self.attention = AttentionWork(model, split, storage, routing, fusion, longest)

        def rows(count: Array, logits: Logits = "all") -> list[Operator]:
            step = Step(count, np.ones(1), np.ones(1), logits, imbalance=imbalance)
            return split_operators(model, step, storage, routing, fusion, split)

        self._copies = int(split.pp * split.dp)
        tokens = grid(most_tokens * self._copies)
        by_tokens = [op for op in rows(tokens) if op.role not in VARYING and op.name not in ("lm_head", *CONTEXT)]
        self._tokens, self._rest = tokens.tolist(), self._listed(by_tokens, tokens.size)
        none = [op for op in rows(np.ones(1), "none") if op.name == "lm_head"]
        some = [op for op in rows(np.arange(1.0, most_sequences + 1.0)) if op.name == "lm_head"]
        self._head = [*self._listed(none, 1), *self._listed(some, most_sequences)]
        """The head by how many sequences want logits, none included."""

    def seconds(self, tokens: int, sequences: int, logits: int, works: Sequence[Work]) -> Amount:
        """The seconds of a step of so many tokens and sequences, of which `logits` want logits.

        `works` are what attention must do, those of decodes and of prompts in kernels of their own, as groups of a mixed step
        have. An array of one value a step where a work is that of several.
        """
        share = 1.0 if self._copies == 1 else self._share(tokens, sequences)
        alike = self._calibration is None or tokens == sequences  # tabulated as so many sequences of one token
        kernels, memory, compute, network = self._at(tokens if alike else tokens * share * self._copies)
        of_head = self._head[logits]
        kernels, memory, compute = kernels + of_head[0], memory + of_head[1], compute + of_head[2]
        spent = [Spent(kernels, memory, compute, network)]
        for work in works:
            parts, launched = (work, 1.0) if share == 1.0 else (work.part(share), min(1.0, share * work.sequences))
            for op, kv, flops, act in zip(self.attention.rows, *parts[:3], strict=True):  # rows of one sequence
                row = op._replace(kv_bytes=kv, flops=flops, activation_bytes=act, pieces=op.pieces * (share * work.sequences))
                spent.append(self._spent(row if launched == 1.0 else row._replace(kernels=row.kernels * launched)))
        return self._together(_sum(spent), sequences / int(self._split.dp))

    def _share(self, tokens: int, sequences: int) -> float:
        """The share of a step that one micro-batch of one copy computes [1].

        An even one, as of every mixed step and for the floor, for which it is least; of one prompt alone all of it, and of
        decodes whole sequences.
        """
        if self._calibration is None or 1 < sequences < tokens:
            return 1.0 / self._copies
        own = float(micro_batch(np.array([float(sequences)]), self._split)[0])
        return own / sequences

    def _at(self, tokens: float) -> Spent:
        """The rows that depend on tokens alone."""
        if tokens <= EXACT and tokens == int(tokens):
            return self._rest[int(tokens) - 1]
        above = bisect_left(self._tokens, tokens)
        there = self._rest[above]
        if self._tokens[above] == tokens:
            return there
        low, before = self._tokens[above - 1], self._rest[above - 1]
        part = (tokens - low) / (self._tokens[above] - low)
        return Spent(*(a + part * (b - a) for a, b in zip(before, there, strict=True)))

    def _spent(self, op: Operator) -> Spent:
        times = price(op, self._rates)
        if self._calibration is None:
            return Spent(0.0, times.memory_s, times.compute_s, times.network_s)
        of = operator_time(op, times, self._rates, self._storage, self._calibration, self._library)
        if of.network:
            return Spent(0.0, 0.0, 0.0, of.reached_s)
        return Spent(of.launch_s + of.reached_s, of.memory_s, of.compute_s, 0.0)

    def _listed(self, rows: Sequence[Operator], size: int) -> list[Spent]:
        """The seconds of rows over an array of counts, one record a count: they are looked up faster than arrays."""
        columns = (np.broadcast_to(np.asarray(c, dtype=np.float64), (size,)).tolist() for c in _sum([self._spent(op) for op in rows]))
        return [Spent(*each) for each in zip(*columns, strict=True)]

    def _together(self, spent: Spent, sequences: float) -> Amount:
        kernels, memory, compute, network = spent
        if self._calibration is None:
            return larger(larger(memory, compute), network)
        parts = (
            OperatorTime("kernels", "other", False, 0.0, memory, compute, kernels, 0.0),
            OperatorTime("collectives", "other", True, network, 0.0, 0.0, network, 0.0),
        )
        return time_parts(parts, self._calibration, self._layers, sequences).latency_s


def grid(most: int) -> Array:
    """Numbers of tokens from 1 to `most`: all of them up to `EXACT`, then ever larger ones."""
    points = list(range(1, min(most, EXACT) + 1))
    while points[-1] < most:
        points.append(min(most, max(points[-1] + 1, int(points[-1] * FINER))))
    return np.array(points, dtype=np.float64)


def _sum(spent: Sequence[Spent]) -> Spent:
    """Seconds of several rows, each kind summed."""
    kernels: Amount = 0.0
    memory: Amount = 0.0
    compute: Amount = 0.0
    network: Amount = 0.0
    for k, m, c, n in spent:
        kernels, memory, compute, network = kernels + k, memory + m, compute + c, network + n
    return Spent(kernels, memory, compute, network)
