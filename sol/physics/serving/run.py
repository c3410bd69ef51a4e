"""A benchmark's run: users who all start at once, requests of lengths that differ a little, and an end. Symbols: docs/notation.

C users start together and get out of step only because lengths differ. Where outputs are uniform over a width w₁ = 2(1 − r)/(1 + r)·o,
the j-th requests of all users begin within about w = √j·w₁ steps: min(C/w, C − 1) prompts a step instead of x, until w = o − 1.
With r = 1 they stay in step, as far apart as their first prompts were computed: C/k steps.

    TPOT = TPOT − (TPOT − D)/2q             the last of q requests of each user sees only half as many prompts beside it
    requests/s = N/(q·E2E + w_q·D/2)        at the end users have nothing to do, one after the other
"""

from __future__ import annotations

import numpy as np

from sol.physics.serving.steady import Lengths
from sol.specs.quantities import Array

MOST_TURNS = 12
"""Turns of the users that are priced; those between lie on a line."""


def width(of: Lengths, turns: Array, range_ratio: float) -> Array:
    """Steps within which the requests of a turn begin [1]: `turns` after the first, lengths uniform from `range_ratio` of the longest."""
    once = 2.0 * (1.0 - range_ratio) / (1.0 + range_ratio) * of.output
    steps: Array = np.minimum(np.sqrt(turns) * once, of.output - 1.0)
    return steps


def priced_turns(of: Lengths, turns: float, range_ratio: float) -> Array:
    """The turns after the first that are priced: until users are out of step, or the run is over [1]."""
    once = float(width(of, np.ones(1), range_ratio)[0])
    apart = ((of.output - 1.0) / once) ** 2 if once > 0.0 else 1.0
    found: Array = np.unique(np.round(np.geomspace(1.0, max(min(turns, np.ceil(apart)), 1.0), MOST_TURNS)))
    return found


def mean_over_turns(priced: Array, values: Array, turns: float) -> Array:
    """The mean over so many turns after the first, of values at those priced, shape (priced, points); later ones are as the last."""
    last = int(priced[-1])
    known = np.arange(1.0, min(last, max(int(np.ceil(turns)), 1)) + 1.0)
    weight = np.minimum(np.maximum(turns - (known - 1.0), 0.0), 1.0)
    each = np.stack([np.interp(known, priced, column) for column in values.T], axis=1)
    rest = max(turns - last, 0.0)
    made: Array = (weight @ each + rest * values[-1]) / max(float(weight.sum()) + rest, 1e-12)
    return made


def prompts_a_step(users: Array, steps: Array, holds: Array) -> Array:
    """Prompts that begin in a step which `holds` so many, where those of all users begin within so many `steps` [1].

    Never so many that more than c = (2/3)·√(2C/π) of them wait in the mean: no longer queue grows of C that come at random.
    """
    backlog = 2.0 / 3.0 * np.sqrt(2.0 * users / np.pi)
    most = holds * 2.0 * backlog / (1.0 + 2.0 * backlog)
    made: Array = np.minimum.reduce([users / np.maximum(steps, 1.0), users - 1.0, most])
    return made
