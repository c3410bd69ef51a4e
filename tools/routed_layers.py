"""An engine's time for each layer of routed experts, fitted together with its other times. Needs SciPy.

Kernel timings hold the grouped products of experts; what an engine does around them (routing, sorting, kernels that are not tuned for
its experts) is a time per layer, `Calibration.routed_s`. It is the value of a grid whose fit is best, where the rows have dense models
and mixtures of at least two kinds each, so that it is told apart from the time per step; otherwise zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from sol import load_model
from sol.answers.calibrate.published import EngineRows
from sol.physics.fit.fit import misfit
from sol.physics.fit.loads import Loads
from sol.specs.calibration import Calibration, Figure
from sol.specs.quantities import Array

SECONDS = (0.0, *(1e-6 * t for t in (5, 10, 15, 20, 30, 40, 50, 60, 80, 100, 130, 160, 200)))
KINDS = 2  # models, of dense ones and of mixtures each


@dataclass(frozen=True, eq=False)
class Routed:
    """Rows of an engine whose time per layer of experts is fitted too."""

    rows: EngineRows

    @cached_property
    def _each(self) -> tuple[EngineRows, ...]:
        """The rows on top of each time of the grid; a step's time is linear in it, so that two sets of loads make all."""
        if self.rows.rates is not None:
            return (self.rows,)
        none, one = self.rows, at(self.rows, 1.0)
        slope = one.loads.moved_s - none.loads.moved_s
        return tuple(_with(at(self.rows, t), replace(none.loads, moved_s=none.loads.moved_s + t * slope)) for t in SECONDS)

    def fitted(self) -> Calibration:
        """The calibration that fits the rows best."""
        return self._fit(np.ones(len(self.rows.rows), dtype=bool))

    def left_out(self, of: Sequence[str]) -> list[Array]:
        """As `EngineRows.left_out`, the time per layer fitted again each time."""
        which, found = np.array(of), []
        names = np.unique(which)
        for one in names if len(names) > 1 else ():
            mine = which == one
            found.append(errors(_part(self.rows, mine), self._fit(~mine)))
        return found

    def _fit(self, keep: Array) -> Calibration:
        models = {r.model for r, kept in zip(self.rows.rows, keep, strict=True) if kept}
        mixtures = sum(load_model(m).is_moe for m in models)
        tells = min(mixtures, len(models) - mixtures) >= KINDS
        tried = [_part(rows, keep) for rows in (self._each if tells else self._each[:1])]
        made = [rows.fitted() for rows in tried]
        costs = [misfit(rows.loads, rows.theta(c)) for rows, c in zip(tried, made, strict=True)]
        return made[int(np.argmin(costs))]


def errors(rows: EngineRows, calibration: Calibration) -> Array:
    """log(estimate / measured) of every row, with the calibration's time per layer of experts."""
    return at(rows, calibration.routed_s.value).errors(calibration)


def at(rows: EngineRows, seconds: float) -> EngineRows:
    """The rows on top of a base with this time per layer of experts."""
    return rows if seconds == rows.base.routed_s.value else replace(rows, base=rows.base.model_copy(update={"routed_s": Figure(value=seconds)}))


def _part(rows: EngineRows, keep: Array) -> EngineRows:
    chosen = tuple(r for r, kept in zip(rows.rows, keep, strict=True) if kept)
    return rows if len(chosen) == len(rows.rows) else _with(replace(rows, rows=chosen), rows.loads.take(keep))


def _with(rows: EngineRows, loads: Loads) -> EngineRows:
    rows.__dict__["loads"] = loads  # the cached property's place
    return rows
