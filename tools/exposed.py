"""How much of the shorter of bytes and operations a matrix product does not hide beneath the longer, from kernel timings.

    launch_s + max(bytes, flops / mfu) + exposed · min(bytes, flops / mfu)

`exposed` comes from the rows of 32 to 512 tokens, where neither is small, and `mfu` from those that compute, in turn.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tools.kernel_tables import Rows

FEW, TURNS, BETTER = 4, 20, 2 / 3


class Exposed(NamedTuple):
    """The share [0..1], and the compute rate that goes with it."""

    share: float
    mfu: float


def exposed(rows: Rows, launch_s: float, mbu: float, mfu: float) -> Exposed | None:
    """By least relative squares; None where it does not lower the median error of those rows by a third."""
    if rows.both.sum() < FEW or rows.computing.sum() < FEW:
        return None
    told, compute = rows.where(rows.both), rows.where(rows.computing)
    found = Exposed(0.0, mfu)
    for _ in range(TURNS):
        memory, flops = (told.stream_s + told.moved_s) / mbu, told.flops_s / found.mfu
        rest, less = told.latency_s - launch_s - np.maximum(memory, flops), np.minimum(memory, flops)
        share = float(np.clip(np.sum(rest * less / told.latency_s**2) / np.sum((less / told.latency_s) ** 2), 0.0, 1.0))
        left = compute.latency_s - launch_s - share * (compute.stream_s + compute.moved_s) / mbu
        found = Exposed(share, min(1.0, float(np.median(compute.flops_s[left > 0] / left[left > 0]))))
    return found if error(told, launch_s, mbu, found) < BETTER * error(told, launch_s, mbu, Exposed(0.0, mfu)) else None


def error(rows: Rows, launch_s: float, mbu: float, of: Exposed) -> float:
    """Median |log(measured / formula)|."""
    memory, flops = (rows.stream_s + rows.moved_s) / mbu, rows.flops_s / of.mfu
    formula = launch_s + np.maximum(memory, flops) + of.share * np.minimum(memory, flops)
    return float(np.median(np.abs(np.log(rows.latency_s / formula))))
