"""The requests of a trace, and what became of each: arrays in the order of arrival."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sol.frozen import Frozen
from sol.specs.quantities import Array

Whole = np.ndarray
"""Whole numbers."""


@dataclass(frozen=True, eq=False)
class Load(Frozen):
    """Requests in order of arrival: when they arrive [s], tokens of prompt and output, and of the prompt those in the cache [token]."""

    arrival_s: Array
    prompt: Whole
    output: Whole
    cached: Whole

    def __len__(self) -> int:
        return int(self.arrival_s.size)


@dataclass(frozen=True)
class Loop:
    """A closed loop: requests at once [1], and the time from the last token of one until the next arrives [s].

    `late`: a user hears of the last token after its step, so that the next request misses what is decided at that very moment.
    """

    concurrency: int
    between_s: float = 0.0
    late: bool = False


@dataclass(frozen=True, eq=False)
class Steps(Frozen):
    """Every step in order: its start and its length [s], sequences that decode [1], tokens of prompts [token], tokens cached after."""

    start_s: Array
    seconds: Array
    decodes: Whole
    prompt_tokens: Whole
    cached_tokens: Whole


@dataclass(frozen=True, eq=False)
class Gaps(Frozen):
    """Times between two tokens of one request [s], each with how many requests waited so long [1]."""

    seconds: Array
    count: Array


@dataclass(frozen=True, eq=False)
class Served(Frozen):
    """What became of each request: when it arrived, was admitted, had its first and its last token [s], and how often it was preempted.

    `rounds` is how often the scheduler was asked [1]: stretches of steps that are alike are one round.
    """

    arrival_s: Array
    admitted_s: Array
    first_s: Array
    last_s: Array
    preemptions: Whole
    steps: Steps
    gaps: Gaps
    rounds: int
    recomputed: int
    """Tokens computed again after preemptions [token]."""
