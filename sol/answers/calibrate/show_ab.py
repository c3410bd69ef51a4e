"""Two arms as text: one line per step, the ratio with its interval, and the time saved."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from sol.answers.calibrate.ab import AB, GRAPHS, said
from sol.answers.report.document import document
from sol.answers.report.report import Report
from sol.tabular import Column, Table, joined
from sol.units import show_seconds, significant


def report(a: AB) -> Report:
    """One line per step; a single step stands in the heading."""
    return Report.of_table(to_table(a))


def to_table(a: AB) -> Table:
    """One line per step; a single step stands in the title."""
    first, second = (said(a.by, label) for label in a.labels)
    alone, counts = len(a.steps) == 1, {s.sessions for s in a.steps}
    columns = (
        Column("where", "step", left=True, wrap=True),
        Column("first_s", first, lambda v: show_seconds(v, 4)),
        Column("second_s", second, lambda v: show_seconds(v, 4)),
        Column("ratio", "ratio", lambda v: f"{significant(v, 4)}×"),
        Column("low", "low", lambda v: significant(v, 4)),
        Column("high", "high", lambda v: significant(v, 4)),
        Column("sessions", "sessions", lambda v: f"{v[0]} and {v[1]}"),
        Column("saved_s", "saved", show_seconds),
        Column("saved_s_per_layer", "a layer", show_seconds),
        Column("saved_s_per_kernel", "a kernel", show_seconds, hidden=not alone),
    )
    aside = {"where"} if alone else set()
    aside |= {"low", "high"} if all(s.low is None for s in a.steps) else set()
    aside |= {"sessions"} if len(counts) == 1 else set()
    aside |= set() if a.by == GRAPHS else {"saved_s_per_layer", "saved_s_per_kernel"}
    shown = tuple(c._replace(hidden=c.hidden or c.key in aside) for c in columns)
    rows = tuple(tuple(getattr(s, c.key) for c in columns) for s in a.steps)
    title = joined((f"{first} / {second}", a.steps[0].where if alone else f"{len(a.steps)} steps"))
    n, m = next(iter(counts))
    many = (f"{n} session{'s' * (n != 1)} of each" if n == m else f"{n} and {m} sessions",) if len(counts) == 1 else ()
    return Table(columns=shown, rows=rows, title=title, footer=(*many, *a.notes))


def to_document(a: AB) -> dict[str, Any]:
    """Both arms as plain JSON values, units in the keys."""
    outputs = {
        "labels": list(a.labels), "ratio": a.ratio, "low": a.low, "high": a.high, "steps": [asdict(s) for s in a.steps],
    }  # fmt: skip
    return document("ab", inputs={"by": a.by}, outputs=outputs, assumptions=a.notes, sources=a.sources().to_dicts())
