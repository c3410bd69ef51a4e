"""Published steps, prompts and whole requests of an engine as the arrays of a fit, with figures by name.

Figures are named as in a calibration: "step_s", or "gemm.fp8:mbu" for a rate of a kind of operator. Either the rates of
the device's kernels are known and times are fitted on top of them, or the rates themselves are fitted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from sol.answers.calibrate.accuracy import questions
from sol.answers.calibrate.step_loads import OWN, RateFigures, joined_loads, step_loads
from sol.answers.question.ask import Question
from sol.physics.fit.fit import LEAST, Form, Usual, all_figures, fitted, left_out
from sol.physics.fit.loads import FIGURES, HOST, PER_SEQUENCE, STEP, Loads, Theta, log_errors
from sol.sources.database.libraries import library_of
from sol.sources.database.measured import MeasuredRow
from sol.specs.calibration import Calibration
from sol.specs.quantities import Array

NODES = 6
"""Steps of a request that represent all of them, because a step's time is nearly linear in its context."""
TIMES = {"host_s": HOST, "step_s": STEP, "sequence_s": PER_SEQUENCE}


@dataclass(frozen=True, eq=False)
class EngineRows:
    """Rows of an engine on a device, and the figures to fit on top of a calibration, with the usual value of each."""

    rows: tuple[MeasuredRow, ...]
    base: Calibration
    usual: Mapping[str, Usual]

    @cached_property
    def rates(self) -> RateFigures | None:
        """The rates to fit; None if only times are fitted on top of the rates of `base`."""
        names = tuple(name for name in self.usual if ":" in name)
        return RateFigures(applied(self.base, {k: u.value for k, u in self.usual.items()}), names) if names else None

    @cached_property
    def loads(self) -> Loads:
        """The loads of the rows."""
        models = sorted({r.model for r in self.rows})
        known = None if self.rates else self.base.model_copy(update={name: Calibration.model_fields[name].default for name in TIMES})
        pieces: list[dict[str, Any]] = []
        for i, row in enumerate(self.rows):
            for q, times in steps(row, self.base.fusion):
                of_row = {"row": np.full(len(times), i), "times": times}
                pieces.append(step_loads(q, len(times), known, self.rates, library_of(row.engine, row.version)) | of_row)
        measured_s = np.array([r.measured_s for r in self.rows])
        return Loads(**joined_loads(pieces), measured_s=measured_s, model=np.array([models.index(r.model) for r in self.rows]))

    @cached_property
    def form(self) -> Form:
        """The free figures, and the figures that are means of others (of an operator in a format that no row has)."""
        met = self.rates.means if self.rates and self.loads.model.size else {}  # the loads meet every operator
        means = tuple((i, of) for of, i in met.items())
        rates = len(self.rates.names) if self.rates else 0
        known = self._of_every_form(self.base) + (1.0,) * (rates + len(means))
        usual = tuple(u.inverse if _inverse(name) else u for name, u in self.usual.items())
        return Form("given", tuple(self._place(name) for name in self.usual), False, known, usual, means)

    def _of_every_form(self, calibration: Calibration) -> tuple[float, ...]:
        """The six figures of every form; with known rates, those of times only."""
        theta = LEAST.copy()
        for name, i in (OWN | TIMES if self.rates else TIMES).items():
            value = _value(calibration, name)
            theta[i] = 1.0 / value if _inverse(name) else value
        return tuple(map(float, theta))

    def _place(self, name: str) -> int:
        if name in TIMES:
            return TIMES[name]
        if self.rates is None:
            raise ValueError(f"{name} cannot be fitted on top of rates that are known")
        return self.rates.at(name) if ":" in name else OWN[name]

    def theta(self, calibration: Calibration) -> Theta:
        """The figures of a calibration."""
        values = [_value(calibration, name) for name in self.usual]
        free = np.array([1.0 / v if _inverse(name) else v for name, v in zip(self.usual, values, strict=True)])
        known = self._of_every_form(calibration) + self.form.known[FIGURES:]
        return all_figures(self.form._replace(known=known), free)

    def calibration(self, theta: Theta) -> Calibration:
        """The calibration with these figures."""
        free = theta[list(self.form.free)].tolist()
        return applied(self.base, {name: 1.0 / v if _inverse(name) else v for name, v in zip(self.usual, free, strict=True)})

    def errors(self, calibration: Calibration) -> Array:
        """log(estimate / measured) of every row."""
        return log_errors(self.loads, self.theta(calibration))

    def fitted(self) -> Calibration:
        """The calibration that fits the rows best."""
        return self.calibration(fitted(self.loads, self.form))

    def left_out(self, of: Sequence[str]) -> list[Array]:
        """log(estimate / measured) of the rows of each model, or whatever else `of` names, fitted to the others; nothing for one alone."""
        which = np.array(of)
        _, off = left_out(self.loads, self.form, which)
        return [off[which == one] for one in np.unique(which)] if not np.isnan(off).any() else []


def steps(row: MeasuredRow, fusion: str) -> list[tuple[Question, Array]]:
    """The steps of a row and how often each occurs: a request's prefill, and its decode steps at Gauss nodes of the context."""
    found = []
    for q in questions(row, fusion=fusion):
        if q.ctx.size <= NODES:
            found.append((q, np.ones(q.ctx.size)))
            continue
        nodes, weights = np.polynomial.legendre.leggauss(NODES)
        ctx = q.ctx[0] + (nodes + 1.0) / 2.0 * (q.ctx[-1] - q.ctx[0])
        found.append((replace(q, ctx=ctx, step=replace(q.step, past_tokens=ctx)), weights / 2.0 * q.ctx.size))
    return found


def applied(base: Calibration, values: Mapping[str, float]) -> Calibration:
    """A calibration with some figures replaced."""
    plain: dict[str, Any] = {}
    rates: dict[str, dict[str, float]] = {}
    for name, value in values.items():
        key, _, figure = name.rpartition(":")
        if key:
            rates.setdefault(key, {})[figure] = value
        else:
            plain[name] = {"value": value}
    known = {k: r.model_dump(exclude_none=True) for k, r in base.rates.items()}
    fields = base.model_dump(exclude={"rates", "sources", "residuals"}, exclude_none=True)
    return Calibration(**{**fields, **plain, "rates": {**known, **rates}, "sources": dict(base.sources)})


def _inverse(name: str) -> bool:
    """Whether the fit uses the inverse of a figure."""
    return name.rpartition(":")[2] in ("mbu", "mfu")


def _value(calibration: Calibration, name: str) -> float:
    key, _, figure = name.rpartition(":")
    return float(getattr(calibration.rates[key] if key else calibration, figure).value)
