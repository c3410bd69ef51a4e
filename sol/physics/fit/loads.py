"""Measured steps as arrays, and their times at given rates. Symbols: docs/notation.

    seconds = max( Σ_op max(u·moved_s, v·peak_s) + wire_s + launch·kernels , host·layers ) + step + each·sequences

u = 1/mbu and v = 1/mfu, in which the model is convex; one of each for everything, or one for each kind and format of operator.
A row is one step, or several steps one after the other. There are no names: rows are arrays, models are numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, NamedTuple

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

    @cached_property
    def models(self) -> Any:
        """Each model once."""
        return np.unique(self.model)

    @cached_property
    def serial_s(self) -> Array:
        """The serial floor of every row [s], where all operators have the same rates."""
        return of_rows(self, np.maximum(self.moved_s, self.peak_s).sum(axis=1) + self.wire_s)

    def most(self, steps: Any) -> Any:
        """Of which rows most steps are among these (m); shape (n)."""
        return of_rows(self, np.asarray(steps, dtype=np.float64)) > 0.5 * of_rows(self, np.ones(len(self.layers)))

    @cached_property
    def _ordered(self) -> tuple[Array, Array, Array]:
        """The operators of every step from the most FLOPs a byte on: peak/moved (k, m), and sums for each number of operators that FLOPs
        bind: their `peak_s`, and the `moved_s` of the others (m, k + 1)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.nan_to_num(self.peak_s / self.moved_s, nan=0.0, posinf=np.inf)
        order = np.argsort(-ratio, axis=1, kind="stable")
        none = np.zeros((len(ratio), 1))
        peak = np.cumsum(np.take_along_axis(self.peak_s, order, 1), axis=1)
        moved = np.cumsum(np.take_along_axis(self.moved_s, order, 1)[:, ::-1], axis=1)[:, ::-1]
        return np.ascontiguousarray(np.take_along_axis(ratio, order, 1).T), np.hstack([none, peak]), np.hstack([moved, none])

    @cached_property
    def _at_peaks(self) -> tuple[Array, Array]:
        return self._bound_by(np.ones(()))

    def bound_by(self, inv_mbu: Array, inv_mfu: Array) -> tuple[Array, Array]:
        """Of every step, `moved_s` of the operators that bytes bind and `peak_s` of the others, all at the same rates (..., m)."""
        return self._at_peaks if (inv_mbu == inv_mfu).all() else self._bound_by(inv_mbu / inv_mfu)

    def _bound_by(self, ridge: Array) -> tuple[Array, Array]:
        ratio, peak, moved = self._ordered
        at = np.broadcast_to(peak.shape[1] * np.arange(len(peak)), (*ridge.shape, len(peak))).copy()
        for of_operators in ratio:
            at += of_operators > ridge[..., None]
        return moved.ravel()[at], peak.ravel()[at]


class _Busy(NamedTuple):
    """Of every step (..., m): seconds of the device, of its operators, and of those that FLOPs bind.

    `moved_s` of what bytes bind and `peak_s` of what FLOPs bind: summed (..., m), or of each operator with its own rates (..., m, k).
    """

    device_s: Array
    operators_s: Array
    by_flops_s: Array
    moved_s: Array
    peak_s: Array


def _device(loads: Loads, theta: Theta) -> _Busy:
    if loads.mbu_of is None or loads.mfu_of is None:
        moved, peak = loads.bound_by(theta[..., INV_MBU], theta[..., INV_MFU])
        by_flops = theta[..., INV_MFU, None] * peak
        operators = theta[..., INV_MBU, None] * moved + by_flops
    else:
        by_byte, by_flop = theta[..., loads.mbu_of] * loads.moved_s, theta[..., loads.mfu_of] * loads.peak_s
        bytes_bind = by_byte >= by_flop
        moved, peak = np.where(bytes_bind, loads.moved_s, 0.0), np.where(bytes_bind, 0.0, loads.peak_s)
        by_flops, operators = np.where(bytes_bind, 0.0, by_flop).sum(axis=-1), np.maximum(by_byte, by_flop).sum(axis=-1)
    return _Busy(operators + loads.wire_s + theta[..., LAUNCH, None] * loads.kernels, operators, by_flops, moved, peak)


def seconds(loads: Loads, theta: Theta) -> Array:
    """The time of every row at these rates and times [s]; shape (n), or (r, n) for r sets of figures."""
    return of_rows(loads, _steps(loads, theta, _device(loads, theta)))


def _steps(loads: Loads, theta: Theta, busy: _Busy) -> Array:
    """The time of every step [s]; shape (..., m)."""
    after = theta[..., STEP, None] + theta[..., PER_SEQUENCE, None] * loads.sequences
    found: Array = np.maximum(busy.device_s, theta[..., HOST, None] * loads.layers) + after
    return found


def of_rows(loads: Loads, steps: Array) -> Array:
    """Sums over the steps of each row; shape (..., m) to (..., n)."""
    if loads.times is None:
        return steps
    n = len(loads.measured_s)
    flat = [np.bincount(loads.row, loads.times * one, n) for one in steps.reshape(-1, steps.shape[-1])]
    return np.array(flat, dtype=np.float64).reshape(*steps.shape[:-1], n)


def log_errors(loads: Loads, theta: Theta) -> Array:
    """log(estimated / measured) of every row; shape (n), or (r, n)."""
    found: Array = np.log(seconds(loads, theta) / loads.measured_s)
    return found


def host_bound(loads: Loads, theta: Theta) -> Any:
    """Which steps wait for the host; shape (m)."""
    return theta[HOST] * loads.layers > _device(loads, theta).device_s


def compute_bound(loads: Loads, theta: Theta) -> Any:
    """Which steps spend most of their operators' time on operators that FLOPs bind; shape (m)."""
    busy = _device(loads, theta)
    return busy.by_flops_s > 0.5 * busy.operators_s


def memory_bound(loads: Loads, theta: Theta) -> Any:
    """Which steps spend most of their operators' time on operators that bytes bind, and wait for no host; shape (m)."""
    return ~compute_bound(loads, theta) & ~host_bound(loads, theta)


def slopes(loads: Loads, theta: Theta, tied: bool = False) -> Array:
    """Derivatives of `seconds` by each figure; shape (n, figures). `tied`: 1/mfu is 1/mbu, and moves with it."""
    return seconds_and_slopes(loads, theta, tied)[1].T


def seconds_and_slopes(loads: Loads, theta: Theta, tied: bool = False) -> tuple[Array, Array]:
    """The time of every row (..., n) and its derivatives by each figure (..., figures, n), for figures (..., figures)."""
    busy = _device(loads, theta)
    m = busy.device_s.shape[-1]
    out = np.zeros((*theta.shape, m))
    if loads.mbu_of is None or loads.mfu_of is None:
        out[..., INV_MBU, :] = busy.moved_s + busy.peak_s if tied else busy.moved_s
        out[..., INV_MFU, :] = 0.0 if tied else busy.peak_s
    else:
        for of, values in ((loads.mbu_of, busy.moved_s), (loads.mfu_of, busy.peak_s)):
            place = (m * of + np.arange(m)[:, None]).ravel()
            size = theta.shape[-1] * m
            sums = [np.bincount(place, one, size) for one in values.reshape(-1, place.size)]
            out += np.array(sums).reshape(out.shape)
    out[..., LAUNCH, :] = loads.kernels
    if theta[..., HOST].any():
        waits = theta[..., HOST, None] * loads.layers > busy.device_s
        out *= ~waits[..., None, :]
        out[..., HOST, :] = waits * loads.layers
    out[..., STEP, :], out[..., PER_SEQUENCE, :] = 1.0, loads.sequences
    return of_rows(loads, _steps(loads, theta, busy)), of_rows(loads, out)
