"""What an estimate says of the calibration it rests on."""

from __future__ import annotations

from sol.sources.database.engine_calibrations import engine_class
from sol.specs.calibration import Calibration


def calibration_lines(c: Calibration) -> tuple[str, ...]:
    """What an estimate assumes of its engine."""
    kind = engine_class(c.engine) or ""
    of = f", of the class {kind}" if kind and kind != c.engine else ""
    known = f"{c.n} rows of {len(c.models)} models" if c.n else "figures from elsewhere"
    if c.versions:
        first, last = c.versions
        known += f", of {'version ' + first if first == last else f'versions {first} to {last}'}"
    lines = [*filter(None, [c.stands_for]), f"{c.engine} on {c.gpu}{of}: {c.form}, {known}"]
    if c.note:
        lines.append(c.note)
    return tuple(lines)
