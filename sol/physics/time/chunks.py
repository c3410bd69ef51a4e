"""A prompt that an engine passes through a pipeline in chunks, with the stages at work on different chunks.

    time = Σ_j t_j / s + (1 − 1/s) · t_last        s = min(pp, chunks in flight)

t_j is chunk j's way through all stages, which grows with the tokens cached before it, and the stages are equal: a chunk follows t/s after
the one before it, and the last one, the longest, has the rest of its way still to go. Symbols: docs/notation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace

import numpy as np

from sol.physics.operators.operator import Amount
from sol.physics.time.estimate import TimeParts
from sol.specs.split import Split
from sol.specs.step import Step


def in_chunks(step: Step, split: Split, tokens: float, in_flight: float, of: Callable[[Step, Split], TimeParts]) -> TimeParts:
    """The parts of a pass in even chunks of at most `tokens` of every sequence; `of` prices a chunk's way through all stages.

    A chunk's time is taken to be linear in the tokens before it, so that the first and the last tell the sum.
    """
    count = np.maximum(np.ceil(step.new_tokens / tokens), 1.0)
    size = step.new_tokens / count
    first = of(replace(step, new_tokens=size), split)
    last = of(replace(step, new_tokens=size, past_tokens=step.past_tokens + (step.new_tokens - size)), split)
    side_by_side = np.minimum(split.pp, in_flight)
    half = count / (2.0 * side_by_side)
    rest = 1.0 - 1.0 / side_by_side

    def joined(name: str) -> Amount:
        begun, done = getattr(first, name), getattr(last, name)
        found: Amount = half * (begun + done) + rest * done
        return found

    return TimeParts(**{field.name: joined(field.name) for field in fields(TimeParts)})
