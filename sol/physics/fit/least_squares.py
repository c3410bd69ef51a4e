"""Least squares between bounds: a projected Levenberg-Marquardt method whose large errors count less (soft L1), on many problems at once.

The cost of a problem is Σ w·soft²·(√(1 + (e/soft)²) − 1) over errors e with weights w. Figures on a bound that the cost pushes outwards
are held there, the others take a damped Gauss-Newton step, clipped to the bounds. A step is taken only if it lowers the cost, so the
method ends at bounds, at kinks and in flat valleys too, and it raises nothing. Sources: Kanzow, Yamashita & Fukushima (2004), projected
Levenberg-Marquardt; Triggs et al. (2000), "Bundle adjustment", for the weights of large errors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from sol.specs.quantities import Array

MOST_STEPS = 200
LEAST_GAIN = 1e-10
"""A step that lowers the cost by no more than this fraction is the last."""
LEAST_STEP = 1e-9
"""So is one that would move no figure by more than this fraction."""
EARLY, SHORT = 5, 0.9
"""The first steps stop short of the bounds, at this fraction of the way: a figure on its bound may have no slope that leads back."""
DAMPED, LEAST_DAMPED, LESS, MORE = 1e-3, 1e-12, 0.1, 4.0

Errors = Callable[[Array, Any], tuple[Array, Array]]
"""From figures (r, p) of the problems of these numbers (r) to their errors (r, n) and slopes (r, p, n)."""


class Minima(NamedTuple):
    """Where the cost of each problem is least (r, p), that cost (r), and how often errors were evaluated, all problems together."""

    x: Array
    cost: Array
    evaluations: int


def minimized(errors: Errors, start: Array, low: Array, high: Array, soft: float, weight: Array | None = None) -> Minima:
    """The figures between `low` and `high` (p) at which costs are least, from starts (r, p) that may lie outside.

    `weight` (r, n): by default 1.
    """
    x = np.clip(start, low, high)
    every = np.arange(len(x))
    cost, gradient, curvature = _costs(errors, x, every, soft, weight)
    damping, more = np.full(len(x), DAMPED), np.full(len(x), MORE)
    going, evaluations = np.ones(len(x), dtype=bool), len(x)
    for k in range(MOST_STEPS):
        going &= cost > 0.0
        at = every[going]
        if not at.size:
            break
        here = x[at]
        ends = (here + SHORT * (low - here), here + SHORT * (high - here)) if k < EARLY else (low, high)
        held = ((here <= low) & (gradient[at] > 0.0)) | ((here >= high) & (gradient[at] < 0.0))
        tried = np.clip(here + _steps(gradient[at], curvature[at], held, damping[at]), *ends)
        moves = (np.abs(tried - here) > LEAST_STEP * (np.abs(here) + LEAST_STEP)).any(axis=1)
        going[at[~moves]] = False
        at, tried = at[moves], tried[moves]
        if not at.size:
            continue
        then, *slopes = _costs(errors, tried, at, soft, weight)
        evaluations += len(at)
        better = then < cost[at]
        worse, at = at[~better], at[better]
        damping[worse] *= more[worse]
        more[worse] *= 2.0
        going[at] = cost[at] - then[better] > LEAST_GAIN * cost[at]
        x[at], cost[at], gradient[at], curvature[at] = tried[better], then[better], slopes[0][better], slopes[1][better]
        damping[at], more[at] = np.maximum(damping[at] * LESS, LEAST_DAMPED), MORE
    return Minima(x, cost, evaluations)


def _costs(errors: Errors, x: Array, which: Any, soft: float, weight: Array | None) -> tuple[Array, Array, Array]:
    """The cost (r), its gradient (r, p), and its curvature but for that of the errors themselves (r, p, p)."""
    e, slopes = errors(x, which)
    square = np.square(e / soft)
    root = np.sqrt(1.0 + square)
    size, first, second = square / (1.0 + root), e / root, root**-3.0
    if weight is not None:
        counts = weight[which]
        size, first, second = size * counts, first * counts, second * counts
    cost: Array = soft**2 * size.sum(axis=1)
    return cost, (slopes @ first[:, :, None])[:, :, 0], (slopes * second[:, None, :]) @ slopes.transpose(0, 2, 1)


def _steps(gradient: Array, curvature: Array, held: Any, damping: Array) -> Array:
    """Damped Gauss-Newton steps (r, p); held figures, and those that nothing depends on, stay where they are."""
    size = np.sqrt(np.diagonal(curvature, axis1=1, axis2=2))
    size = np.where(held | ~(size > 0.0), np.inf, size)
    scaled = curvature / (size[:, :, None] * size[:, None, :]) + (damping[:, None] + np.isinf(size))[:, :, None] * np.eye(size.shape[1])
    step: Array = -np.linalg.solve(scaled, (gradient / size)[:, :, None])[:, :, 0] / size
    return step
