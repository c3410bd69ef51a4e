"""How good is a calibration for a source it has not seen? Refitted without one source of rows, scored on all of that source's.

Part of the accuracy report (`tools/accuracy.py`). A source left out is the nearest that published rows come to a user's own machine:
other people, other settings, often another version.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from statistics import median
from typing import Any

import numpy as np

from sol.answers.calibrate.accuracy import score
from sol.answers.calibrate.published import EngineRows
from sol.physics.fit.fit_intervals import within_95_of_rows
from sol.sources.database.calibrations import engine_classes
from sol.sources.database.engine_calibrations import shipped_calibration
from sol.sources.database.measured import MeasuredRow, measured_rows
from sol.specs.quantities import Array
from tools.derive_engines import ENOUGH, kernels, newest, start, strange, told
from tools.engine_fits import BASED, FEW_MODELS, free_figures, rated
from tools.report_table import percent, table
from tools.spread_experts import Spread, errors

FEW_ROWS = 3
"""Rows of a source that say how far it is off."""
Group = tuple[str, str]


def groups() -> dict[Group, list[MeasuredRow]]:
    """The rows of each engine on a device, and of the class of servers there, where two sources or more were fitted to."""
    classes, found = engine_classes(), defaultdict[Group, list[MeasuredRow]](list)
    servers = defaultdict[str, list[MeasuredRow]](list)
    for r in measured_rows():
        if r.engine in classes and rated(r):
            found[r.gpu, r.engine].append(r)
            if classes[r.engine] == "graph":
                servers[r.gpu].append(r)
    found |= {(gpu, "graph"): newest(rows) for gpu, rows in servers.items() if gpu in kernels()}
    return {k: v for k, v in sorted(found.items()) if len({r.source for r in v if r.split == "fit"}) > 1}


def left_out(group: Group, rows: Sequence[MeasuredRow], source: str) -> dict[str, Any] | None:
    """A calibration of the other sources' rows on this one's; None where the others are too few for one."""
    gpu, engine = group
    kind = engine_classes().get(engine, engine)
    base = kernels(engine).get(gpu) if kind in BASED else None
    rest = [r for r in rows if r.source != source and r.split == "fit"]
    mine = [r for r in rows if r.source == source]
    models = sorted({r.model for r in rest})
    if len(models) < FEW_MODELS or len(mine) < FEW_ROWS:
        return None
    asked = EngineRows(tuple(rest), start(gpu, engine, kind, base), free_figures(rest, base, kind))
    of = Spread({gpu: asked})
    made = of.fitted(gpu)
    if not told(made):
        return None
    within = within_95_of_rows(of.left_out(gpu)) if len(models) >= ENOUGH else shipped_calibration(gpu, engine).within_95
    if engine in BASED and within is not None:
        within = max(within, strange(rest, asked.base, asked.usual))
    if base is not None:
        off: Array = errors(EngineRows(tuple(mine), asked.base, asked.usual), made)
    else:
        off = np.array([math.log1p(s.error) for s in (score(r, made) for r in mine) if s.estimate_s is not None])
    if len(off) < FEW_ROWS:
        return None
    return {
        "gpu": gpu, "engine": engine, "source": source, "fitted": len(rest), "models": len(models), "scored": len(off),
        "median_error": round(float(np.median(np.abs(np.expm1(off)))), 4),
        "p90_error": round(float(np.quantile(np.abs(np.expm1(off)), 0.9)), 4), "lean": round(float(np.median(np.expm1(off))), 4),
        "held": None if within is None else round(float(np.mean(np.abs(off) <= within)), 4),
        "factor": None if within is None else round(math.exp(within), 3), "off": [round(float(x), 4) for x in off],
    }  # fmt: skip


def figures() -> list[dict[str, Any]]:
    """Each source left out of each group."""
    found = []
    for group, rows in groups().items():
        sources = sorted({r.source for r in rows if r.split == "fit"})
        found += [one for source in sources if (one := left_out(group, rows, source)) is not None]
    pooled = {kind: summary([g for g in found if (g["engine"] == "graph") is (kind == "class")]) for kind in ("engine", "class")}
    return [{k: v for k, v in g.items() if k != "off"} for g in found] + [{"of": kind, **s} for kind, s in pooled.items()]


def summary(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """All rows together: their number, median error, share inside, and the median factor of the intervals."""
    off = [abs(math.expm1(x)) for g in found for x in g["off"]]
    held = [(g["held"], g["scored"]) for g in found if g["held"] is not None]
    return {
        "scored": len(off), "median_error": round(median(off), 4),
        "held": round(sum(h * n for h, n in held) / sum(n for _, n in held), 4),
        "factor": median(g["factor"] for g in found if g["factor"]),
    }  # fmt: skip


HEAD = ("device", "engine", "source left out", "fitted to", "scored", "median error", "P90", "lean", "inside the interval", "interval ×/÷")
AIM = 1.4
"""The widest interval that is wanted, as a factor [1], at 90 to 97 % inside it."""


def lines(found: Sequence[dict[str, Any]]) -> list[str]:
    """The section of the page."""
    each, (engine, of_class) = [g for g in found if "gpu" in g], [g for g in found if "of" in g]
    body = []
    for g in each:
        interval = ("–", "–") if g["held"] is None else (percent(g["held"]), f"{g['factor']:.2f}")
        errors_ = (percent(g[k]) for k in ("median_error", "p90_error", "lean"))
        of = f"{g['fitted']} rows, {g['models']} models"
        body.append((g["gpu"], g["engine"], g["source"], of, g["scored"], *errors_, *interval))
    return [
        "## With a source left out", "",
        "A device's calibration is refitted without the rows of one source, and scored on that source: on rows of other people, with other "
        "settings and often another version. Its interval comes from models left out of the rest, or from the database where the rest has "
        f"fewer than {ENOUGH} models.", "",
        f"Of one engine: {said(engine)} Of the class of servers with CUDA graphs, which stands in where an engine has no rows: "
        f"{said(of_class)} Lean is the median error with its sign: below zero, the source's machines are slower than the others'.", "",
        *table(HEAD, body), "",
    ]  # fmt: skip


def said(s: dict[str, Any]) -> str:
    """A summary as a sentence."""
    met = 0.9 <= s["held"] <= 0.97 and s["factor"] <= AIM
    return (
        f"{s['scored']} rows, median error {percent(s['median_error'])}, {percent(s['held'])} inside intervals whose median factor is "
        f"{s['factor']:.2f} (wanted: 90 to 97 % inside ×/÷ {AIM:g}; {'met' if met else 'missed'})."
    )
