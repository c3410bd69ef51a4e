"""A floor as text: headline, breakdown, assumptions."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from sol.answers.floor.best_measured import best_measured
from sol.answers.floor.document import to_document, to_table
from sol.answers.floor.explain import explain
from sol.answers.floor.result import Floor
from sol.answers.floor.strictness import why_not_strict
from sol.answers.report.report import Report
from sol.tabular import Column, Table
from sol.units import show_bytes, show_count, show_flops, show_gib, show_seconds, significant

__all__ = ["breakdown", "explain", "headline", "kept", "points", "report", "swept", "to_document", "to_table"]


def report(f: Floor) -> Report:
    """The headline and the operators of a point, or the points of a sweep."""
    notes = (
        *(f"note: {w}" for w in f.warnings),
        "assumes: " + " · ".join(f.assumptions),
        "sources: sol explain … --sources, or .sources()",
    )
    if f.is_point:
        return Report(heading=f.heading(), lines=tuple(headline(f)), table=breakdown(f), notes=notes)
    return Report(heading=f.heading(), table=points(f), notes=notes)


def headline(f: Floor) -> list[str]:
    """The floor, what moves, and whether it fits."""
    verifying = f.question.phase == "decode" and f.question.step.new_tokens[0] != 1
    per = "token" if f.question.phase == "decode" and not verifying else "step"
    ridge = "" if f.ridge is None else f", {_ratio(f.intensity)} FLOP/B against a ridge of {_ridges(f)}"
    rate = "prompt tok/s" if f.question.phase == "prefill" else "tok/s verified, drafts included" if verifying else "tok/s"
    lines = [
        f"floor    {show_seconds(f.latency_s, 4)}/{per}   {significant(f.tokens_per_s)} {rate}   {f.bound}-bound{ridge}",
        f"serial   {show_seconds(f.serial_s, 4)}   the same operators one after the other",
    ]
    best = best_measured(f)
    if best is not None:
        lines.append(f"best     {show_seconds(best.seconds, 4)}   {best.text()}")
    if f.interval_s > f.latency_s:
        layers, stages = f.question.model.layers, int(f.question.split.pp)
        least = f"{stages} stages share {layers} layers, so that one has {-(-layers // stages)}"
        lines.append(f"rate     a step every {show_seconds(f.interval_s, 4)}: {least}")
    moved = f.moved_bytes
    lines.append(
        f"weights  {show_bytes(f.moved_weight_bytes)}  {100 * f.moved_weight_bytes / moved:.1f} %     "
        f"KV  {show_bytes(f.moved_kv_bytes)}  {100 * f.moved_kv_bytes / moved:.1f} %     {fits(f)}"
    )
    if f.devices > 1:
        share = f"{show_seconds(f.network_s, 4)} at the full rate of the links" if f.network_s else "no time on the links"
        lines.append(f"network  {show_bytes(f.wire_bytes)} sent by each of {f.devices} devices, {share}")
    if not f.is_bound:
        lines.append(f"not a strict bound: {why_not_strict(f)}")
    return lines


def _ridges(f: Floor) -> str:
    """The ridge at the peak, and at the ceiling if the floor uses a faster rate."""
    rates = f.question.rates
    assert rates.peak is not None
    assert rates.ceiling is not None
    text = _ratio(rates.peak["weights"] / rates.memory_bytes_per_s)
    if rates.ceiling["weights"] > rates.peak["weights"]:
        text += f" ({_ratio(rates.ceiling['weights'] / rates.memory_bytes_per_s)} at its ceiling)"
    return text


def fits(f: Floor) -> str:
    """ "fits: 14.3 of 79.6 GiB", or the reason why that is unknown."""
    capacity = f.question.gpu.memory_bytes
    if capacity is None:
        return f"needs {show_gib(f.resident_bytes)} GiB; capacity unknown"
    word = "fits" if f.fits else "does not fit"
    return f"{word}: {show_gib(f.resident_bytes)} of {show_gib(capacity)} GiB"


def time_column(whole_s: float) -> Column:
    """A column of seconds in one unit, so that its rows compare at a glance."""
    scale, unit = next(((s, u) for s, u in ((1.0, "s"), (1e-3, "ms")) if whole_s >= s), (1e-6, "µs"))
    decimals = max(0, 3 - math.floor(math.log10(whole_s / scale)))
    return Column("serial_s", unit, lambda v: f"{v / scale:,.{decimals}f}")


def breakdown(f: Floor) -> Table:
    """The operator rows, largest share first, without rows that cost nothing."""
    table = f.operators
    keep = _by_name(r for r in table.to_dicts() if r["serial_s"] or r["flops"])
    sends = f.devices > 1
    keep.sort(key=lambda r: -r["serial_s"])
    moved = f.moved_bytes
    spills = f.question.fusion != "ideal"
    columns = [
        Column("operator", "operator", left=True),
        time_column(f.serial_s),
        Column("share", "share", lambda v: f"{100 * v:.1f} %"),
        Column("moved_bytes", "bytes", show_bytes),
        *([Column("activation_bytes", "activations", show_bytes), Column("kernels", "kernels")] if spills else []),
        Column("flops", "flops", show_flops),
        *([Column("wire_bytes", "sent", show_bytes)] if sends else []),
        Column("bound", "bound", left=True),
    ]
    rows = []
    for r in keep:
        spilled = (r["activation_bytes"], r["kernels"]) if spills else ()
        rows.append(
            (
                r["operator"],
                r["serial_s"],
                r["share"],
                r["moved_weight_bytes"] + r["moved_kv_bytes"],
                *spilled,
                r["flops"],
                *((r["wire_bytes"],) if sends else ()),
                r["bound"],
            )
        )
    assert table.total is not None
    all_spilled = (table.total[6], table.total[8]) if spills else ()
    total = ("total", f.serial_s, 1.0, moved, *all_spilled, f.flops, *((f.wire_bytes,) if sends else ()), "")
    return Table(columns=tuple(columns), rows=tuple(rows), total=total)


SUMMED = ("layers", "serial_s", "share", "moved_weight_bytes", "moved_kv_bytes", "activation_bytes", "flops", "kernels", "wire_bytes")


def _by_name(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """One line per operator, summed over kinds of layers; the bound is that of the longest."""
    merged: dict[str, dict[str, Any]] = {}
    for r in sorted(rows, key=lambda r: -r["serial_s"]):
        known = merged.get(r["operator"])
        merged[r["operator"]] = r if known is None else known | {key: known[key] + r[key] for key in SUMMED}
    return list(merged.values())


MAX_POINTS = 40


def points(f: Floor) -> Table:
    """A sweep, one line per point (only the first of a large sweep)."""
    q = f.question
    varying = swept(f)
    capacity = q.gpu.memory_bytes
    bounds, fit = f.bound.ravel(), None if f.fits is None else f.fits.ravel()
    latency, serial, rate = f.latency_s.ravel(), f.serial_s.ravel(), f.tokens_per_s.ravel()
    intensity, resident = np.asarray(f.intensity).ravel(), f.resident_bytes.ravel()
    shown, more = kept(latency.size)
    valid = f.valid.ravel()
    rows = tuple(
        (*(float(v[i]) for v in varying.values()), float(latency[i]), float(serial[i]), float(rate[i]), str(bounds[i]), float(intensity[i]),
         float(resident[i]), None if fit is None else bool(fit[i])) if valid[i] else
        (*(float(v[i]) for v in varying.values()), None, None, None, "invalid split", None, None, None)
        for i in range(shown)
    )  # fmt: skip
    columns = (
        *(Column(name, name.removesuffix("_tokens"), show_count) for name in varying),
        Column("latency_s", "floor", lambda v: show_seconds(v, 4)),
        Column("serial_s", "serial", lambda v: show_seconds(v, 4)),
        Column("tokens_per_s", "tok/s", significant),
        Column("bound", "bound", left=True),
        Column("intensity", "FLOP/B", _ratio),
        Column("resident_bytes", "GiB", show_gib),
        Column("fits", "fits" if capacity is None else f"of {show_gib(capacity)}", lambda v: "fits" if v else "no", left=True),
    )
    return Table(columns=columns, rows=rows, footer=more)


def swept(f: Floor) -> dict[str, Any]:
    """The inputs that vary in a sweep, flat, in the order of its points: first those of the step, then those of the split."""
    q, shape = f.question, np.shape(f.latency_s)
    step = {"batch": q.step.batch, "ctx": q.ctx, "cached_tokens": q.cached_tokens, "new_tokens": q.step.new_tokens}
    if q.phase == "prefill":
        del step["new_tokens"]
    if q.phase == "mixed":
        names = [f"{name} {n}" for n in range(1, len(q.step.groups) + 1) for name in ("sequences", "new", "past")]
        step = dict(zip(names, q.step.arrays, strict=True))
    return {name: np.broadcast_to(v, shape).ravel() for name, v in (step | q.split._asdict()).items() if np.size(v) > 1}


def kept(points: int) -> tuple[int, tuple[str, ...]]:
    """The number of points shown, and a line with the number of the others."""
    shown = min(points, MAX_POINTS)
    return shown, () if shown == points else (f"… {points - shown:,} more points; the arrays of the result hold all of them",)


def _ratio(value: float) -> str:
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"
