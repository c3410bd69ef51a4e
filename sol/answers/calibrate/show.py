"""Calibrations as text: the figures with their intervals, and every row they were fitted to."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from sol.answers.calibrate.calibrate import Calibrations
from sol.answers.report.document import document
from sol.answers.report.report import Item, Report
from sol.specs.calibration import Calibration
from sol.tabular import Column, Table, joined
from sol.units import show_seconds, significant

SHOWN_ROWS = 12
MEANING = {
    "mbu": "of the peak bandwidth",
    "mfu": "of the dense peak",
    "launch_s": "each kernel",
    "host_s": "of the host, each layer",
    "step_s": "each step",
    "sequence_s": "each sequence of a step",
}
"""The figures of a calibration, described."""


def calibration_heading(c: Calibration) -> str:
    """What a calibration describes, its form and its rows, on one line."""
    return joined((what(c), c.form, plural(c.n, "row"), plural(len(c.models), "model")))


def what(c: Calibration) -> str:
    """What a calibration describes."""
    return joined((f"{c.engine} on {c.gpu}", {True: "graphs", False: "no graphs", None: ""}[c.cuda_graphs], c.dtype))


def plural(n: int, word: str) -> str:
    """A count with its noun."""
    return f"{n:,} {word}{'s' if n != 1 else ''}"


def figure_table(c: Calibration) -> Table:
    """The figures that are not zero, with their 95 % intervals."""
    columns = (
        Column("figure", "figure", left=True),
        Column("value", "value"),
        Column("low", "low"),
        Column("high", "high"),
        Column("meaning", "", left=True, wrap=True),
    )
    rows = []
    for name, meaning in MEANING.items():
        f = getattr(c, name)
        fitted = f.low is not None
        if name.endswith("_s") and not f.value and not fitted:
            continue
        show = show_seconds if name.endswith("_s") else significant
        shown = [None if v is None else show(v) for v in (f.value, f.low, f.high)]
        rows.append((name.removesuffix("_s"), *shown, meaning + (f"; {f.note}" if f.note else "")))
    return Table(columns=columns, rows=tuple(rows))


def residual_table(c: Calibration, most: int) -> Table:
    """The rows with the largest errors."""
    whole = c.to_table()
    left = len(whole) - most
    footer = (f"and {plural(left, 'row')} with smaller errors",) if left > 0 else ()
    return Table(columns=whole.columns, rows=whole.rows[:most], footer=footer)


def errors(c: Calibration) -> tuple[float, float | None]:
    """Median size of the errors of the rows, and of rows of models left out [1]."""
    fit = [abs(r.estimated_s / r.measured_s - 1) for r in c.residuals]
    out = [abs(r.left_out_s / r.measured_s - 1) for r in c.residuals if r.left_out_s is not None]
    return (float(np.median(fit)) if fit else 0.0), (float(np.median(out)) if out else None)


def error_line(c: Calibration) -> str:
    """The errors of the estimates, on one line."""
    fit, out = errors(c)
    line = f"median error {100 * fit:.1f} %"
    if out is not None:
        line += f", of models left out {100 * out:.1f} %"
    if c.within_95 is not None:
        line += f"; 19 of 20 rows of another model within a factor of {significant(math.exp(c.within_95))}"
    return line


def calibration_report(c: Calibration) -> Report:
    """One calibration: its figures, its errors, and the rows with the largest errors."""
    return Report(
        heading=calibration_heading(c), table=figure_table(c), more=((Item(error_line(c)),), residual_table(c, SHOWN_ROWS)),
        notes=(f"note: {c.note}",),
    )  # fmt: skip


def report(found: Calibrations) -> Report:
    """One line per calibration and refused group, then each calibration; for a single calibration only that."""
    if len(found) == 1 and not found.refused:
        return calibration_report(found[0])
    return Report(table=to_table(found), more=tuple(calibration_report(c) for c in found))


def to_table(found: Calibrations) -> Table:
    """One line per calibration."""
    times = [name for name in MEANING if name.endswith("_s") and any(getattr(c, name).value for c in found)]
    columns = (
        Column("of", "calibration", left=True, wrap=True),
        Column("form", "form", left=True),
        Column("mbu", "mbu", significant),
        Column("mfu", "mfu", significant),
        *(Column(name, name.removesuffix("_s"), _time) for name in times),
        Column("n", "rows"),
        Column("error", "error", lambda v: f"{100 * v:.1f} %"),
        Column("left_out_error", "left out", lambda v: f"{100 * v:.1f} %"),
    )
    rows = tuple(
        (what(c), c.form, *(getattr(c, name).value for name in ("mbu", "mfu", *times)), c.n, *errors(c)) for c in found
    )  # fmt: skip
    return Table(columns=columns, rows=rows, footer=tuple(f"refused: {of}: {why}" for of, why in found.refused))


def _time(value: float) -> str:
    return show_seconds(value) if value else "–"


def to_document(found: Calibrations) -> dict[str, Any]:
    """The calibrations as plain JSON values."""
    outputs = {
        "calibrations": [c.model_dump(mode="json", exclude={"sources"}) for c in found],
        "refused": [{"rows": of, "reason": why} for of, why in found.refused],
    }
    sources = found.sources().to_dicts()
    return document("calibrate", inputs={}, outputs=outputs, sources=sources, assumptions=[c.note for c in found if c.note])
