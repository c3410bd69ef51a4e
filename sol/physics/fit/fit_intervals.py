"""Intervals of the figures of a fit, and of estimates of further models.

Rows of one model share an error, so the sample is the models, not the rows. Intervals of figures come from models
resampled (8 models or more) or left out one by one (3 to 7). With one or two models they come from the rows, with a
note. A rate counts as unidentified if its profile spans more than a factor of two, or reaches from the peak to
where no other time is left.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sol.physics.fit.fit import ACCURACY, LEAST, Form, Score, fitted, fitted_each, misfit
from sol.physics.fit.loads import FIGURES, INV_MBU, INV_MFU, Loads, Theta, seconds
from sol.physics.fit.student import normal_below, t_95
from sol.specs.quantities import Array

ROWS_OF_A_MODEL = 10
"""Rows of one model beyond this many add no evidence of their own."""
BOOTSTRAPPED, REPLICATES = 8, 300
STEPS, HALVINGS = 10, 7
TOO_WIDE, WIDE = 2.0, 1.25


class Interval(NamedTuple):
    """The figures' 95 % bounds, each of all figures, and how they were found."""

    low: Theta
    high: Theta
    how: str


def profile(loads: Loads, form: Form, theta: Theta, figure: int) -> tuple[float, float]:
    """The profile of a rate (u or v): 95 % bounds of values that fit about as well, with the other figures refitted.

    If the bounds reach a value at which no other time is left, the rows do not determine the rate.
    """
    rest = form._replace(free=tuple(i for i in form.free if i != figure), tied=form.tied and figure != INV_MBU)
    weight = _weights(loads)
    rows = float(weight.sum())
    freedom = max(rows - len(form.free), 0.0)
    least = float(misfit(loads, theta, weight))
    if freedom <= 0.0:
        return 1.0, np.inf
    spread = max(least / freedom, ACCURACY**2)
    limit = least + t_95(freedom) ** 2 * spread  # F of 1 and `freedom`
    top = 1.5 * max(float((loads.measured_s / loads.serial_s).max()), theta[figure])

    def outside(value: float, start: Theta) -> tuple[bool, Theta]:
        known = np.array(form.known)
        known[figure] = value
        if form.tied:
            known[INV_MFU] = value
        found = fitted(loads, rest._replace(known=tuple(known), tied=False), start)
        return bool(misfit(loads, found, weight) > limit), found

    def edge(end: float) -> float:
        """The last value towards `end` that fits: bracketed in steps, then halved."""
        inside, start = float(theta[figure]), theta
        if abs(end - inside) <= 1e-9 * end:
            return inside
        for value in np.geomspace(inside, end, STEPS + 1)[1:]:
            beyond, found = outside(float(value), start)
            if beyond:
                break
            inside, start = float(value), found
        else:
            return end
        far = float(value)
        for _ in range(HALVINGS):
            middle = float(np.sqrt(inside * far))
            beyond, found = outside(middle, start)
            inside, far, start = (inside, middle, start) if beyond else (middle, far, found)
        return far

    return edge(1.0), edge(top)


def _weights(loads: Loads) -> Array:
    """Rows count one each, those of one model no more than `ROWS_OF_A_MODEL` together."""
    _, at, counts = np.unique(loads.model, return_inverse=True, return_counts=True)
    share: Array = np.minimum(1.0, ROWS_OF_A_MODEL / counts)[at]
    return share


def unidentified(loads: Loads, form: Form, figure: int, bounds: tuple[float, float]) -> bool:
    """Whether a rate is unidentified: its profile is wide, or reaches from the peak to where no other time is left."""
    low, high = bounds
    if not high <= TOO_WIDE * low:
        return True
    if high <= WIDE * low or low > LEAST[figure] * (1 + 1e-9):
        return False
    alone = fitted(loads, form._replace(free=tuple(i for i in form.free if i in (INV_MBU, INV_MFU))))
    return bool(high >= alone[figure] * (1 - 1e-3))


def intervals(loads: Loads, score: Score, rates: dict[int, tuple[float, float]], seed: int = 0) -> Interval:
    """95 % bounds of every free figure; `rates` are the known profiles of u and v."""
    form, theta, models = score.form, score.theta, len(loads.models)
    free = list(form.free)
    if models >= BOOTSTRAPPED:
        low, high, how = *_resampled(loads, form, theta, seed), f"95 % intervals from {REPLICATES} resamples of {models} models"
    elif models >= 3:
        freedom = max(models - 2, 2)
        away = score.without - theta
        spread = np.sqrt((models - 1) / models * (away**2).sum(axis=0)) * t_95(freedom)
        low, high, how = theta - spread, theta + spread, f"95 % intervals from leaving each of {models} models out (t, {freedom})"
    else:
        low, high = _curvature(loads, form, theta)
        for figure in rates:
            low[figure] = high[figure] = theta[figure]  # the profile is the better one
        how = f"95 % intervals of the rows of {models} model{'s'[: models - 1]}, not of other models"
    for figure, (least, most) in rates.items():  # models may agree where their rows hardly tell, at a bound above all
        low[figure], high[figure] = min(low[figure], least), max(high[figure], most)
    low, high = np.maximum(np.minimum(low, theta), LEAST), np.maximum(high, theta)
    fixed = [i for i in range(FIGURES) if i not in free and not (form.tied and i == INV_MFU)]
    low[fixed] = high[fixed] = theta[fixed]
    if form.tied:
        low[INV_MFU], high[INV_MFU] = low[INV_MBU], high[INV_MBU]
    return Interval(low, high, how)


def _resampled(loads: Loads, form: Form, theta: Theta, seed: int) -> tuple[Theta, Theta]:
    """Percentiles over models drawn with replacement, widened for few models (expanded percentiles)."""
    draw, models = np.random.default_rng(seed), loads.models
    which = np.searchsorted(models, loads.model)
    counts: list[Array] = []
    while len(counts) < REPLICATES:
        chosen = draw.integers(len(models), size=len(models))
        if len(np.unique(chosen)) > 2:
            counts.append(np.bincount(chosen, minlength=len(models))[which].astype(np.float64))
    found = fitted_each(loads, form, theta, np.array(counts))
    n = len(models)
    tail = normal_below(-math.sqrt(n / (n - 1)) * t_95(n - 1))
    low, high = np.quantile(found, [tail, 1.0 - tail], axis=0)
    return low, high


def _curvature(loads: Loads, form: Form, theta: Theta) -> tuple[Theta, Theta]:
    """Bounds from the curvature of the errors about the fit, by finite differences."""
    free, n = list(form.free), len(loads.measured_s)
    slopes = np.zeros((n, len(free)))
    for k, i in enumerate(free):
        step = np.zeros(FIGURES)
        step[i] = 1e-6 * max(theta[i], 1e-9)
        if form.tied and i == INV_MBU:
            step[INV_MFU] = step[INV_MBU]
        slopes[:, k] = (np.log(seconds(loads, theta + step)) - np.log(seconds(loads, theta))) / step[i]
    freedom = max(n - len(free), 1)
    spread = max(float(misfit(loads, theta)) / freedom, ACCURACY**2)
    most = np.abs(slopes).max(axis=0)
    scale = np.where(most > 0.0, most, np.inf)  # a figure that no row depends on has no bounds from rows
    covariance = np.linalg.pinv((slopes / scale).T @ (slopes / scale)) / np.outer(scale, scale) * spread
    away = np.zeros(FIGURES)
    away[free] = np.sqrt(np.maximum(np.diag(covariance), 0.0)) * t_95(freedom)
    return theta - away, theta + away


def within_95(loads: Loads, score: Score) -> float | None:
    """The log error that holds 19 of 20 rows of models left out; None with fewer than three models.

    Degrees of freedom: models − 1.
    """
    models = loads.models
    if len(models) < 3:
        return None
    return max(_models_95([score.errors[loads.model == m] for m in models], len(models) - 1), 1e-6)


def within_95_of_rows(left_out: Sequence[Array]) -> float:
    """The log error that holds 19 of 20 rows, from the errors of each model (or device) left out, or of the rows if wider.

    No mean is subtracted, so the degrees of freedom are the number of models.
    """
    return max(_models_95(left_out, len(left_out)), float(np.quantile(np.abs(np.concatenate(list(left_out))), 0.95)))


def _models_95(errors: Sequence[Array], freedom: float) -> float:
    """t · √mean(e²), each model weighing the same."""
    return t_95(freedom) * float(np.sqrt(np.array([(e**2).mean() for e in errors]).mean()))
