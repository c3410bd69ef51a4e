"""Derive the engine of an estimate that names none: `python -m tools.derive_defaults`, after `tools.derive_engines`.

Writes `hardware_db/calibrations/defaults.toml`. On a device with rows of serving engines, their calibrations and their class's are
scored on all of those rows that are marked `fit`: the default stands for engines that nobody named. The one with the smallest median
error is taken; of those within a percentage point of it an engine's own rather than the class's, and then the one with the most rows.
"""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import NamedTuple

import tomli_w

from sol.answers.calibrate.accuracy import score
from sol.sources.database.calibrations import DEFAULTS, by_device, engine_classes
from sol.sources.database.measured import MeasuredRow, measured_rows
from tools.derive_engines import newest

OUT = Path(__file__).parent.parent / "hardware_db" / "calibrations" / DEFAULTS
SERVERS = "graph"
ALIKE = 0.01
"""Median errors this near are no difference [1]."""


class Candidate(NamedTuple):
    """A calibration of servers on a device: its own rows, and its median error on the rows of all servers there [1]."""

    engine: str
    rows: int
    error: float


def servers_rows(gpu: str) -> list[MeasuredRow]:
    """The rows of a device that calibrations of servers are fitted to, of every engine those of its newest version there."""
    classes = engine_classes()
    return newest([
        r for r in measured_rows()
        if r.gpu == gpu and r.split == "fit" and classes.get(r.engine) == SERVERS and not (r.pp > 1 and r.phase == "prefill")
    ])  # fmt: skip


def candidates(gpu: str) -> list[Candidate]:
    """The calibrations of servers on a device, the smallest error first; none without rows."""
    rows, classes, found = servers_rows(gpu), engine_classes(), []
    current = {SERVERS, *(r.engine for r in rows)}
    for engine, c in by_device()[gpu].items():
        if engine not in current:
            continue
        errors = [abs(s.error) for s in (score(r, c) for r in rows) if s.estimate_s is not None] if classes[engine] == SERVERS else []
        if errors:
            found.append(Candidate(engine, c.n, median(errors)))
    return sorted(found, key=lambda c: c.error)


def chosen(found: list[Candidate]) -> Candidate:
    """The default of these."""
    alike = [c for c in found if c.error <= found[0].error + ALIKE]
    return max(alike, key=lambda c: (c.engine != SERVERS, c.rows))


def main() -> None:
    """Write the file."""
    tables = {}
    for gpu in sorted(by_device()):
        found = candidates(gpu)
        if len(found) > 1:
            best = chosen(found)
            tables[gpu] = {"engine": best.engine, "rows": len(servers_rows(gpu)), "error": round(best.error, 3)}
    OUT.write_text(HEADER + tomli_w.dumps({"defaults": tables}), encoding="utf-8")
    print(f"{OUT.name}: {len(tables)} devices")


HEADER = """\
#:schema ../schema/default-engine.schema.json
# The engine of an estimate that names none: written by `python -m tools.derive_defaults`, not by hand, after engines.toml. Of the
# calibrations of servers on a device the nearest to the rows of all servers there; error is its median over these rows.

"""


if __name__ == "__main__":
    main()
