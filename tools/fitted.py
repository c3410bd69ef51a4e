"""How well does a calibration of one's own do? Fitted to one model of a device, engine and format, scored on the others.

Part of the accuracy report (`tools/accuracy.py`): slow, so its figures are kept in the committed baseline.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from statistics import median
from typing import Any

from sol import Measurement, calibrate, load_model
from sol.answers.calibrate.accuracy import score
from sol.errors import BadMeasurement
from sol.sources.database.calibrations import engine_classes, shipped
from sol.sources.database.measured import MeasuredRow, measured_rows
from sol.specs.calibration import Calibration
from tools.report_table import percent, table

FEW_ROWS = 4
"""Rows of a model that it takes to fit anything."""
WANTED = 0.08


def groups(kernels: bool) -> dict[tuple[str, str, str], dict[str, list[MeasuredRow]]]:
    """Steps and prompts by device, engine and format, and by model; with two models or more. 16-bit formats are one.

    With the rates of kernels known: of serving engines on those devices, all formats together; else of all engines.
    """
    classes, devices = engine_classes(), {c.gpu for c in shipped().values() if c.engine == "kernels"}
    found: dict[tuple[str, str, str], dict[str, list[MeasuredRow]]] = defaultdict(lambda: defaultdict(list))
    for r in measured_rows():
        if (
            r.phase == "request"
            or (r.pp > 1 and r.phase == "prefill")
            or (kernels and not (classes.get(r.engine) == "graph" and r.gpu in devices))
        ):
            continue
        dtype = "all" if kernels else "16 bits" if r.dtype in ("bf16", "fp16") else r.dtype
        found[r.gpu, r.engine, dtype][r.model].append(r)
    return {k: dict(v) for k, v in found.items() if sum(len(m) >= FEW_ROWS for m in v.values()) and len(v) > 1}


def measurement(row: MeasuredRow) -> Measurement:
    """A published row as a user would hold it."""
    asked: dict[str, Any] = {} if row.new_tokens is None else {"new_tokens": row.new_tokens}
    return Measurement(
        model=row.model, gpu=row.gpu, phase=row.phase, measured_s=row.measured_s, dtype=row.dtype, kv_dtype=row.kv_dtype, tp=row.tp,
        pp=row.pp, ep=row.ep, dp=row.dp, batch=row.batch, ctx=row.ctx, engine=row.engine, **asked,
    )  # fmt: skip


def one_model(models: dict[str, list[MeasuredRow]], name: str, kernels: bool) -> dict[str, Any] | None:
    """A calibration of one model against the rows of the others; None where its rows cannot tell one."""
    try:
        made = calibrate([measurement(r) for r in models[name]], kernels=kernels)
    except BadMeasurement:
        return None
    assert isinstance(made, Calibration)
    off = sorted(abs(score(r, made).error) for other, rows in models.items() if other != name for r in rows)
    return {"model": name, "rows": len(models[name]), "scored": len(off), "median_error": round(median(off), 4)}


def figures() -> list[dict[str, Any]]:
    """Each device, engine and format: the models that could be fitted alone, and the median error of each on the others."""
    found = []
    for kernels in (True, False):
        for (gpu, engine, dtype), models in sorted(groups(kernels).items()):
            tried = [name for name, rows in sorted(models.items()) if len(rows) >= FEW_ROWS]
            fits = [f for name in tried if (f := one_model(models, name, kernels)) is not None]
            found.append({"kernels": kernels, "gpu": gpu, "engine": engine, "dtype": dtype, "tried": len(tried), "fits": fits})
    return found


def lines(found: Sequence[dict[str, Any]]) -> list[str]:
    """The section of the page."""
    known, alone = ([g for g in found if g["kernels"] is flag] for flag in (True, False))
    dense = [f["median_error"] for g in known for f in g["fits"] if not load_model(f["model"]).is_moe]
    refused = sum(not g["fits"] for g in alone)
    return [
        "## Fitted to one model", "",
        "`calibrate` on the steps and prompts of one model, scored on the other models of the same device and engine. The aim is 8 %.", "",
        "With `kernels=True` it takes the rates of the device's kernels from the database and fits a time per step, and per sequence, "
        "alone: any model's rows can tell those, and they serve every format, split and kind of model there. "
        f"{said(known)} Fitted to a dense model the median is {percent(median(dense))}. Which model is taken matters: rows of large "
        "mixtures, whose kernels are slower than the tables', give times that smaller models do not take.", "",
        *table(HEAD[:2] + HEAD[3:], [(r[0], r[1], *r[3:]) for r in body(known)]), "",
        "Without them a rate must be fitted too, of one format; where a model's rows cannot tell a rate from a fixed time the fit is "
        f"refused, and what to measure is named: in {refused} of {len(alone)} groups no model alone can be fitted. {said(alone)} The aim "
        "is met where steps were timed alone, and missed on servers under load, whose steps hold other requests' prompts.", "",
        *table(HEAD, body(alone)), "",
    ]  # fmt: skip


HEAD = ("device", "engine", "format", "models fitted", "median of their errors", "the worst", "the best", "its error")


def said(found: Sequence[dict[str, Any]]) -> str:
    """How many fits, their median error, and how many are within 8 %."""
    errors = [f["median_error"] for g in found for f in g["fits"]]
    return f"{len(errors)} such fits: median error {percent(median(errors))}, {sum(e <= WANTED for e in errors)} at most {percent(WANTED)}."


def body(found: Sequence[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """One line per group that has fits."""
    rows = []
    for g in (g for g in found if g["fits"]):
        errors = sorted(f["median_error"] for f in g["fits"])
        best = min(g["fits"], key=lambda f: f["median_error"])
        rows.append((g["gpu"], g["engine"], g["dtype"], f"{len(errors)} of {g['tried']}", percent(median(errors)), percent(errors[-1]),
                     best["model"], percent(best["median_error"])))  # fmt: skip
    return rows
