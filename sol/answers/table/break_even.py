"""The batch from which on a weight format is no faster than another.

A narrow format saves the same bytes in every step. Bytes grow at most in proportion to the batch, FLOPs in
proportion. So once the arithmetic alone takes as long as the whole step in the wider format, it does in every
larger batch. Capacity is not considered here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from sol.answers.floor.floor import floor_of
from sol.answers.floor.result import Floor
from sol.answers.question.ask import Question
from sol.specs.quantities import Array
from sol.units import show_count, significant

DOUBLINGS: Array = np.ldexp(1.0, np.arange(50))
"""The largest batches that are searched, far beyond any in use; floats hold these whole numbers exactly."""
PIECES = 64
SMALL = 1.05


class Gain(NamedTuple):
    """`ends` is the smallest whole batch without a gain [1]. If there is none, `reason` says why, and `remains` what gain is left."""

    ends: float | None
    reason: str = ""
    remains: str = ""


def gain(wide: Question, narrow: Question) -> Gain:
    """The batch from which on `narrow` is no faster than `wide`: the same step in two weight formats, whatever its batch.

    None if the arithmetic is faster as well, or if the cache grows as fast as the FLOPs. In the second case the gain
    only shrinks, and `remains` is the batch from which on it is below 5 %.
    """

    def ended(batch: Array) -> Any:
        w, n = _at(wide, batch), _at(narrow, batch)
        saves = n.moved_weight_bytes < w.moved_weight_bytes  # then bytes alone never take as long, however little is left of it
        return w.latency_s <= np.where(saves, n.compute_s, n.latency_s)

    if wide.rates.peak is None or narrow.rates.peak is None:
        return Gain(None, "no sourced rate, so only memory is counted")
    ends = first_batch(ended)
    if ends is not None:
        return Gain(ends)
    name, w, n = wide.storage.weights.id, _at(wide, DOUBLINGS[-1:])[0], _at(narrow, DOUBLINGS[-1:])[0]
    if w.bound == "compute":
        return Gain(None, f"also computed faster than {name}; at large batches", f"{significant(w.latency_s / n.latency_s)}×")
    faded = first_batch(lambda batch: _at(wide, batch).latency_s < _at(narrow, batch).latency_s * SMALL)
    assert faded is not None  # what is saved is fixed, the cache is not
    return Gain(None, f"the cache grows as fast as the FLOPs, so {name} stays memory-bound; below 5 % from batch", show_count(faded))


def first_batch(holds: Callable[[Array], Any]) -> float | None:
    """The smallest whole batch from which on a condition holds [1]; None if it fails at the largest.

    `holds` maps an array of batches to truth values. Doublings bracket the batch; each pass cuts the
    bracket into `PIECES` until it holds one batch.
    """
    low, grid = 0.0, DOUBLINGS
    while True:
        fails = np.flatnonzero(~np.asarray(holds(grid)))
        first = int(fails[-1]) + 1 if fails.size else 0
        if first == grid.size:
            return None
        low, high = float(grid[first - 1]) if first else low, float(grid[first])
        if high - low <= 1.0:
            return high
        grid = np.unique(np.floor(np.linspace(low + 1.0, high, PIECES)))


def _at(question: Question, batch: Array) -> Floor:
    return floor_of(replace(question, step=replace(question.step, batch=batch), scalar=False))
