"""The steps of one request, or of several alike that start together: chunks of the prompt, then one step for each further token.

    TTFT = Σ over ⌈(p − c)/budget⌉ chunks      decode: o − 1 steps at p, p + 1, … p + o − 2 cached tokens

All points of a sweep stand in one array of steps, one after the other; `sums` adds each point's up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sol.frozen import Frozen
from sol.specs.quantities import Array

Whole = NDArray[np.int64]
"""Whole numbers that count or index."""


@dataclass(frozen=True, eq=False)
class Steps(Frozen):
    """Steps of every point: sequences [1], new tokens and cached tokens of each [token]; `first` is where each point's begin."""

    sequences: Array
    new_tokens: Array
    past_tokens: Array
    first: Whole
    counts: Whole

    def sums(self, seconds: Array) -> Array:
        """The sum over each point's steps [s]; 0 for a point without any."""
        if not seconds.size:
            return np.zeros(self.counts.size)
        there = self.counts > 0
        total = np.zeros(self.counts.size)
        total[there] = np.add.reduceat(seconds, self.first[there])
        return total


def _steps(counts: Array, sequences: Array) -> tuple[Array, Array, Whole, Whole]:
    """Sequences of every step, its number within its point, where each point's steps begin, and how many they are."""
    whole: Whole = counts.astype(np.int64)
    first: Whole = np.concatenate(([0], np.cumsum(whole)[:-1]))
    number: Array = np.arange(int(whole.sum()), dtype=np.float64) - np.repeat(first, whole)
    return np.repeat(sequences, whole), number, first, whole


def chunk_counts(new: Array, budget: Array) -> Array:
    """Into how many steps a prompt is divided [1]."""
    counts: Array = np.maximum(np.ceil(new / budget), 1.0)
    return counts


def chunks(sequences: Array, new: Array, cached: Array, budget: Array, *, last: bool) -> Steps:
    """The last chunk of every prompt, or all before it: full ones, of `budget` tokens each."""
    counts = chunk_counts(new, budget)
    if last:
        before = (counts - 1.0) * budget
        ones = np.ones(new.size, dtype=np.int64)
        return Steps(sequences, new - before, cached + before, np.arange(new.size), ones)
    of, number, first, whole = _steps(counts - 1.0, sequences)
    size = np.repeat(budget, whole)
    return Steps(of, size, np.repeat(cached, whole) + number * size, first, whole)


def decode_steps(sequences: Array, prompt: Array, output: Array) -> Steps:
    """The steps that make every token after the first."""
    of, number, first, whole = _steps(output - 1.0, sequences)
    return Steps(of, np.ones(of.size), np.repeat(prompt, whole) + number, first, whole)
