"""A request as text: the answer in one sentence, the times with bound and interval, and the parts of both phases."""

from __future__ import annotations

from typing import Any

import numpy as np

from sol.answers.report.document import document, listed, one_row_a_point
from sol.answers.report.report import Report
from sol.answers.request.phases import phases
from sol.answers.request.result import Request
from sol.tabular import Column, Table
from sol.units import show_count, show_seconds, significant

__all__ = ["phases", "report", "to_document", "to_table"]

WORDS = {"ttft_s": "first token", "tpot_s": "per token", "e2e_s": "whole request"}
BOUNDS = ("ttft_s", "tpot_s", "e2e_s", "tokens_per_s_per_user", "tokens_per_s_per_gpu")
TIMES = tuple(f"{end}{name}" for name in WORDS for end in ("", "low_", "high_"))


def report(r: Request) -> Report:
    """The sentence, the times and the phases of a point, or the points of a sweep."""
    e = r.expected
    notes = [*(f"note: {w}" for w in r.warnings)]
    if e is None:
        notes.append(f"note: only bounds: {r.expected_reason}")
    assumes = [*r.assumptions, *(() if e is None else e.notes)]
    notes.append("assumes: " + " · ".join(assumes))
    if not r.is_point:
        return Report(heading=r.heading(), table=point_table(r), notes=tuple(notes))
    answer, *lines = headline(r)
    return Report(heading=answer, under=(r.heading(),), lines=tuple(lines), table=time_table(r), more=(r.phases,), notes=tuple(notes))


def headline(r: Request) -> list[str]:
    """The answer in a sentence, of what is expected where it is known; then the bound's rates."""
    several = r.question.split.times
    t: Any = r if r.expected is None else r.expected
    least = "at least " if r.expected is None else ""
    each = "" if r.tpot_s is None else f", then {show_seconds(float(t.tpot_s), 4)}/token"
    where = f"{several}{r.question.gpu.id}"
    first = f"{where} takes {least}{show_seconds(float(t.ttft_s), 3)} to the first token{each}: {show_seconds(float(t.e2e_s), 4)} in all"
    if r.tpot_s is None:
        return [first]
    total = significant(float(r.batch) / float(r.tpot_s))
    user = significant(1.0 / float(r.tpot_s))
    rates = f"{user} tok/s/user, {total} tok/s in all" if float(r.batch) > 1 else f"{user} tok/s"
    return [first, f"bound    {rates} after the first token; {significant(float(r.tokens_per_s_per_gpu))} tok/s/device with the prompt"]


def time_table(r: Request) -> Table:
    """The times with bound and interval."""
    e = r.expected
    columns = [Column("figure", "", left=True), Column("bound", "bound", str)]
    if e is not None:
        columns += [Column("expected", "expected", str), Column("low", "95 % from", str), Column("high", "to", str)]
    rows = []
    for name, words in WORDS.items():
        bound = getattr(r, name)
        if bound is None:
            continue
        known = () if e is None else (getattr(e, name), getattr(e, f"low_{name}"), getattr(e, f"high_{name}"))
        rows.append((words, *("–" if v is None else show_seconds(float(v), 4) for v in (bound, *known))))
    return Table(columns=tuple(columns), rows=tuple(rows))


def point_table(r: Request) -> Table:
    """One line for each point of a sweep, the first forty of them."""
    shape = np.shape(r.e2e_s)
    asked = {"prompt": r.prompt_tokens, "cached": r.cached_tokens, "output": r.output_tokens, "batch": r.batch}
    varying = {name: np.ravel(v) for name, v in asked.items() if np.size(np.unique(v)) > 1}
    figures = {f"{words} ≥": getattr(r, name) for name, words in WORDS.items() if getattr(r, name) is not None}
    if r.expected is not None:
        figures |= {words: getattr(r.expected, name) for name, words in WORDS.items()}
    columns = (*(Column(n, n, show_count) for n in varying), *(Column(n, n, _time) for n in figures))
    flat = [*varying.values(), *(np.ravel(np.broadcast_to(v, shape)) for v in figures.values())]
    lines = tuple(zip(*(v.tolist() for v in flat), strict=True))
    more = () if len(lines) <= 40 else (f"… {len(lines) - 40:,} more points; the arrays of the result hold all of them",)
    return Table(columns=columns, rows=lines[:40], footer=more)


def _time(value: float) -> str:
    return "–" if not np.isfinite(value) else show_seconds(value, 4)


def inputs(r: Request) -> dict[str, Any]:
    """What was asked, by name."""
    q, e = r.question, r.expected
    return {
        "model": q.model.id, "gpu": q.gpu.id, "prompt_tokens": r.prompt_tokens, "cached_tokens": r.cached_tokens,
        "output_tokens": r.output_tokens, "batch": r.batch, "max_batch_tokens": r.max_batch_tokens, "dtype": q.storage.weights.id,
        "kv_dtype": q.storage.cache.id, **q.split._asdict(), "engine": None if e is None else e.calibration.engine,
        "calibration": None if e is None else e.calibration.id or None,
    }  # fmt: skip


def to_document(r: Request) -> dict[str, Any]:
    """A request as plain JSON values."""
    outputs = listed({name: getattr(r, name) for name in (*BOUNDS, "fits", "is_bound")}, r.is_point)
    e = r.expected
    outputs["expected"] = None if e is None else listed({name: getattr(e, name) for name in (*TIMES, "max_batch_tokens")}, r.is_point)
    outputs["expected_reason"] = r.expected_reason or None
    if r.is_point:
        outputs["phases"] = r.phases.to_dicts()
    lines = (*r.assumptions, *(() if e is None else e.notes))
    return document(
        "request",
        inputs=listed(inputs(r), r.is_point),
        outputs=outputs,
        assumptions=lines,
        sources=r.sources().to_dicts(),
        warnings=r.warnings,
    )


def to_table(r: Request) -> Table:
    """One row per point: inputs, bounds and expected times."""
    expected = {} if r.expected is None else {f"expected_{name}": getattr(r.expected, name) for name in TIMES}
    return one_row_a_point(inputs(r) | {name: getattr(r, name) for name in (*BOUNDS, "fits")} | expected, np.shape(r.e2e_s))
