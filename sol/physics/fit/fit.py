"""Which rates and times explain measured steps: least squares on the logarithms, and the form chosen by models left out.

    seconds = max( Σ_op max(u·moved_s, v·peak_s) + wire_s + launch·kernels , host·layers ) + step + each·sequences

u = 1/mbu and v = 1/mfu, in which the model is convex. Residuals are logarithms of estimated over
measured: least squares on relative errors would be biased towards small estimates. Rows far off count
less (soft L1). Deliberately no names: rows are arrays, models are numbers. Needs SciPy.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, NamedTuple

import numpy as np

from sol.errors import InvalidInput
from sol.specs.step import Array

Theta = Array
"""(u, v, launch, host, step, each): 1/mbu and 1/mfu [1], seconds per kernel, per layer, per step, per sequence in it [s]."""
INV_MBU, INV_MFU, LAUNCH, HOST, STEP, PER_SEQUENCE = range(6)
FIGURES = 6
LEAST = np.array([1.0, 1.0, 0.0, 0.0, 0.0, 0.0])
"""Nothing is faster than its peak, no time is negative."""
SOFT = 0.1
"""Errors up to about 10 % count squared, larger ones in proportion."""
ACCURACY = 0.01
"""No such model explains steps better than this, however exact the rows: smaller errors say nothing [log]."""


@dataclass(frozen=True, eq=False)
class Loads:
    """Measured steps and what each asks of the device.

    Shapes: n rows, k operators at most (rows with fewer hold zeros). `measured_s` (n); `moved_s` and
    `peak_s` (n, k) seconds of each operator's bytes at the peak bandwidth and of its FLOPs at the peak
    rate [s]; `wire_s` (n) collectives, which no rate here changes [s]; `kernels`, `layers`, `sequences`
    (n) [1]; `model` (n) which rows are of one model.
    """

    measured_s: Array
    moved_s: Array
    peak_s: Array
    wire_s: Array
    kernels: Array
    layers: Array
    sequences: Array
    model: Any

    def take(self, rows: Any) -> Loads:
        """Some of the rows, by index or mask."""
        return Loads(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    @property
    def models(self) -> Any:
        """Each model once."""
        return np.unique(self.model)

    @property
    def serial_s(self) -> Array:
        """The serial floor of every row [s]."""
        total: Array = np.maximum(self.moved_s, self.peak_s).sum(axis=1) + self.wire_s
        return total


class Form(NamedTuple):
    """Which figures are fitted; `tied`: one factor on everything, mfu = mbu. `known` holds the others' values."""

    name: Literal["M1", "M2", "M3"]
    free: tuple[int, ...]
    tied: bool
    known: tuple[float, ...] = tuple(LEAST.tolist())


class Score(NamedTuple):
    """A form, its fit to all rows, and with each model left out: the fits (models, figures) and the rows' errors (n) [log]."""

    form: Form
    theta: Theta
    without: Array
    errors: Array


def seconds(loads: Loads, theta: Theta) -> Array:
    """What these rates and times make of every row [s]; shape (n)."""
    busy, _ = _device(loads, theta)
    total: Array = np.maximum(busy, theta[HOST] * loads.layers) + theta[STEP] + theta[PER_SEQUENCE] * loads.sequences
    return total


def _device(loads: Loads, theta: Theta) -> tuple[Array, Any]:
    """Seconds of the device (n), and which operators bytes bind (n, k)."""
    moved, peak = theta[INV_MBU] * loads.moved_s, theta[INV_MFU] * loads.peak_s
    return np.maximum(moved, peak).sum(axis=1) + loads.wire_s + theta[LAUNCH] * loads.kernels, moved >= peak


def host_bound(loads: Loads, theta: Theta) -> Any:
    """Which rows wait for the host; shape (n)."""
    return theta[HOST] * loads.layers > _device(loads, theta)[0]


def compute_bound(loads: Loads, theta: Theta) -> Any:
    """Which rows spend most of their operators' time on operators that FLOPs bind; shape (n)."""
    moved, peak = theta[INV_MBU] * loads.moved_s, theta[INV_MFU] * loads.peak_s
    return np.where(peak > moved, peak, 0.0).sum(axis=1) > 0.5 * np.maximum(moved, peak).sum(axis=1)


def memory_bound(loads: Loads, theta: Theta) -> Any:
    """Which rows spend most of their operators' time on operators that bytes bind, and wait for no host; shape (n)."""
    return ~compute_bound(loads, theta) & ~host_bound(loads, theta)


def _slopes(loads: Loads, theta: Theta, tied: bool) -> Array:
    """Derivatives of `seconds` by each figure; shape (n, figures)."""
    busy, by_bytes = _device(loads, theta)
    waits = theta[HOST] * loads.layers > busy
    out = np.zeros((len(busy), FIGURES))
    out[:, INV_MBU] = np.where(by_bytes, loads.moved_s, loads.peak_s if tied else 0.0).sum(axis=1)
    out[:, INV_MFU] = 0.0 if tied else np.where(by_bytes, 0.0, loads.peak_s).sum(axis=1)
    out[:, LAUNCH] = loads.kernels
    out[waits] = 0.0
    out[waits, HOST] = loads.layers[waits]
    out[:, STEP], out[:, PER_SEQUENCE] = 1.0, loads.sequences
    return out


def fitted(loads: Loads, form: Form, start: Theta | None = None) -> Theta:
    """The figures of a form that fit the rows best; from several starts, or from one that is known to be near."""
    least_squares = scipy("optimize").least_squares
    free = list(form.free)
    if not free:
        return whole(form, np.zeros(0))
    scale = _scale(loads)[free]

    def errors(z: Array) -> Array:
        return np.log(seconds(loads, whole(form, z * scale)) / loads.measured_s)

    def slopes(z: Array) -> Array:
        theta = whole(form, z * scale)
        by_figure: Array = _slopes(loads, theta, form.tied)[:, free] * scale / seconds(loads, theta)[:, None]
        return by_figure

    starts = [start[free] / scale] if start is not None else [s[free] for s in STARTS]
    lowest = LEAST[free] / scale
    found = [
        least_squares(
            errors, np.maximum(s, lowest + 1e-6), slopes, bounds=(lowest, np.inf), loss="soft_l1", f_scale=SOFT,
            xtol=1e-10, ftol=1e-10, gtol=1e-12, max_nfev=200,
        )
        for s in starts
    ]  # fmt: skip
    best = min(found, key=lambda f: float(f.cost))
    return _on_its_bounds(loads, form, whole(form, best.x * scale))


STARTS = (
    np.array([1.2, 1.4, 0.1, 0.0, 0.1, 0.1]),
    np.array([1.05, 1.1, 0.5, 0.95, 0.4, 0.01]),
    np.array([1.6, 2.0, 0.01, 1.05, 0.01, 0.01]),
)  # rates as they are, times as shares of the typical step


def _scale(loads: Loads) -> Array:
    """Of each figure, what alone would explain the typical row (rates: 1)."""
    y = loads.measured_s
    per_kernel = np.median(y / np.maximum(loads.kernels, 1.0))
    return np.array([1.0, 1.0, per_kernel, np.median(y / loads.layers), np.median(y), np.median(y / loads.sequences)])


def whole(form: Form, free: Array) -> Theta:
    """All figures from the free ones."""
    theta = np.array(form.known)
    theta[list(form.free)] = free
    if form.tied:
        theta[INV_MFU] = theta[INV_MBU]
    return theta


def _on_its_bounds(loads: Loads, form: Form, theta: Theta) -> Theta:
    """The solver stays a hair inside every bound; what lies as well on its bound is put there."""
    for i in form.free:
        moved = theta.copy()
        moved[i] = LEAST[i]
        if form.tied:
            moved[INV_MFU] = moved[INV_MBU]
        if misfit(loads, moved) <= misfit(loads, theta) + 1e-10 * len(loads.measured_s):
            theta = moved
    return theta


def misfit(loads: Loads, theta: Theta, weight: Array | float = 1.0) -> float:
    """Σ of squared log errors, large ones softened."""
    e = np.log(seconds(loads, theta) / loads.measured_s) / SOFT
    return float((weight * 2.0 * SOFT**2 * (np.sqrt(1.0 + e * e) - 1.0)).sum())


def scored(loads: Loads, form: Form) -> Score:
    """A form fitted to all rows, and to all but those of each model."""
    theta = fitted(loads, form)
    errors, without = np.full(len(loads.measured_s), np.nan), []
    models = loads.models
    for m in models if len(models) > 1 else ():
        out = loads.model == m
        rest = fitted(loads.take(~out), form, theta)
        errors[out] = np.log(seconds(loads.take(out), rest) / loads.measured_s[out])
        without.append(rest)
    return Score(form, theta, np.array(without), errors)


def by_model(loads: Loads, values: Array) -> Array:
    """The mean of a value over the rows of each model."""
    return np.array([values[loads.model == m].mean() for m in loads.models])


def supported(scores: Sequence[Score], loads: Loads, prefer: int | None = None) -> list[Score]:
    """The forms within one standard error of the best, by size, then by error; all of them where there is one model.

    A form's error is the geometric mean, over models, of the mean error of a model left out: one odd
    model does not decide. The standard error is that of the best form's, or of the ratio to it model by
    model where that is larger. Of two alike in size, the one with the figure to `prefer` is first.
    """
    if len(loads.models) < 2:
        return list(scores)
    sizes = [np.log(np.maximum(by_model(loads, np.abs(s.errors)), ACCURACY)) for s in scores]
    best = min(sizes, key=lambda m: float(m.mean()))
    n = len(best)

    def near(m: Array) -> bool:
        ratio = m - best
        return bool(ratio.mean() <= max(best.std(ddof=1), ratio.std(ddof=1)) / np.sqrt(n))

    kept = [(s, m) for s, m in zip(scores, sizes, strict=True) if near(m)]

    def order(scored: tuple[Score, Array]) -> tuple[int, bool, float]:
        free = scored[0].form.free
        return len(free), prefer is not None and prefer not in free, float(scored[1].mean())

    return [s for s, _ in sorted(kept, key=order)]


def scipy(part: str) -> Any:
    """A part of SciPy, loaded when a fit is asked for. Raises `InvalidInput` where there is none."""
    try:
        return importlib.import_module(f"scipy.{part}")
    except ImportError:
        raise InvalidInput("calibrate", "needs scipy", "pip install 'llm-sol[fit]'") from None
