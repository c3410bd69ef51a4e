"""Rates and times that explain measured steps: least squares on the logarithms, with the form chosen by models left out.

Residuals are logarithms of estimated over measured: least squares on relative errors would be biased towards small estimates.
Outliers count less (soft L1). A figure may have a usual value, which then counts as one more row. The database's
calibrations and those of users are both fitted here. Needs SciPy. Symbols: docs/notation.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from sol.errors import InvalidInput
from sol.physics.fit.loads import INV_MBU, INV_MFU, Loads, Theta, log_errors, seconds, slopes
from sol.specs.quantities import Array

LEAST = np.array([1.0, 1.0, 0.0, 0.0, 0.0, 0.0])
"""Bounds: no rate above its peak, no negative time."""
SOFT = 0.1
"""Errors up to about 10 % count squared, larger ones in proportion."""
ACCURACY = 0.01
"""The best accuracy of any such model, however exact the rows; smaller errors carry no information [log]."""


class Usual(NamedTuple):
    """The usual value of a figure, for rows that do not determine it, and its bounds.

    A figure that lies its `spread` [log] away from the usual `value` counts as a row that is off by `SOFT`.
    """

    value: float
    spread: float
    low: float
    high: float

    @property
    def inverse(self) -> Usual:
        """The same for the inverse of the figure."""
        return Usual(1.0 / self.value, self.spread, 1.0 / self.high, 1.0 / self.low)


class Form(NamedTuple):
    """The figures that are fitted; `tied`: mfu = mbu, one factor on everything. `known` holds the values of the others.

    `usual`: the usual value of every free figure, or of none. `means`: figures that are geometric means of other figures.
    """

    name: Literal["M1", "M2", "M3", "given"]
    free: tuple[int, ...]
    tied: bool
    known: tuple[float, ...] = tuple(LEAST.tolist())
    usual: tuple[Usual, ...] = ()
    means: tuple[tuple[int, tuple[int, ...]], ...] = ()


class Score(NamedTuple):
    """A form, its fit to all rows, and with each model left out: the fits (models, figures) and the rows' errors (n) [log]."""

    form: Form
    theta: Theta
    without: Array
    errors: Array


def fitted(loads: Loads, form: Form, start: Theta | None = None) -> Theta:
    """The figures of a form that fit the rows best; from several starts, or from one that is known to be near.

    Figures with usual values are fitted as logarithms, and from those values as well.
    """
    least_squares = scipy("optimize").least_squares
    free, logs = list(form.free), bool(form.usual)
    if not free:
        return all_figures(form, np.zeros(0))
    scale = np.ones(len(free)) if logs else _scale(loads)[free]
    usual, spread, low, high = np.array(form.usual).T if logs else (scale, scale, LEAST[free], np.full(len(free), np.inf))

    def figures(z: Array) -> Array:
        return np.exp(z) if logs else z * scale

    def errors(z: Array) -> Array:
        found = log_errors(loads, all_figures(form, figures(z)))
        return np.concatenate([found, SOFT * (z - np.log(usual)) / spread]) if logs else found

    def by_z(z: Array) -> Array:
        x = figures(z)
        theta = all_figures(form, x)
        found: Array = _by_free(loads, form, theta) * (x if logs else scale) / seconds(loads, theta)[:, None]
        return np.concatenate([found, np.diag(SOFT / spread)]) if logs else found

    if logs:
        lowest, highest = np.log(low), np.log(high)
        starts = [np.log(usual), *([np.log(start[free])] if start is not None else [])]
    else:
        lowest, highest = low / scale, high
        starts = [np.maximum(s, lowest + 1e-6) for s in ([start[free] / scale] if start is not None else [s[free] for s in STARTS])]
    found = [
        least_squares(
            errors, s, by_z, bounds=(lowest, highest), loss="soft_l1", f_scale=SOFT, xtol=1e-10, ftol=1e-10, gtol=1e-12, max_nfev=200
        )
        for s in starts
    ]
    theta = all_figures(form, figures(min(found, key=lambda f: float(f.cost)).x))
    return theta if logs else _on_its_bounds(loads, form, theta)


def _by_free(loads: Loads, form: Form, theta: Theta) -> Array:
    """Derivatives of `seconds` by each free figure; shape (n, free)."""
    found = slopes(loads, theta, form.tied)
    for mean, of in form.means:
        for i in of:
            found[:, i] += found[:, mean] * theta[mean] / (len(of) * theta[i])
    chosen: Array = found[:, list(form.free)]
    return chosen


STARTS = (
    np.array([1.2, 1.4, 0.1, 0.0, 0.1, 0.1]),
    np.array([1.05, 1.1, 0.5, 0.95, 0.4, 0.01]),
    np.array([1.6, 2.0, 0.01, 1.05, 0.01, 0.01]),
)  # rates as they are, times as shares of the typical step


def _scale(loads: Loads) -> Array:
    """For each figure, the value that alone would explain the typical row (rates: 1)."""
    y = loads.measured_s
    per_kernel = np.median(y / np.maximum(loads.kernels, 1.0))
    return np.array([1.0, 1.0, per_kernel, np.median(y / loads.layers), np.median(y), np.median(y / loads.sequences)])


def all_figures(form: Form, free: Array) -> Theta:
    """All figures from the free ones."""
    theta = np.array(form.known)
    theta[list(form.free)] = free
    if form.tied:
        theta[INV_MFU] = theta[INV_MBU]
    for mean, of in form.means:
        theta[mean] = np.exp(np.log(theta[list(of)]).mean())
    return theta


def _on_its_bounds(loads: Loads, form: Form, theta: Theta) -> Theta:
    """The figures, moved onto a bound if they fit as well there: the solver stays slightly inside every bound."""
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
    """A form fitted to all rows, and without the rows of each model."""
    theta = fitted(loads, form)
    return Score(form, theta, *left_out(loads, form, loads.model, theta))


def left_out(loads: Loads, form: Form, of: Any, start: Theta | None = None) -> tuple[Array, Array]:
    """The fits without the rows of each model, and their errors on those rows [log]; empty and NaN with a single model.

    `of` (n) numbers the model of each row, or whatever else is left out.
    """
    errors, without = np.full(len(loads.measured_s), np.nan), []
    each = np.unique(of)
    for one in each if len(each) > 1 else ():
        out = of == one
        rest = fitted(loads.take(~out), form, start)
        errors[out] = log_errors(loads.take(out), rest)
        without.append(rest)
    return np.array(without), errors


def by_model(loads: Loads, values: Array) -> Array:
    """The mean of a value over the rows of each model."""
    return np.array([values[loads.model == m].mean() for m in loads.models])


def supported(scores: Sequence[Score], loads: Loads, prefer: int | None = None) -> list[Score]:
    """The forms within one standard error of the best, by size, then by error; all of them with one model.

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
    """A part of SciPy, loaded for the first fit. Raises `InvalidInput` if SciPy is missing."""
    try:
        return importlib.import_module(f"scipy.{part}")
    except ImportError:
        raise InvalidInput("calibrate", "needs scipy", "pip install 'llm-sol[fit]'") from None
