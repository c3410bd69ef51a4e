"""An estimate as text: the time and its interval, its parts, and its assumptions."""

from __future__ import annotations

from typing import Any

import numpy as np

from sol.answers.estimate.estimate import Estimate
from sol.answers.floor.document import asked, floor_inputs
from sol.answers.floor.show import kept, swept
from sol.answers.report.document import document, listed, one_row_a_point
from sol.answers.report.report import Report
from sol.tabular import Column, Table
from sol.units import show_count, show_seconds, significant

PARTS = {
    "serial_s": "operators at the device's peaks, one after the other",
    "below_peak_s": "kernels below the peak rates",
    "launch_s": "launch and fixed time of the kernels",
    "overlapped_s": "time saved by overlap",
    "host_s": "the device waits for the host",
    "step_s": "the engine's own time, per step and per sequence",
}
"""The parts of an estimate in words."""


def report(e: Estimate) -> Report:
    """The headline and the parts of a point, or the points of a sweep."""
    heading = f"{e.floor.heading()} · {e.calibration.engine}"
    notes = (*(f"note: {w}" for w in e.warnings), "assumes: " + " · ".join(e.assumptions))
    if e.is_point:
        return Report(heading=heading, lines=tuple(headline(e)), table=part_table(e), notes=notes)
    return Report(heading=heading, table=point_table(e), notes=notes)


def headline(e: Estimate) -> list[str]:
    """The estimate, its interval, and the floor."""
    per = "token" if e.question.phase == "decode" and e.question.step.new_tokens[0] == 1 else "step"
    rate = "prompt tok/s" if e.question.phase == "prefill" else "tok/s"
    between = "" if e.low_s is None or e.high_s is None else f"   95 % between {show_seconds(e.low_s, 3)} and {show_seconds(e.high_s, 3)}"
    return [
        f"estimate {show_seconds(e.latency_s, 4)}/{per}   {significant(e.tokens_per_s)} {rate}{between}",
        f"floor    {show_seconds(e.floor_s, 4)}   {100 * e.floor_s / e.latency_s:.0f} % of the estimate, {e.floor.bound}-bound",
    ]


def part_table(e: Estimate) -> Table:
    """Where the time goes: one line for each part that is not zero."""
    columns = (
        Column("part", "part", left=True),
        Column("seconds", "time", lambda v: show_seconds(v, 3)),
        Column("share", "share", lambda v: f"{100 * v:.1f} %"),
        Column("meaning", "", left=True, wrap=True),
    )
    signed = {k: -v if k == "overlapped_s" else v for k, v in e.parts.items()}
    rows = tuple((k.removesuffix("_s"), v, v / e.latency_s, PARTS[k]) for k, v in signed.items() if v)
    return Table(columns=columns, rows=rows, total=("total", e.latency_s, 1.0, ""))


def point_table(e: Estimate) -> Table:
    """One line per point of a sweep (only the first of a large one)."""
    varying, valid = swept(e.floor), np.ravel(e.floor.valid)
    columns = (
        *(Column(name, name.removesuffix("_tokens"), show_count) for name in varying),
        Column("latency_s", "estimate", lambda v: show_seconds(v, 4)),
        Column("low_s", "low", lambda v: show_seconds(v, 3)),
        Column("high_s", "high", lambda v: show_seconds(v, 3)),
        Column("floor_s", "floor", lambda v: show_seconds(v, 4)),
        Column("tokens_per_s", "tok/s", significant),
    )
    given = (e.latency_s, e.low_s, e.high_s, e.floor_s, e.tokens_per_s)
    values = [None if v is None else np.ravel(v) for v in given]
    shown, more = kept(valid.size)
    rows = tuple(
        (*(float(v[i]) for v in varying.values()), *(None if v is None or not valid[i] else float(v[i]) for v in values))
        for i in range(shown)
    )  # fmt: skip
    none = () if valid[:shown].all() else ("–: no such split of this model over these links",)
    return Table(columns=columns, rows=rows, footer=(*more, *none))


def operator_lines(e: Estimate) -> Table:
    """Every operator: at the peaks, what the rates add, its launches [s]."""
    columns = (
        Column("operator", "operator", left=True),
        Column("serial_s", "serial", lambda v: show_seconds(v, 3)),
        Column("below_peak_s", "not reached", lambda v: show_seconds(v, 3)),
        Column("launch_s", "launch", lambda v: show_seconds(v, 3)),
    )
    rows = tuple((p.name, *(_value(v) for v in (p.serial_s, p.below_peak_s, p.launch_s))) for p in e.operators_spent())
    return Table(columns=columns, rows=rows)


def _value(value: Any) -> Any:
    array = np.asarray(value)
    return array.reshape(-1)[0].item() if array.size == 1 else array


OUTPUTS = ("latency_s", "low_s", "high_s", "floor_s", "serial_s", "tokens_per_s", "tokens_per_s_per_user", "tokens_per_s_per_gpu")


def to_document(e: Estimate) -> dict[str, Any]:
    """An estimate as plain JSON values."""
    inputs = floor_inputs(e.floor) | _engine(e)
    outputs = listed({name: getattr(e, name) for name in OUTPUTS}, e.is_point) | {"parts": listed(e.parts, e.is_point)}
    if e.is_point:
        outputs["operators"] = e.operators.to_dicts()
    return document(
        "estimate", inputs=inputs, outputs=outputs, assumptions=e.assumptions, sources=e.sources().to_dicts(), warnings=e.warnings
    )


def to_table(e: Estimate) -> Table:
    """One row per point: inputs, times, and the parts of the expected time."""
    parts = {f"part_{name}": seconds for name, seconds in e.parts.items()}
    values = asked(e.floor) | _engine(e) | {name: getattr(e, name) for name in OUTPUTS} | parts
    return one_row_a_point(values, np.shape(e.latency_s))


def _engine(e: Estimate) -> dict[str, Any]:
    return {"engine": e.calibration.engine, "calibration": e.calibration.id or None}
