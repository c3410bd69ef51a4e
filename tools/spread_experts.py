"""An engine's time for each layer of experts that are spread over devices, fitted together with its other times. Needs SciPy.

Kernel timings hold the grouped products of experts on one device; what an engine does around them where each device holds some of the
experts (sorting, padding, kernels that are not tuned for so few) is a time per layer, `Calibration.spread_s`. It is the engine's, the
same on all its devices, each of which has its own time per step and sequence: the value of a grid whose fits are best together. Where
fewer than two models' experts are spread it cannot be told from the time per step; there, and where it explains little, it is zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from sol.answers.calibrate.published import EngineRows
from sol.physics.fit.fit import misfit
from sol.physics.fit.loads import Loads
from sol.specs.calibration import Calibration, Figure
from sol.specs.quantities import Array

SECONDS = (0.0, *(1e-6 * t for t in (5, 10, 15, 20, 30, 40, 50, 60, 80, 100, 130, 160, 200)))
BETTER = 0.9  # of the misfit without it: a time per layer that explains less is none
KINDS = 2  # models, of spread experts and of others each


@dataclass(frozen=True, eq=False)
class Spread:
    """Rows of one engine by device, whose time per layer of experts is fitted too."""

    rows: Mapping[str, EngineRows]
    _known: dict[tuple[str, str, int], tuple[Calibration, float]] = field(default_factory=dict)

    @cached_property
    def models(self) -> frozenset[str]:
        """The models of all devices."""
        return frozenset(r.model for rows in self.rows.values() for r in rows.rows)

    @cached_property
    def _each(self) -> dict[str, tuple[EngineRows, ...]]:
        """The rows on top of each time of the grid; a step's time is linear in it, so that two sets of loads make all."""
        found = {}
        for gpu, none in self.rows.items():
            slope = 0.0 if none.rates is not None else at(none, 1.0).loads.moved_s - none.loads.moved_s
            found[gpu] = tuple(_with(at(none, t), replace(none.loads, moved_s=none.loads.moved_s + t * slope)) for t in SECONDS)
        return found

    def fitted(self, gpu: str, without: str = "") -> Calibration:
        """The calibration that fits a device's rows best, of all models or without one."""
        spread = {r.model for rows in self.rows.values() for r in rows.rows if r.ep > 1 and r.model != without}
        tells = self.rows[gpu].rates is None and min(len(spread), len(self.models - spread - {without})) >= KINDS
        costs = [sum(self._fit(g, without, n)[1] for g in self.rows) for n in range(len(SECONDS))] if tells else [0.0]
        best = int(np.argmin(costs))
        return self._fit(gpu, without, best if costs[best] < BETTER * costs[0] else 0)[0]

    def left_out(self, gpu: str) -> list[Array]:
        """log(estimate / measured) of the rows of each model of a device, fitted to the others; nothing for one alone."""
        of = np.array([r.model for r in self.rows[gpu].rows])
        names = np.unique(of)
        return [errors(_part(self.rows[gpu], of == m), self.fitted(gpu, m)) for m in names] if len(names) > 1 else []

    def _fit(self, gpu: str, without: str, n: int) -> tuple[Calibration, float]:
        """A device's fit at the n-th time of the grid, and its misfit."""
        rows = self._each[gpu][n]
        keep = np.array([r.model != without for r in rows.rows])
        key = (gpu, "" if keep.all() else without, n)
        if key not in self._known:
            mine = _part(rows, keep) if keep.any() else rows
            made = mine.fitted()
            self._known[key] = made, float(misfit(mine.loads, mine.theta(made))) if keep.any() else 0.0
        return self._known[key]


def errors(rows: EngineRows, calibration: Calibration) -> Array:
    """log(estimate / measured) of every row, with the calibration's time per layer of experts."""
    return at(rows, calibration.spread_s.value).errors(calibration)


def at(rows: EngineRows, seconds: float) -> EngineRows:
    """The rows on top of a base with this time per layer of experts."""
    if seconds == rows.base.spread_s.value:
        return rows
    return replace(rows, base=rows.base.model_copy(update={"spread_s": Figure(value=seconds)}))


def _part(rows: EngineRows, keep: Array) -> EngineRows:
    chosen = tuple(r for r, kept in zip(rows.rows, keep, strict=True) if kept)
    return rows if len(chosen) == len(rows.rows) else _with(replace(rows, rows=chosen), rows.loads.take(keep))


def _with(rows: EngineRows, loads: Loads) -> EngineRows:
    rows.__dict__["loads"] = loads  # the cached property's place
    return rows
