"""Measured steps as arrays, and their times at given rates. Symbols: docs/notation.

    seconds = max( Σ_op max(u·moved_s, v·peak_s) + wire_s + launch·kernels , host·layers ) + step + each·sequences

u = 1/mbu and v = 1/mfu, in which the model is convex; one of each for everything, or one for each kind and format of operator.
A row is one step, or several steps one after the other. There are no names: rows are arrays, models are numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from sol.specs.quantities import Array

Theta = Array
"""(u, v, launch, host, step, each): 1/mbu and 1/mfu [1], seconds per kernel, per layer, per step, per sequence in it [s].

After these six come the rates of kinds of operators, where a form has them: 1/mbu and 1/mfu [1], or seconds per kernel [s].
"""
INV_MBU, INV_MFU, LAUNCH, HOST, STEP, PER_SEQUENCE = range(6)
FIGURES = 6
OF_ROWS = ("measured_s", "model")


@dataclass(frozen=True, eq=False)
class Loads:
    """Measured rows and the work of their steps.

    Shapes: n rows of m steps, k operators at most (steps with fewer hold zeros). `measured_s` (n); `moved_s` and
    `peak_s` (m, k) seconds of each operator's bytes at the peak bandwidth and of its FLOPs at the peak
    rate [s]; `wire_s` (m) collectives, which no rate here changes [s]; `kernels`, `layers`, `sequences`
    (m) [1]; `model` (n) which rows are of one model.

    `mbu_of`, `mfu_of` (m, k): which figures are u and v of an operator; by default `INV_MBU` and `INV_MFU`. Launches with a figure
    of their own are a column too: `moved_s` counts kernels [1], and the figure is the seconds of one.
    `row` (m) whose step each is, and `times` (m) how many such steps it has [1]; by default n = m, a row for each step.
    """

    measured_s: Array
    moved_s: Array
    peak_s: Array
    wire_s: Array
    kernels: Array
    layers: Array
    sequences: Array
    model: Any
    mbu_of: Any = None
    mfu_of: Any = None
    row: Any = None
    times: Array | None = None

    def take(self, rows: Any) -> Loads:
        """Some of the rows, by index or mask."""
        there = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) is not None}
        if self.row is None:
            return Loads(**{name: values[rows] for name, values in there.items()})
        of_row = [np.flatnonzero(self.row == i) for i in np.arange(len(self.measured_s))[rows]]
        steps = np.concatenate(of_row)
        taken = {name: values[rows if name in OF_ROWS else steps] for name, values in there.items()}
        return Loads(**taken | {"row": np.repeat(np.arange(len(of_row)), [len(s) for s in of_row])})

    @property
    def models(self) -> Any:
        """Each model once."""
        return np.unique(self.model)

    @property
    def serial_s(self) -> Array:
        """The serial floor of every step [s], where all operators have the same rates."""
        total: Array = np.maximum(self.moved_s, self.peak_s).sum(axis=1) + self.wire_s
        return total


def seconds(loads: Loads, theta: Theta) -> Array:
    """The time of every row at these rates and times [s]; shape (n)."""
    busy, _ = _device(loads, theta)
    total: Array = np.maximum(busy, theta[HOST] * loads.layers) + theta[STEP] + theta[PER_SEQUENCE] * loads.sequences
    if loads.times is None:
        return total
    by_row: Array = np.bincount(loads.row, loads.times * total, len(loads.measured_s)).astype(np.float64)
    return by_row


def log_errors(loads: Loads, theta: Theta) -> Array:
    """log(estimated / measured) of every row; shape (n)."""
    found: Array = np.log(seconds(loads, theta) / loads.measured_s)
    return found


def _at_rates(loads: Loads, theta: Theta) -> tuple[Array, Array]:
    """Seconds of every operator's bytes and of its FLOPs; shapes (m, k)."""
    u = theta[INV_MBU] if loads.mbu_of is None else theta[loads.mbu_of]
    v = theta[INV_MFU] if loads.mfu_of is None else theta[loads.mfu_of]
    return u * loads.moved_s, v * loads.peak_s


def _device(loads: Loads, theta: Theta) -> tuple[Array, Any]:
    """Seconds of the device (m), and which operators bytes bind (m, k)."""
    moved, peak = _at_rates(loads, theta)
    return np.maximum(moved, peak).sum(axis=1) + loads.wire_s + theta[LAUNCH] * loads.kernels, moved >= peak


def host_bound(loads: Loads, theta: Theta) -> Any:
    """Which steps wait for the host; shape (m)."""
    return theta[HOST] * loads.layers > _device(loads, theta)[0]


def compute_bound(loads: Loads, theta: Theta) -> Any:
    """Which steps spend most of their operators' time on operators that FLOPs bind; shape (m)."""
    moved, peak = _at_rates(loads, theta)
    return np.where(peak > moved, peak, 0.0).sum(axis=1) > 0.5 * np.maximum(moved, peak).sum(axis=1)


def memory_bound(loads: Loads, theta: Theta) -> Any:
    """Which steps spend most of their operators' time on operators that bytes bind, and wait for no host; shape (m)."""
    return ~compute_bound(loads, theta) & ~host_bound(loads, theta)


def slopes(loads: Loads, theta: Theta, tied: bool = False) -> Array:
    """Derivatives of `seconds` by each figure; shape (n, figures). `tied`: 1/mfu is 1/mbu, and moves with it."""
    busy, by_bytes = _device(loads, theta)
    waits = theta[HOST] * loads.layers > busy
    out = np.zeros((len(busy), len(theta)))
    if loads.mbu_of is None or loads.mfu_of is None:
        out[:, INV_MBU] = np.where(by_bytes, loads.moved_s, loads.peak_s if tied else 0.0).sum(axis=1)
        out[:, INV_MFU] = 0.0 if tied else np.where(by_bytes, 0.0, loads.peak_s).sum(axis=1)
    else:
        memory, compute = np.where(by_bytes, loads.moved_s, 0.0), np.where(by_bytes, 0.0, loads.peak_s)
        first = np.arange(len(busy))[:, None] * len(theta)
        for of, values in ((loads.mbu_of, memory), (loads.mfu_of, compute)):
            out += np.bincount((first + of).ravel(), values.ravel(), out.size).reshape(out.shape)
    out[:, LAUNCH] = loads.kernels
    out[waits] = 0.0
    out[waits, HOST] = loads.layers[waits]
    out[:, STEP], out[:, PER_SEQUENCE] = 1.0, loads.sequences
    if loads.times is None:
        return out
    whole = np.zeros((len(loads.measured_s), len(theta)))
    np.add.at(whole, loads.row, loads.times[:, None] * out)
    return whole
