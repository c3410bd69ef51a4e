"""How close are floors and estimates to published measurements? Every row is compared with both.

A row is a step, a prompt, or whole requests run together: prefill, then one decode step per further
token, one after the other, so that the floors of its steps add up to a floor of the whole.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from sol.answers.estimate.estimate import estimate_of
from sol.answers.estimate.stand_ins import can_estimate
from sol.answers.floor.floor import floor_of
from sol.answers.question.ask import Question, ask
from sol.errors import MissingSpec
from sol.sources.database.calibrations import engine_classes
from sol.sources.database.engine_calibrations import shipped_calibration
from sol.sources.database.libraries import with_collectives
from sol.sources.database.measured import MeasuredRow
from sol.specs.calibration import Calibration


@dataclass(frozen=True, slots=True)
class Scored:
    """One published row with its floor and, with a calibration, its estimate and 95 % interval [s]."""

    row: MeasuredRow
    floor_s: float
    estimate_s: float | None
    low_s: float
    high_s: float
    calibration: Calibration | None

    @property
    def tightness(self) -> float:
        """Floor divided by measurement [1]; above 1 an input or a formula is wrong."""
        return self.floor_s / self.row.measured_s

    @property
    def error(self) -> float:
        """Estimate divided by measurement, minus 1 [1]; NaN without an estimate."""
        return float("nan") if self.estimate_s is None else self.estimate_s / self.row.measured_s - 1.0

    @property
    def held(self) -> bool:
        """Whether the measurement is in the interval."""
        return self.low_s <= self.row.measured_s <= self.high_s


def scored(rows: Iterable[MeasuredRow], calibration: Calibration | None = None) -> list[Scored]:
    """Every row with its floor, and its estimate by `calibration` or the database's (none if the device has no sourced rate)."""
    return [score(row, known(row) if calibration is None else calibration) for row in rows]


def score(row: MeasuredRow, calibration: Calibration | None) -> Scored:
    """One row compared with its floor and a calibration. The floor uses the routing that touches the fewest experts."""
    least = sum(float(np.sum(floor_of(q).latency_s)) for q in questions(row, routing="min"))
    steps = [] if calibration is None else questions(row, fusion=calibration.fusion)
    if calibration is None or not all(map(can_estimate, steps)):
        return Scored(row, least, None, 0.0, float("inf"), None)
    likely = sum(float(np.sum(estimate_of(q, calibration).latency_s)) for q in steps)
    down, up = calibration.interval()
    return Scored(row, least, likely, max(least, likely * down), likely * up, calibration)


def known(row: MeasuredRow) -> Calibration | None:
    """The database's calibration of a row's engine on its device; None without one, or for a prompt in a pipeline."""
    if row.engine not in engine_classes() or (row.pp > 1 and row.phase == "prefill"):
        return None
    try:
        found = shipped_calibration(row.gpu, row.engine)
    except MissingSpec:
        return None
    return with_collectives(found, f"{row.engine}@{row.version}") if row.version and row.devices > 1 else found


def questions(row: MeasuredRow, **asked: Any) -> list[Question]:
    """The steps of a row: one, or a request's prefill and all its decode steps."""
    common: dict[str, Any] = {
        "batch": row.batch, "dtype": row.dtype, "kv_dtype": row.kv_dtype, "tp": row.tp, "pp": row.pp, "ep": row.ep, "dp": row.dp, **asked,
    }  # fmt: skip
    if row.phase == "request":
        prompt, output = row.prompt_tokens or 0.0, row.output_tokens or 1.0
        first = ask(row.model, row.gpu, phase="prefill", ctx=prompt, **common)
        if output < 2:
            return [first]
        return [first, ask(row.model, row.gpu, ctx=prompt + np.arange(output - 1.0), **common)]
    new, ctx = row.new_tokens, row.ctx or 0.0
    if row.phase == "prefill":
        cached = 0.0 if new is None else ctx - new
        return [ask(row.model, row.gpu, phase="prefill", ctx=ctx, cached_tokens=cached, **common)]
    return [ask(row.model, row.gpu, ctx=ctx, new_tokens=1 if new is None else new, **common)]
