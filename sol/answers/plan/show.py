"""A plan as text: the best split of each number of devices, the Pareto front, and the reasons."""

from __future__ import annotations

from typing import Any

import numpy as np

from sol.answers.plan.plan import Plan
from sol.answers.report.document import document, one_row_a_point
from sol.answers.report.report import Report
from sol.tabular import Column, Table, joined
from sol.units import show_count, show_seconds, significant

MEANING = {
    "latency": "the shortest step",
    "ttft": "the shortest prefill",
    "tokens_per_s_per_user": "the most tokens per second for one user",
    "tokens_per_s_per_gpu": "the most tokens per second per device",
    "cost": "the cheapest tokens",
}


MOST_ROWS = 20


def report(p: Plan) -> Report:
    """The best split of each number of devices, the reasons, and the front."""
    return Report.of_table(plan_table(p))


def best_by_devices(p: Plan) -> list[int]:
    """The best candidate of each number of devices; none where nothing fits or is fast enough."""
    found = []
    for n in np.unique(p.devices):
        allowed = np.flatnonzero((p.devices == n) & p.meets)
        if allowed.size:
            found.append(int(allowed[np.lexsort((p.latency_s[allowed], score(p)[allowed]))[0]]))
    return found


def score(p: Plan) -> Any:
    """The value that the objective minimises."""
    if p.objective in ("cost", "ttft"):
        return p.cost_per_million if p.objective == "cost" else p.ttft_s
    return {"latency": p.latency_s, "tokens_per_s_per_user": -p.tokens_per_s_per_user}.get(p.objective, -p.tokens_per_s_per_gpu)


def plan_table(p: Plan) -> Table:
    """One line per number of devices, the best marked; then the reasons, and the fewest devices that hold the model."""
    columns = [
        Column("devices", "devices", show_count),
        Column("split", "split", left=True, wrap=True),
        Column("batch", "batch", show_count),
        Column("latency_s", "step", lambda v: show_seconds(v, 4)),
        Column("floor_s", "floor", lambda v: show_seconds(v, 4)),
        *([Column("ttft_s", "ttft", lambda v: show_seconds(v, 4))] if p.ttft_s is not None else []),
        Column("tokens_per_s_per_user", "tok/s/user", significant),
        Column("tokens_per_s_per_gpu", "tok/s/GPU", significant),
        *([Column("cost_per_million", "per M tok", lambda v: f"{v:.3g}")] if p.cost_per_million is not None else []),
        Column("best", "", lambda v: "best" if v else "", left=True),
    ]
    found = best_by_devices(p)
    shown = found if len(found) <= MOST_ROWS else sorted({found[0], *sorted(found, key=lambda i: float(score(p)[i]))[: MOST_ROWS - 1]})
    rows = [tuple(row.values()) for row in candidates(p, shown)]
    unfit = [n for n in np.unique(p.devices) if not p.meets[p.devices == n].any()]
    footer = [
        p.why(),
        f"fewest devices that hold it: {p.fewest}" + ("" if p.fewest in p.devices else ", by memory alone; not among those tried"),
    ]
    if len(found) > MOST_ROWS:
        footer.insert(0, f"{len(found) - len(shown)} more numbers of devices, none of them better")
    if unfit:
        why = "does not fit or is too slow" if said_limits(p.limits) else "does not fit"
        footer.append(f"{', '.join(f'{n:g}' for n in unfit)} device{'s' * (unfit != [1.0])}: {why}")
    footer += [f"Pareto front of tok/s/user against tok/s/GPU: {_front_line(p)}", "assumes: " + " · ".join(p.assumptions)]
    title = joined(
        (
            f"{p.model.id} on {p.gpu.id}",
            MEANING[p.objective],
            f"decode · ctx {show_count(p.ctx)}",
            "" if p.prompt_tokens is None else f"prompt {show_count(p.prompt_tokens)}",
            said_limits(p.limits),
            p.winner.question.storage.weights.id,
        )
    )
    return Table(columns=tuple(columns), rows=tuple(rows), title=title, footer=tuple(footer))


def said_limits(limits: dict[str, float | None]) -> str:
    """The limits asked for, as text."""
    return ", ".join(f"{name.removesuffix('_s')} ≤ {show_seconds(v)}" for name, v in limits.items() if v is not None)


def candidates(p: Plan, which: list[int] | tuple[int, ...]) -> list[dict[str, Any]]:
    """Some candidates as rows."""
    return [
        {
            "devices": float(p.devices[i]), "split": str(p.splits[i]), "batch": float(p.batch[i]), "latency_s": float(p.latency_s[i]),
            "floor_s": float(p.floor_s[i]), **({} if p.ttft_s is None else {"ttft_s": float(p.ttft_s[i])}),
            "tokens_per_s_per_user": float(p.tokens_per_s_per_user[i]),
            "tokens_per_s_per_gpu": float(p.tokens_per_s_per_gpu[i]),
            **({} if p.cost_per_million is None else {"cost_per_million": float(p.cost_per_million[i])}), "best": i == p.best,
        }
        for i in which
    ]  # fmt: skip


def _front_line(p: Plan) -> str:
    ends = (p.front[0], p.front[-1])
    shown = [
        f"{significant(p.tokens_per_s_per_user[i])} per user at {significant(p.tokens_per_s_per_gpu[i])} per GPU ({p.splits[i]})"
        for i in ends
    ]
    return f"{len(p.front)} points, from {shown[0]} to {shown[1]}" if len(p.front) > 1 else f"one point, {shown[0]}"


def reasons(p: Plan) -> str:
    """The parts of the best split's step, and how the best of more and of fewer devices compare."""
    memory, sent = parts(p, p.best)
    line = (
        f"best: {p.splits[p.best]} at batch {show_count(p.batch[p.best])}, {show_seconds(p.latency_s[p.best], 4)} per step, "
        f"{show_seconds(sent, 3)} of it communication"
    )
    others = best_by_devices(p)
    for beyond in (p.devices[others] > p.devices[p.best], p.devices[others] < p.devices[p.best]):
        there = [i for i, there in zip(others, beyond, strict=True) if there]
        if there:
            line += _against(p, min(there, key=lambda i: float(score(p)[i])), memory)
    return line


def _against(p: Plan, i: int, memory: float) -> str:
    """How the best of more, or of fewer, devices compares."""
    there, wires = parts(p, i)
    ratio = p.latency_s[i] / p.latency_s[p.best]
    verdict = f"a step {ratio:.3g} times as long" if ratio > 1 else f"a step {1 / ratio:.3g} times as fast"
    verdict = "a step no faster" if abs(ratio - 1.0) < 0.005 else verdict
    each = p.tokens_per_s_per_gpu[i] / p.tokens_per_s_per_gpu[p.best]
    return (
        f"; best of {p.devices[i]:g} devices ({p.splits[i]}, batch {show_count(p.batch[i])}): {verdict} and {each:.3g} times "
        f"the tokens per device; memory and compute {show_seconds(there, 3)} instead of {show_seconds(memory, 3)}, "
        f"communication {show_seconds(wires, 3)}"
    )


def parts(p: Plan, i: int) -> tuple[float, float]:
    """Operator time and communication time of one candidate's step [s]."""
    wires = float(p.communication_s[i])
    return float(p.latency_s[i]) - wires, wires


def to_document(p: Plan) -> dict[str, Any]:
    """The plan as JSON: the best split of each number of devices, and the front."""
    inputs = {"model": p.model.id, "gpu": p.gpu.id, "objective": p.objective, "ctx": p.ctx, "link": p.asked["link"],
              "network": p.asked["network"], "prompt_tokens": p.prompt_tokens, **p.limits}  # fmt: skip
    outputs = {
        "best": candidates(p, [p.best])[0], "by_devices": candidates(p, best_by_devices(p)), "front": candidates(p, p.front),
        "fewest": p.fewest, "candidates": len(p.splits), "why": p.why(),
    }  # fmt: skip
    sources = p.sources().to_dicts()
    return document("plan", inputs=inputs, outputs=outputs, assumptions=p.assumptions, sources=sources, warnings=p.winner.warnings)


def to_table(p: Plan) -> Table:
    """One row per candidate: its split, its rates, whether it fits and keeps the limits."""
    ways = {name: np.array([getattr(split, name) for split in p.splits]) for name in p.splits[0]._fields}
    names = ("devices", "batch", "latency_s", "floor_s", "network_s", "ttft_s", "tokens_per_s_per_user", "tokens_per_s_per_gpu",
             "cost_per_million", "fits", "meets")  # fmt: skip
    count = len(p.splits)
    chosen = {"best": np.arange(count) == p.best, "front": np.isin(np.arange(count), p.front)}
    asked = {"model": p.model.id, "gpu": p.gpu.id, "ctx": p.ctx}
    return one_row_a_point(asked | ways | {name: getattr(p, name) for name in names} | chosen, (count,))
