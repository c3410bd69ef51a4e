"""A server in steady state as text: the answer in one sentence, the times with their intervals and bounds, or one line a load."""

from __future__ import annotations

from typing import Any

import numpy as np

from sol.answers.report.document import document, listed, one_row_a_point
from sol.answers.report.report import Report
from sol.answers.serve.result import Serving
from sol.tabular import Column, Table
from sol.units import show_count, show_seconds, significant

OUTPUTS = (
    "tpot_s", "low_tpot_s", "high_tpot_s", "ttft_s", "low_ttft_s", "high_ttft_s", "e2e_s", "low_e2e_s", "high_e2e_s",
    "requests_per_s", "low_requests_per_s", "high_requests_per_s", "most_requests_per_s", "output_tokens_per_s",
    "output_tokens_per_s_per_gpu", "tokens_per_s_per_user", "running", "waiting", "kv_used_share", "utilization", "overloaded",
    "limited_by", "meets",
)  # fmt: skip
BOUNDS = ("requests_per_s", "output_tokens_per_s", "tpot_s", "ttft_s", "e2e_s")
WORDS = {"tpot_s": "time per output token", "ttft_s": "time to the first token", "e2e_s": "whole request"}
LIMITED = {
    "kv pool": "where its pool for the cache is full", "max_batch": "where a step has all the sequences it may have",
    "prompts": "where its steps have no room for more prompts",
    "utilization": "beyond which the first token depends on how requests arrive", "ttft_s": "by the limit on the first token",
    "tpot_s": "by the limit on every later token",
}  # fmt: skip
"""Where the largest rate lies, in words."""


def report(s: Serving) -> Report:
    """The sentence and the times of a load, or the loads of a sweep."""
    notes = (*(f"note: {w}" for w in s.warnings), "assumes: " + " · ".join(s.assumptions))
    if s.is_point:
        answer, *lines = headline(s)
        return Report(heading=answer, under=(s.heading(),), lines=tuple(lines), table=time_table(s), notes=notes)
    return Report(heading=s.heading(), table=load_table(s), notes=notes)


def headline(s: Serving) -> list[str]:
    """The answer in a sentence, then throughput, what runs, and what a higher load meets first."""
    several = s.server.question.split.times
    where = f"{several}{s.server.question.gpu.id}"
    if s.overloaded:
        return [
            f"{where} is overloaded at {significant(float(s.request_rate or 0.0))} requests/s: it carries "
            f"{significant(s.most_requests_per_s)}, {LIMITED[s.limited_by]}",
            _throughput(s),
        ]
    users = f" ({show_count(s.concurrency)} users)" if s.concurrency is not None else ""
    first = f"{show_seconds(s.ttft_s, 3)} to the first token" if np.isfinite(s.ttft_s) else "the first token depends on the arrivals"
    lines = [
        f"{where} serves {significant(s.requests_per_s)} requests/s{users} at {show_seconds(s.tpot_s, 3)}/token, {first}; "
        f"{s.step_bound}-bound",
        _throughput(s),
    ]
    waiting = f", {significant(s.waiting)} wait for a slot" if s.waiting >= 0.5 else ""
    limit = LIMITED[s.limited_by] if s.load == "limits" else ""
    most = f"{100 * s.utilization:.0f} % of the {significant(s.most_requests_per_s)} requests/s that it carries"
    lines.append(
        f"running  {significant(s.running)} sequences in {100 * s.kv_used_share:.0f} % of the pool{waiting}; "
        + (f"the largest rate {limit}, {most}" if limit else f"{most}, {LIMITED[s.limited_by]}")
    )
    if s.meets is not None:
        asked = " and ".join(f"{name.removesuffix('_s')} {show_seconds(limit, 3)}" for name, limit in s.limits.items() if limit is not None)
        lines.append(f"limits   {asked}: {'kept' if s.meets else 'not kept'}")
    return lines


def _throughput(s: Serving) -> str:
    per_user = "" if s.overloaded else f"{significant(s.tokens_per_s_per_user)} tok/s/user · "
    each = f" · {significant(s.output_tokens_per_s_per_gpu)} tok/s/device" if s.devices > 1 else ""
    return f"output   {per_user}{significant(s.output_tokens_per_s)} tok/s in all{each}"


def time_table(s: Serving) -> Table:
    """The times of a request with interval and bound, and the rate of requests."""
    columns = (
        Column("figure", "", left=True, wrap=True),
        Column("expected", "expected", str), Column("low", "95 % from", str), Column("high", "to", str), Column("bound", "bound", str),
    )  # fmt: skip
    rows = [
        (words, *(_time(v) for v in (getattr(s, name), getattr(s, f"low_{name}"), getattr(s, f"high_{name}"), getattr(s.bound, name))))
        for name, words in WORDS.items()
    ]
    rates = (s.requests_per_s, s.low_requests_per_s, s.high_requests_per_s, s.bound.requests_per_s)
    rows.append(("requests/s", *("–" if v is None or not np.isfinite(v) else significant(v) for v in rates)))
    return Table(columns=columns, rows=tuple(rows))


def _time(value: float | None) -> str:
    return "–" if value is None or not np.isfinite(value) else show_seconds(value, 3)


def load_table(s: Serving) -> Table:
    """One line for each load."""
    loads = s.concurrency if s.concurrency is not None else s.request_rate
    name = "users" if s.concurrency is not None else "requests/s"
    carried = () if s.concurrency is None else (Column("requests_per_s", "requests/s", significant),)
    columns = (
        Column("load", name, significant), *carried,
        Column("tpot_s", "per token", _time), Column("ttft_s", "first token", _time), Column("e2e_s", "request", _time),
        Column("output_tokens_per_s", "tok/s", significant), Column("kv_used_share", "pool", lambda v: f"{100 * v:.0f} %"),
        Column("bound", "at most requests/s", significant),
    )  # fmt: skip
    values = (s.tpot_s, s.ttft_s, s.e2e_s, s.output_tokens_per_s, s.kv_used_share, s.bound.requests_per_s)
    given = (loads, *(() if s.concurrency is None else (s.requests_per_s,)), *values)
    flat = [np.ravel(v).tolist() for v in given]
    most = 40
    lines = tuple(zip(*flat, strict=True))
    more = () if len(lines) <= most else (f"… {len(lines) - most:,} more loads; the arrays of the result hold all of them",)
    over = ("–: overloaded, or beyond 90 % utilization, where the first token depends on the arrivals",) if np.isnan(flat[-5]).any() else ()
    return Table(columns=columns, rows=lines[:most], footer=(*more, *over))


def inputs(s: Serving) -> dict[str, Any]:
    """What was asked, by name."""
    q, by = s.server.question, s.server.scheduling
    return {
        "model": q.model.id, "gpu": q.gpu.id, "prompt_tokens": s.prompt_tokens, "output_tokens": s.output_tokens,
        "cached_tokens": s.server.lengths.cached, "concurrency": s.concurrency, "request_rate": s.request_rate, "requests": s.requests,
        **s.limits, "dtype": q.storage.weights.id, "kv_dtype": q.storage.cache.id, **q.split._asdict(),
        "engine": s.calibration.engine, "calibration": s.calibration.id or None, "max_batch": by.slots, "max_batch_tokens": by.budget,
        "memory_fraction": s.server.held.memory_fraction,
    }  # fmt: skip


def to_document(s: Serving) -> dict[str, Any]:
    """A server as plain JSON values."""
    outputs = listed({name: getattr(s, name) for name in OUTPUTS}, s.is_point)
    outputs["bound"] = listed({name: getattr(s.bound, name) for name in BOUNDS}, s.is_point) | {"is_bound": s.bound.is_bound}
    rest = {"assumptions": s.assumptions, "sources": s.sources().to_dicts(), "warnings": s.warnings}
    return document("serve", inputs=listed(inputs(s), s.is_point), outputs=outputs, **rest)


def to_table(s: Serving) -> Table:
    """One row per load: inputs, figures and bounds."""
    bounds = {f"bound_{name}": getattr(s.bound, name) for name in BOUNDS}
    return one_row_a_point(inputs(s) | {name: getattr(s, name) for name in OUTPUTS} | bounds, np.shape(s.tpot_s))
