"""A deployment as text: the answer in one sentence, the best of each number of devices, and what stops fewer of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from sol.answers.plan.deployment import Deployment, named
from sol.answers.plan.show import MOST_ROWS, said_limits
from sol.answers.report.document import document, one_row_a_point
from sol.answers.report.report import Report
from sol.tabular import Column, Table, joined
from sol.units import show_count, show_seconds, significant

MEANING = {
    "devices": "the fewest devices",
    "tokens_per_s_per_gpu": "the most output tokens per second per device",
    "latency": "the shortest request",
    "cost": "the cheapest output tokens",
}
FIGURES = (
    "devices", "replicas", "tpot_s", "ttft_s", "e2e_s", "requests_per_s", "output_tokens_per_s", "output_tokens_per_s_per_gpu",
    "utilization", "cost_per_million",
)  # fmt: skip


def report(d: Deployment) -> Report:
    """The sentence, the reason, then the best of each number of devices."""
    table = deployment_table(d)
    lines = (f"why      {d.why()}", f"bound    {_bound(d)}")
    notes = (*table.footer, *(f"note: {w}" for w in d.warnings), "assumes: " + " · ".join(d.assumptions))
    return Report(
        heading=sentence(d), under=(table.title,), lines=lines, table=Table(columns=table.columns, rows=table.rows), notes=notes
    )  # fmt: skip


def sentence(d: Deployment) -> str:
    """The answer: how many devices, as which replicas, carry the load, and what its users see."""
    i = d.best
    where = f"{d.devices[i]:.0f}×{d.gpu.id}" if d.devices[i] > 1 else d.gpu.id
    rate = f"{significant(float(d.requests_per_s[i]))} requests/s"
    carried, and_so = (load_of(d), f" ({rate})") if d.load == "concurrency" else (rate, "")
    return (
        f"{where} as {named(d.splits[i], d.replicas[i])} carries {carried} at {show_seconds(d.tpot_s[i], 3)}/token, "
        f"{show_seconds(d.ttft_s[i], 3)} to the first token{and_so}"
    )


def load_of(d: Deployment) -> str:
    """The load in words."""
    return f"{significant(d.request_rate or 0.0)} requests/s" if d.concurrency is None else f"{show_count(d.concurrency)} users"


def _bound(d: Deployment) -> str:
    """What no server of the best replica's devices exceeds."""
    b, i = d.winner.bound, d.best
    most = float(b.requests_per_s) * float(d.replicas[i])
    return (
        f"no server of these replicas is faster than {show_seconds(b.tpot_s, 3)}/token and {show_seconds(b.ttft_s, 3)} to the first "
        f"token, or serves more than {significant(most)} requests/s"
    )


def best_by_devices(d: Deployment) -> list[int]:
    """The best candidate of each number of devices; none where none carries the load within the limits."""
    found = []
    for n in np.unique(d.devices):
        allowed = np.flatnonzero((d.devices == n) & d.meets)
        if allowed.size:
            key = score(d)[allowed] if d.objective != "devices" else 0.0 * allowed
            found.append(int(allowed[np.lexsort((d.ttft_s[allowed], d.tpot_s[allowed], key))[0]]))
    return [d.best if d.devices[i] == d.devices[d.best] else i for i in found]


def score(d: Deployment) -> Any:
    """The value that the objective minimises."""
    return {
        "devices": d.devices, "tokens_per_s_per_gpu": -d.output_tokens_per_s_per_gpu, "latency": d.e2e_s, "cost": d.cost_per_million,
    }[d.objective]  # fmt: skip


def deployment_table(d: Deployment) -> Table:
    """One line per number of devices, the best marked; then those that fail, and the front."""
    last = (
        Column("e2e_s", "request", _time) if d.objective == "latency" else Column("utilization", "used", lambda v: f"{100 * v:.0f} %")
    )  # fmt: skip
    columns = (
        Column("devices", "devices", show_count), Column("as", "as", left=True, wrap=True), Column("tpot_s", "tpot", _time),
        Column("ttft_s", "ttft", _time), Column("output_tokens_per_s_per_gpu", "tok/s/GPU", significant), last,
        *([Column("cost_per_million", "per M out", lambda v: f"{v:.3g}")] if d.cost_per_million is not None else []),
        Column("best", "", lambda v: "best" if v else "", left=True),
    )  # fmt: skip
    found = best_by_devices(d)
    shown = found if len(found) <= MOST_ROWS else sorted({d.best, *found[: MOST_ROWS - 1]})
    keys = [c.key for c in columns]
    rows = tuple(tuple(row[key] for key in keys) for row in candidates(d, shown))
    footer = [] if len(found) <= MOST_ROWS else [f"{len(found) - len(shown)} more numbers of devices carry it too"]
    unfit = [n for n in np.unique(d.devices) if not d.meets[d.devices == n].any()]
    if unfit:
        within = " within the limits" if said_limits(dict(d.limits)) else ""
        footer.append(f"{_spans(unfit)} device{'s' * (unfit != [1.0])}: none carries it{within}")
    footer.append(f"Pareto front of time per token against tok/s/GPU: {_front_line(d)}")
    of = d.winner
    cached = of.server.lengths.cached
    title = joined(
        (
            f"{d.model.id} on {d.gpu.id}", MEANING[d.objective], load_of(d), f"{show_count(of.prompt_tokens)} in",
            f"{show_count(cached)} of them cached" if cached else "", f"{show_count(of.output_tokens)} out", said_limits(dict(d.limits)),
            of.server.question.storage.weights.id, of.calibration.engine,
        )
    )  # fmt: skip
    return Table(columns=columns, rows=rows, title=title, footer=tuple(footer))


def _spans(counts: list[float]) -> str:
    """Numbers as spans: 1-3, 5, 9-11."""
    spans: list[list[int]] = []
    for n in map(int, counts):
        if spans and n == spans[-1][-1] + 1:
            spans[-1] = [spans[-1][0], n]
        else:
            spans.append([n])
    return ", ".join("-".join(map(str, span)) for span in spans)


def _time(seconds: float) -> str:
    return show_seconds(seconds, 3) if np.isfinite(seconds) else "–"


def candidates(d: Deployment, which: list[int] | tuple[int, ...]) -> list[dict[str, Any]]:
    """Some candidates as rows."""
    names = [name for name in FIGURES if getattr(d, name) is not None]
    return [
        {"as": _as(d, i), "split": str(d.splits[i])} | {name: float(getattr(d, name)[i]) for name in names} | {"best": i == d.best}
        for i in which
    ]


def _as(d: Deployment, i: int) -> str:
    return f"{d.replicas[i]:.0f} × {d.splits[i]}" if d.replicas[i] > 1 else str(d.splits[i])


def _front_line(d: Deployment) -> str:
    ends = [d.front[0], *d.front[1:][-1:]]
    shown = [
        f"{show_seconds(d.tpot_s[i], 3)} at {significant(d.output_tokens_per_s_per_gpu[i])} ({named(d.splits[i], d.replicas[i])})"
        for i in ends
    ]
    return f"{len(d.front)} points, from {shown[0]} to {shown[1]}" if len(shown) > 1 else f"one point, {shown[0]}"


def reason(d: Deployment) -> str:
    """What stops the next smaller number of devices; for other objectives, what the fewest devices that carry the load reach."""
    least = int(d.devices[d.meets].min())
    if d.devices[d.best] > least:
        i = next(i for i in best_by_devices(d) if d.devices[i] == least)
        return (
            f"{_devices(least)} would carry it too, as {named(d.splits[i], d.replicas[i])}: {show_seconds(d.tpot_s[i], 3)}/token, "
            f"{show_seconds(d.e2e_s[i], 3)} a request, {significant(d.output_tokens_per_s_per_gpu[i])} tok/s/GPU against "
            f"{significant(d.output_tokens_per_s_per_gpu[d.best])}"
        )
    fewer = d.devices[d.devices < least]
    if not fewer.size:
        return "one device is the least there is" if least == 1 else f"{least} is the smallest number of devices that was tried"
    priced = d.devices[(d.devices < least) & np.isfinite(d.excess)]
    most = int((priced if priced.size else fewer).max())
    there = np.flatnonzero(d.devices == most)
    i = int(there[np.argmin(d.excess[there])])
    return f"{_devices(most)} {'does' if most == 1 else 'do'} not carry it: {_failing(d, i)}"


def _devices(n: int) -> str:
    return f"{n} device{'s' * (n > 1)}"


def _failing(d: Deployment, i: int) -> str:
    """Why the nearest candidate fails, in words."""
    of, word = named(d.splits[i], d.replicas[i]), d.fails[i]
    if word in ("weights", "pool"):
        only_weights = all(f == "weights" for f, n in zip(d.fails, d.devices, strict=True) if n == d.devices[i])
        return "the weights do not fit" if only_weights else "beside the weights the engine's pool holds no request"
    if word in ("overloaded", "utilization"):
        return f"the nearest, {of}, would be used to {100 * d.utilization[i]:.0f} %"
    unit, value = ("/token", d.tpot_s[i]) if word == "tpot_s" else (" to the first token", d.ttft_s[i])
    return f"the nearest, {of}, takes {show_seconds(value, 3)}{unit}, and {show_seconds(d.limits[word] or 0.0, 3)} are allowed"


def inputs(d: Deployment) -> dict[str, Any]:
    """What was asked, by name."""
    of, q = d.winner, d.winner.server.question
    return {
        "model": d.model.id, "gpu": d.gpu.id, "devices": list(d.counts), "prompt_tokens": of.prompt_tokens,
        "output_tokens": of.output_tokens, "cached_tokens": of.server.lengths.cached, "concurrency": d.concurrency,
        "request_rate": d.request_rate, **d.limits, "objective": d.objective, "price_per_hour": d.price_per_hour,
        "dtype": q.storage.weights.id, "kv_dtype": q.storage.cache.id, "engine": of.calibration.engine,
        "calibration": of.calibration.id or None,
    }  # fmt: skip


def to_document(d: Deployment) -> dict[str, Any]:
    """The deployment as JSON: the best candidate with its replica, the best of each number of devices, and the front."""
    outputs = {
        "best": candidates(d, [d.best])[0], "winner": d.winner.to_dict()["outputs"], "by_devices": candidates(d, best_by_devices(d)),
        "front": candidates(d, d.front), "candidates": len(d.splits), "answer": sentence(d), "why": d.why(),
    }  # fmt: skip
    rest: dict[str, Any] = {"assumptions": d.assumptions, "sources": d.sources().to_dicts(), "warnings": d.warnings}
    return document("deployment", inputs=inputs(d), outputs=outputs, **rest)


def to_table(d: Deployment) -> Table:
    """One row per candidate: its split, its figures, whether it carries the load within the limits, and why not."""
    ways = {name: np.array([getattr(split, name) for split in d.splits]) for name in d.splits[0]._fields}
    count = len(d.splits)
    chosen = {"fails": np.array(d.fails, dtype=object), "best": np.arange(count) == d.best, "front": np.isin(np.arange(count), d.front)}
    asked = {name: value for name, value in inputs(d).items() if name != "devices"}
    return one_row_a_point(asked | ways | {name: getattr(d, name) for name in (*FIGURES, "meets")} | chosen, (count,))
