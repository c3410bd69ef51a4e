"""A column of estimates beside the floors of many devices, with a note for devices without a calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sol.answers.estimate.estimate import Estimate, estimate_of, resolve_calibration
from sol.answers.estimate.stand_ins import can_estimate
from sol.answers.floor.result import Floor
from sol.errors import MissingSpec
from sol.sources.database.engine_calibrations import engine_class
from sol.tabular import Column
from sol.units import significant

AFTER, GIVES_WAY = "latency_s", "memory_bytes_per_s"
"""The column before the estimates, and the column that text leaves out to make room for them."""
ADDED = (
    Column("estimate_s", "est. ms", lambda v: significant(v * 1e3)),
    Column("low_s", "low ms", hidden=True),
    Column("high_s", "high ms", hidden=True),
    Column("engine", "engine", hidden=True),
)


def estimate_column(
    floors: Sequence[Floor], columns: tuple[Column, ...], rows: Sequence[tuple[Any, ...]], engine: str | None
) -> tuple[tuple[Column, ...], list[tuple[Any, ...]], str]:
    """The columns and rows with estimates after the floor, in the same order, and a line that describes them.

    Raises `MissingSpec` for an engine without a calibration on any device, `InvalidInput` for something that is not a name.
    """
    found = {f.question.gpu.id: _of(f, engine) for f in floors}
    at = [c.key for c in columns].index(AFTER) + 1
    wider = []
    for row in rows:
        e = found.get(row[0])
        cells = (None,) * 4 if e is None else (e.latency_s, e.low_s, e.high_s, e.calibration.engine)
        note = row[-1] if e is not None or row[1] is None else "; ".join(filter(None, (row[-1], "no calibration")))
        wider.append((*row[:at], *cells, *row[at:-1], note))
    known = sum(e is not None for e in found.values())
    whose = f"estimates of {engine}" if engine else "estimates of each device's default engine"
    line = f"{whose}: {known} of {len(found)} devices here; intervals in --json, parts in sol estimate"
    rest = (c._replace(hidden=True) if c.key == GIVES_WAY else c for c in columns[at:])
    return (*columns[:at], *ADDED, *rest), wider, line


def _of(f: Floor, engine: str | None) -> Estimate | None:
    """The estimate beside a floor, whether or not it fits; None without a calibration of the engine on the device."""
    q = f.question
    try:
        used = resolve_calibration(q.gpu, engine, None)
    except MissingSpec:
        if engine is not None and engine_class(engine) is None:
            raise
        return None
    return estimate_of(replace(q, fusion=used.fusion), used) if can_estimate(q) else None
