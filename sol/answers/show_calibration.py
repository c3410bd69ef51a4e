"""Calibrations as people read them: the figures with their intervals, and every row they were fitted to."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from sol.answers.document import document
from sol.specs.calibration import Calibration, Residual
from sol.tabular import Column, Table, joined
from sol.units import show_seconds, significant

if TYPE_CHECKING:
    from sol.answers.calibrate import Calibrations

SHOWN_ROWS = 12
MEANING = {
    "mbu": "of the peak bandwidth",
    "mfu": "of the dense peak",
    "launch_s": "each kernel",
    "host_s": "of the host, each layer",
    "step_s": "each step",
    "sequence_s": "each sequence of a step",
}
"""The figures of a calibration in words."""


def calibration_heading(c: Calibration) -> str:
    """What a calibration is of, on one line."""
    graphs = {True: "graphs", False: "no graphs", None: ""}[c.cuda_graphs]
    return joined((f"{c.engine} on {c.gpu}", graphs, c.dtype, c.form, plural(c.n, "row"), plural(len(c.models), "model")))


def plural(n: int, word: str) -> str:
    """A count with its noun."""
    return f"{n:,} {word}{'s' if n != 1 else ''}"


def figure_table(c: Calibration) -> Table:
    """The figures that are not nothing, with their 95 % intervals."""
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


def residual_table(c: Calibration, most: int | None = None) -> Table:
    """Every row with its estimate, worst first."""
    columns = (
        Column("row", "row", left=True, wrap=True),
        Column("measured_s", "measured", lambda v: show_seconds(v, 4)),
        Column("estimated_s", "estimated", lambda v: show_seconds(v, 4)),
        Column("error", "error", _percent),
        Column("left_out_error", "model left out", _percent),
    )
    ordered = sorted(c.residuals, key=lambda r: -abs(math.log(r.estimated_s / r.measured_s)))
    rows = tuple((r.where, r.measured_s, r.estimated_s, r.estimated_s / r.measured_s - 1, _left_out(r)) for r in ordered)
    footer = (f"and {plural(len(rows) - most, 'row')} nearer than these",) if most is not None and len(rows) > most else ()
    return Table(columns=columns, rows=rows[:most], footer=footer)


def _percent(value: float) -> str:
    return f"{100 * value:+.1f} %"


def _left_out(r: Residual) -> float | None:
    return None if r.left_out_s is None else r.left_out_s / r.measured_s - 1


def errors(c: Calibration) -> tuple[float, float | None]:
    """Median size of the errors of the rows, and of rows of models left out [1]."""
    fit = [abs(r.estimated_s / r.measured_s - 1) for r in c.residuals]
    out = [abs(e) for r in c.residuals if (e := _left_out(r)) is not None]
    return (float(np.median(fit)) if fit else 0.0), (float(np.median(out)) if out else None)


def error_line(c: Calibration) -> str:
    """How far off the estimates are, in one line."""
    fit, out = errors(c)
    line = f"median error {100 * fit:.1f} %"
    if out is not None:
        line += f", of models left out {100 * out:.1f} %"
    if c.within_95 is not None:
        line += f"; 19 of 20 rows of another model within a factor of {significant(math.exp(c.within_95))}"
    return line


def calibration_rich(c: Calibration) -> Any:
    """One calibration as something rich can print."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.text import Text as RichText

    indent = (0, 0, 0, 2)
    return Group(
        RichText(calibration_heading(c), style="bold"), "", figure_table(c), "", Padding(RichText(error_line(c)), indent), "",
        residual_table(c, SHOWN_ROWS), "", Padding(RichText(f"note: {c.note}", style="dim"), indent),
    )  # fmt: skip


def calibrations_rich(found: Calibrations) -> Any:
    """Several calibrations, one after the other, and what was refused."""
    from rich.console import Group

    parts: list[Any] = [found.to_table()]
    for c in found:
        parts += ["", calibration_rich(c)]
    return Group(*parts)


def calibrations_table(found: Calibrations) -> Table:
    """One line a calibration."""
    columns = (
        Column("id", "calibration", left=True),
        Column("form", "form", left=True),
        Column("mbu", "mbu", significant),
        Column("mfu", "mfu", significant),
        Column("launch_s", "launch", _time),
        Column("host_s", "host", _time),
        Column("step_s", "step", _time),
        Column("sequence_s", "sequence", _time),
        Column("n", "rows"),
        Column("models", "models"),
        Column("error", "error", lambda v: f"{100 * v:.1f} %"),
        Column("left_out_error", "left out", lambda v: f"{100 * v:.1f} %"),
    )
    rows = tuple(
        (c.id, c.form, *(getattr(c, name).value for name in MEANING), c.n, len(c.models), *errors(c)) for c in found.calibrations
    )  # fmt: skip
    return Table(columns=columns, rows=rows, footer=tuple(f"refused: {what}: {why}" for what, why in found.refused))


def _time(value: float) -> str:
    return show_seconds(value) if value else "–"


def calibration_document(found: Calibration | Calibrations) -> dict[str, Any]:
    """One calibration or several as plain JSON values."""
    several = (found,) if isinstance(found, Calibration) else found.calibrations
    refused = () if isinstance(found, Calibration) else found.refused
    outputs = {
        "calibrations": [c.model_dump(mode="json", exclude={"sources"}) for c in several],
        "refused": [{"rows": what, "reason": why} for what, why in refused],
    }
    sources = [{"calibration": c.id, "source": s.title, "where": s.url or s.document} for c in several for s in c.sources.values()]
    return document("calibrate", inputs={}, outputs=outputs, sources=sources, assumptions=[c.note for c in several if c.note])
