"""Rates and times that explain measured steps: least squares on the logarithms, with the form chosen by models left out.

Residuals are logarithms of estimated over measured: least squares on relative errors would be biased towards small estimates.
Outliers count less (soft L1). A figure may have a usual value, which then counts as one more row. The database's
calibrations and those of users are both fitted here. Symbols: docs/notation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from sol.physics.fit.least_squares import minimized
from sol.physics.fit.loads import HOST, INV_MBU, INV_MFU, Loads, Theta, log_errors, of_rows, seconds_and_slopes
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
    found: Theta = fitted_each(loads, form, start, None)[0]
    return found


def fitted_each(loads: Loads, form: Form, start: Theta | None, weights: Array | None) -> Array:
    """The same for several weights of the rows (r, n), how many rows each counts as [1]; the figures of each (r, figures)."""
    sets = 1 if weights is None else len(weights)
    free, logs = list(form.free), bool(form.usual)
    if not free:
        return np.tile(all_figures(form, np.zeros(0)), (sets, 1))
    if logs:
        starts = [np.array([u.value for u in form.usual]), *([start[free]] if start is not None else [])]
    else:
        starts = [s[free] for s in ([start] if start is not None else _starts(loads, form))]
    at_once = max(1, AT_ONCE // (loads.moved_s.size if loads.mbu_of is not None else len(loads.layers)) // len(starts))
    parts = [_solved(loads, form, np.array(starts), None if weights is None else weights[i : i + at_once]) for i in range(0, sets, at_once)]
    return np.concatenate(parts)


AT_ONCE = 100_000
"""Steps of the problems that are solved together: arrays of this size stay in a cache."""


def _solved(loads: Loads, form: Form, starts: Array, weights: Array | None) -> Array:
    """Each set of weights from each start (starts, free); the best of each (r, figures)."""
    sets, n, p = 1 if weights is None else len(weights), len(loads.measured_s), len(form.free)
    logs = bool(form.usual)
    usual, spread, low, high = np.array(form.usual).T if logs else (*np.ones((2, p)), LEAST[list(form.free)], np.full(p, np.inf))

    def errors(z: Array, _which: Any) -> tuple[Array, Array]:
        x = np.exp(z) if logs else z
        theta = all_figures(form, x)
        s, by = seconds_and_slopes(loads, theta, form.tied)
        e, by = np.log(s / loads.measured_s), _by_free(form, theta, by) / s[:, None, :]
        if not logs:
            return e, by
        own = np.broadcast_to(np.diag(SOFT / spread), (len(z), p, p))
        return np.hstack([e, SOFT * (z - np.log(usual)) / spread]), np.concatenate([by * x[:, :, None], own], axis=2)

    begin = np.repeat(starts, sets, axis=0)
    counts = None if weights is None else np.tile(np.hstack([weights, np.ones((sets, p if logs else 0))]), (len(starts), 1))
    if logs:
        found = minimized(errors, np.log(begin), np.log(low), np.log(high), SOFT, counts)
    else:
        found = minimized(errors, begin, low, high, SOFT, counts)
    best = found.cost.reshape(len(starts), sets).argmin(axis=0) * sets + np.arange(sets)
    x = found.x[best]
    rows = np.ones((1, n)) if weights is None else weights
    return all_figures(form, np.exp(x)) if logs else _on_its_bounds(loads, form, all_figures(form, x), rows)


def _starts(loads: Loads, form: Form) -> list[Theta]:
    """Where a fit begins: at several shares of the typical step; a host time, which rows may tell on either side, at several of its values
    on top of the fit without it."""
    starts = list(STARTS * _scale(loads))
    if HOST not in form.free:
        return starts
    without = fitted(loads, form._replace(free=tuple(i for i in form.free if i != HOST)))
    a_layer = np.quantile(loads.measured_s / of_rows(loads, loads.layers), HOSTS)
    return [*starts, *(np.where(np.arange(len(without)) == HOST, host, without) for host in a_layer)]


HOSTS = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9)
"""Quantiles of the rows' times a layer at which a host's time begins."""


def _by_free(form: Form, theta: Array, slopes: Array) -> Array:
    """Derivatives of `seconds` by each free figure (r, free, n), of those by each figure."""
    for mean, of in form.means:
        for i in of:
            slopes[:, i] += slopes[:, mean] * (theta[:, mean] / (len(of) * theta[:, i]))[:, None]
    chosen: Array = slopes[:, list(form.free)]
    return chosen


STARTS = np.array(
    [
        [1.2, 1.4, 0.1, 0.0, 0.1, 0.1],
        [1.05, 1.1, 0.5, 0.95, 0.4, 0.01],
        [1.6, 2.0, 0.01, 1.05, 0.01, 0.01],
        [1.3, 8.0, 0.2, 0.3, 0.2, 0.2],
        [1.3, 1.3, 0.4, 0.6, 0.1, 0.1],
    ]
)  # rates as they are, times as shares of the typical step


def _scale(loads: Loads) -> Array:
    """For each figure, the value that alone would explain the typical row (rates: 1)."""
    of = (np.maximum(loads.kernels, 1.0), loads.layers, np.ones(len(loads.layers)), loads.sequences)
    return np.array([1.0, 1.0, *(np.median(loads.measured_s / of_rows(loads, each)) for each in of)])


def all_figures(form: Form, free: Array) -> Theta:
    """All figures from the free ones; shape (..., free) to (..., figures)."""
    theta = np.broadcast_to(np.array(form.known), (*free.shape[:-1], len(form.known))).copy()
    theta[..., list(form.free)] = free
    if form.tied:
        theta[..., INV_MFU] = theta[..., INV_MBU]
    for mean, of in form.means:
        theta[..., mean] = np.exp(np.log(theta[..., list(of)]).mean(axis=-1))
    return theta


def _on_its_bounds(loads: Loads, form: Form, theta: Array, weights: Array) -> Array:
    """The figures (r, figures), moved onto a bound if they fit as well there: nothing tells a figure that no row depends on."""
    least: Array | None = None
    for i in form.free:
        moved = theta.copy()
        moved[:, i] = LEAST[i]
        if form.tied:
            moved[:, INV_MFU] = moved[:, INV_MBU]
        if (moved == theta).all():
            continue
        least = misfit(loads, theta, weights) if least is None else least
        then = misfit(loads, moved, weights)
        fits = then <= least + 1e-10 * len(loads.measured_s)
        theta, least = np.where(fits[:, None], moved, theta), np.where(fits, then, least)
    return theta


def misfit(loads: Loads, theta: Array, weight: Array | float = 1.0) -> Array:
    """Σ of squared log errors, large ones softened; one for each set of figures (...)."""
    square = np.square(log_errors(loads, theta) / SOFT)
    found: Array = (weight * 2.0 * SOFT**2 * square / (1.0 + np.sqrt(1.0 + square))).sum(axis=-1)
    return found


def scored(loads: Loads, form: Form) -> Score:
    """A form fitted to all rows, and without the rows of each model."""
    theta = fitted(loads, form)
    return Score(form, theta, *left_out(loads, form, loads.model, theta))


def left_out(loads: Loads, form: Form, of: Any, start: Theta | None = None) -> tuple[Array, Array]:
    """The fits without the rows of each model, and their errors on those rows [log]; empty and NaN with a single model.

    `of` (n) numbers the model of each row, or whatever else is left out.
    """
    errors, each = np.full(len(loads.measured_s), np.nan), np.unique(of)
    if len(each) < 2:
        return np.zeros(0), errors
    without = fitted_each(loads, form, start, np.array([np.where(of == one, 0.0, 1.0) for one in each]))
    for one, rest in zip(each, without, strict=True):
        errors[of == one] = log_errors(loads, rest)[of == one]
    return without, errors


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
