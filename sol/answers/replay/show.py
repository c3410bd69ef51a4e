"""A replay as text and as tables."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from sol.answers.replay.result import Replay
from sol.answers.report.document import document, plain
from sol.answers.report.report import Report
from sol.specs.quantities import Array
from sol.tabular import Column, Table
from sol.units import show_count, show_seconds, significant

METRICS = (("ttft_s", "TTFT"), ("tpot_s", "TPOT"), ("itl_s", "ITL"), ("e2e_s", "E2E"), ("queue_s", "queue"))
TAILS = (50, 90, 99)
MEANT = {
    "with_prompts": "steps with prompts in them",
    "decode_only": "steps of decodes alone",
    "idle": "no request to work on",
}


def _time(value: float) -> str:
    return show_seconds(value, 3)


def _percent(value: float) -> str:
    return f"{100 * value:+.1f} %"


def report(r: Replay) -> Report:
    """The answer in one sentence, the distribution, where the time went."""
    notes = (*(f"note: {w}" for w in r.warnings), "assumes: " + " · ".join(map(str, r.assumptions)))
    summary, more = r.summary, [r.spent]
    if r.errors is not None:  # beside the tails they would be wider than a narrow terminal
        more.insert(0, measured_table(r))
        summary = Table(columns=summary.columns[:-2], rows=tuple(row[:-2] for row in summary.rows))
    return Report(heading=r.heading(), lines=tuple(headline(r)), table=summary, more=tuple(more), notes=notes)


def headline(r: Replay) -> list[str]:
    """What the trace takes, in words."""
    count = len(r.trace.load)
    of = "at the bound of every step" if r.on == "floor" else "expected"
    lines = [
        f"{count:,} requests in {show_seconds(r.makespan_s, 4)}, {of}: {significant(r.requests_per_s)} requests/s, "
        f"{significant(r.output_tokens_per_s)} output tok/s"
    ]
    again = f", {show_count(r.served.recomputed)} tokens computed again" if r.served.recomputed else ""
    if r.preemptions:
        lines.append(f"{r.preemptions:,} preemptions{again}")
    waited = float(r.queue_s.mean() / r.ttft_s.mean()) if r.ttft_s.mean() else 0.0
    lines.append(f"{100 * waited:.0f} % of the time to the first token is spent in the queue")
    return lines


def distribution(r: Replay) -> dict[str, tuple[float | None, ...]]:
    """Mean and tails of each metric [s]."""
    found: dict[str, tuple[float | None, ...]] = {}
    for name, _ in METRICS:
        if name == "itl_s":
            found[name] = _weighted(r.served.gaps.seconds, r.served.gaps.count)
            continue
        values: Array = getattr(r, name)
        values = values[np.isfinite(values)]
        found[name] = (None,) * 4 if not values.size else (float(values.mean()), *(float(v) for v in np.percentile(values, TAILS)))
    return found


def _weighted(values: Array, count: Array) -> tuple[float | None, ...]:
    if not values.size:
        return (None,) * 4
    order = np.argsort(values, kind="stable")
    sums = np.cumsum(count[order])
    at = [int(np.searchsorted(sums, tail / 100 * sums[-1], side="left")) for tail in TAILS]
    return (float((values * count).sum() / sums[-1]), *(float(values[order][i]) for i in at))


def summary_table(r: Replay) -> Table:
    """One line a metric."""
    columns = [Column("metric", "", left=True), Column("mean_s", "mean", _time)]
    columns += [Column(f"p{tail}_s", f"p{tail}", _time) for tail in TAILS]
    errors, rows = r.errors, []
    if errors is not None:
        columns += [Column("measured_mean_s", "measured", _time), Column("error", "error", _percent)]
    for name, title in METRICS:
        row: list[Any] = [title, *distribution(r)[name]]
        if errors is not None:
            measured = r.trace.measured.get(name)
            known = measured is not None and name in errors
            row += [float(np.nanmean(measured)), errors[name]] if known and measured is not None else [None, None]
        rows.append(tuple(row))
    return Table(columns=tuple(columns), rows=tuple(rows))


def measured_table(r: Replay) -> Table:
    """Means beside those that were measured."""
    columns = (
        Column("metric", "mean of each request", left=True), Column("mean_s", "replay", _time),
        Column("measured_mean_s", "measured", _time), Column("error", "error", _percent),
    )  # fmt: skip
    rows = tuple((row[0], row[1], row[-2], row[-1]) for row in r.summary.rows if row[-1] is not None)
    return Table(columns=columns, rows=rows)


def spent_table(r: Replay) -> Table:
    """Where the makespan went."""
    columns = (
        Column("part", "where the time went", left=True),
        Column("seconds", "time", _time),
        Column("share", "share", lambda v: f"{100 * v:.1f} %"),
    )
    whole = float(r.served.last_s.max())
    return Table(columns=columns, rows=tuple((MEANT[name], share * whole, share) for name, share in r.shares.items()))


def request_table(r: Replay) -> Table:
    """One row a request."""
    load = r.trace.load
    columns = [
        Column("arrival_s", "arrival", _time), Column("prompt_tokens", "prompt", show_count), Column("output_tokens", "output", show_count),
        Column("ttft_s", "TTFT", _time), Column("tpot_s", "TPOT", _time), Column("e2e_s", "E2E", _time),
        Column("queue_s", "queue", _time), Column("preemptions", "preempted", show_count),
    ]  # fmt: skip
    values: list[Any] = [
        load.arrival_s + r.trace.first_s, load.prompt, load.output, r.ttft_s, r.tpot_s, r.e2e_s, r.queue_s, r.served.preemptions
    ]  # fmt: skip
    for name in ("ttft_s", "tpot_s", "e2e_s"):
        if name in r.trace.measured:
            columns.append(Column(f"measured_{name}", f"measured {name[:-2].upper()}", _time))
            values.append(r.trace.measured[name])
    return Table(columns=tuple(columns), rows=_rows(values))


def step_table(r: Replay) -> Table:
    """One row a step."""
    s = r.served.steps
    columns = (
        Column("start_s", "start", _time), Column("seconds", "length", _time), Column("decodes", "decodes", show_count),
        Column("prompt_tokens", "prompt tokens", show_count), Column("cached_tokens", "in the cache", show_count),
    )  # fmt: skip
    return Table(columns=columns, rows=_rows([s.start_s, s.seconds, s.decodes, s.prompt_tokens, s.cached_tokens]))


def _rows(values: list[Any]) -> tuple[tuple[Any, ...], ...]:
    listed = [[None if isinstance(v, float) and math.isnan(v) else v for v in column.tolist()] for column in values]
    return tuple(zip(*listed, strict=True))


def to_document(r: Replay) -> dict[str, Any]:
    """A replay as plain JSON values, every request among them."""
    q, p, load = r.question, r.policy, r.trace.load
    inputs = {
        "model": q.model.id, "gpu": q.gpu.id, "engine": r.server.engine.id, "on": r.on,
        "calibration": None if r.calibration is None else r.calibration.id or None,
        "times_of": None if r.calibration is None else r.calibration.engine,
        "dtype": q.storage.weights.id, "kv_dtype": q.storage.cache.id, **q.split._asdict(), "requests": len(load),
        "concurrency": r.concurrency,
        "prompt_tokens": int(load.prompt.sum()), "output_tokens": int(load.output.sum()), "cached_tokens": int(load.cached.sum()),
        "max_batch": p.max_num_seqs, "max_batch_tokens": p.max_num_batched_tokens, "kv_tokens": p.kv_blocks * p.block_tokens,
        "block_tokens": p.block_tokens, "admission": p.admission, "mixed": p.mixed, "chunked": p.chunked, "ahead": p.ahead,
    }  # fmt: skip
    outputs = {
        "makespan_s": r.makespan_s, "requests_per_s": r.requests_per_s, "output_tokens_per_s": r.output_tokens_per_s,
        "preemptions": r.preemptions, "recomputed_tokens": r.served.recomputed, "steps": int(r.served.steps.seconds.size),
        "shares": r.shares, "errors": None if r.errors is None else dict(r.errors),
        "summary": r.summary.to_dicts(), "requests": r.requests.to_dicts(),
    }  # fmt: skip
    return document(
        "replay", inputs=inputs, outputs=plain(outputs), assumptions=r.assumptions, sources=r.sources().to_dicts(), warnings=r.warnings
    )


def to_table(r: Replay) -> Table:
    """One row a request, for programs."""
    return request_table(r)
