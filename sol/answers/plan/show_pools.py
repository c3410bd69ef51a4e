"""Pools as text: one line per number of devices, and why they gain or lose."""

from __future__ import annotations

from typing import Any

from sol.answers.plan.pool_search import Division, Pool
from sol.answers.plan.pools import Pools
from sol.answers.plan.show import said_limits
from sol.answers.question.routing import routing_document
from sol.answers.report.document import document
from sol.answers.report.report import Report
from sol.tabular import Column, Table, joined
from sol.units import show_bytes, show_count, show_seconds, significant


def report(p: Pools) -> Report:
    """One line per number of devices, then the reasons."""
    return Report.of_table(pools_table(p))


def pools_table(p: Pools) -> Table:
    """One line per number of devices, the best marked; then the reasons."""
    columns = (
        Column("devices", "devices", show_count),
        Column("prefill", "prefill · prompts", left=True, wrap=True),
        Column("decode", "decode · batch", left=True, wrap=True),
        Column("ttft_s", "ttft", lambda v: show_seconds(v, 3)),
        Column("tpot_s", "tpot", lambda v: show_seconds(v, 3)),
        Column("requests_per_s", "req/s", significant),
        Column("requests_per_s_per_gpu", "/GPU", significant),
        *([Column("cost_per_million", "per M out", lambda v: f"{v:.3g}")] if p.price_per_hour is not None else []),
        Column("gain", "undivided", lambda v: f"× {v:.2f}"),
        Column("best", "", lambda v: "best" if v else "", left=True),
    )
    rows = tuple(
        (
            d.devices, _named(d.prefill), _named(d.decode), d.ttft_s, d.tpot_s, d.requests_per_s,
            d.requests_per_s / d.devices,
            *(() if p.price_per_hour is None else (cost_per_million(p, d),)), d.gain, i == p.best,
        )
        for i, d in enumerate(p.divisions)
    )  # fmt: skip
    footer, limits = [p.why()], said_limits(p.limits)
    if p.without:
        footer.append(f"{', '.join(map(str, p.without))} devices: no two pools fit" + (" within the limits" if limits else ""))
    footer.append("assumes: " + " · ".join(p.assumptions))
    request = f"prompt {show_count(p.prompt_tokens)}, output {show_count(p.output_tokens)}"
    title = joined(
        (f"{p.model.id} on {p.gpu.id}", "prefill and decode apart", request, said_load(p), limits, p.winner.question.storage.weights.id)
    )
    return Table(columns=columns, rows=rows, title=title, footer=tuple(footer))


def said_load(p: Pools) -> str:
    """The load in words, empty without one."""
    if p.request_rate is not None:
        return f"{significant(p.request_rate)} requests/s"
    return "" if p.concurrency is None else f"{show_count(p.concurrency)} users"


def _named(pool: Pool) -> str:
    times = f"{pool.replicas} × " if pool.replicas > 1 else ""
    return f"{times}{pool.split} · {show_count(pool.batch)}"


def cost_per_million(p: Pools, d: Division) -> float:
    """What a million output tokens cost, in the currency of the price."""
    assert p.price_per_hour is not None
    return p.price_per_hour / 3600.0 * d.devices / (d.requests_per_s * p.output_tokens) * 1e6


def reasons(p: Pools) -> str:
    """The best pools and how busy they are, the cache that is sent, and the best undivided replicas."""
    d = p.divisions[p.best]
    idle = d.devices - d.prefill.devices - d.decode.devices
    parts = [
        *([_fewest(p)] if said_load(p) else []),
        f"best: {_pool(d.prefill, 'prompt', 'a pass', d)} prefill, {_pool(d.decode, 'sequence', 'a step', d)} decode: "
        f"{significant(d.requests_per_s)} requests/s" + (f", {idle} device{'s' * (idle > 1)} idle" if idle else ""),
        f"the cache of a prompt, {show_bytes(p.kv_bytes)}, takes {show_seconds(d.transfer_s)} over {p.link_of(d.devices)}: the first "
        f"token comes after {show_seconds(d.ttft_s)} (floor {show_seconds(d.ttft_floor_s)}), the second after "
        f"{show_seconds(d.second_token_s)} (floor {show_seconds(d.second_token_floor_s)})",
        _against(p, d),
    ]
    return "; ".join(parts)


def _fewest(p: Pools) -> str:
    """The devices that carry the load, and what the next smaller number carries."""
    d = p.divisions[p.best]
    users = p.concurrency is not None
    line = f"{d.devices} devices carry {said_load(p)}" + (f" ({significant(d.users)} at once)" if users else "")
    if p.best:
        fewer = max(p.divisions[: p.best], key=p.carried)
        carried = f"{significant(fewer.users)} at once" if users else f"{significant(fewer.requests_per_s)} requests/s"
        line += f", {fewer.devices} only {carried}"
    return line


def _pool(pool: Pool, what: str, each: str, d: Division) -> str:
    several = f"{pool.replicas} replicas of {pool.split}" if pool.replicas > 1 else f"{pool.split}"
    busy, passed = 100.0 * d.requests_per_s / pool.requests_per_s, f"{show_count(pool.batch)} {what}{'s' * (pool.batch != 1.0)}"
    return f"{several} ({passed} {each} of {show_seconds(pool.step_s)}, busy {busy:.0f} % of the time)"


def _against(p: Pools, d: Division) -> str:
    u = d.undivided
    if u is None or d.gain is None:
        return "no undivided replica keeps the limits" if said_limits(p.limits) else "no undivided replica fits"
    verdict = f"{d.gain:.3g} times as many" if d.gain >= 1.0 else f"only {d.gain:.3g} times as many"
    replicas = f"{u.decode.replicas} replicas of {u.decode.split}" if u.decode.replicas > 1 else f"{u.decode.split}"
    return (
        f"the pools serve {verdict} requests as undivided {replicas} ({significant(u.decode.requests_per_s)} requests/s at batch "
        f"{show_count(u.decode.batch)}), where a token takes {show_seconds(u.tpot_s)}, "
        f"{show_seconds(u.tpot_s - u.decode.step_s)} of it the prefill of other requests, and the first token {show_seconds(u.ttft_s)}"
    )


def to_document(p: Pools) -> dict[str, Any]:
    """The pools as JSON: one entry per number of devices."""
    inputs = {
        "model": p.model.id, "gpu": p.gpu.id, "prompt_tokens": p.prompt_tokens, "output_tokens": p.output_tokens, 
        "request_rate": p.request_rate, "concurrency": p.concurrency, **p.limits,
        "price_per_hour": p.price_per_hour, "link": p.asked["link"], "network": p.asked["network"],
        "routing": routing_document(p.winner.question.routing),
    }  # fmt: skip
    outputs = {
        "divisions": [_division(p, d) for d in p.divisions], "best": p.best, "without": list(p.without), "kv_bytes": p.kv_bytes,
        "why": p.why(),
    }  # fmt: skip
    sources = p.sources().to_dicts()
    return document("pools", inputs=inputs, outputs=outputs, assumptions=p.assumptions, sources=sources, warnings=p.winner.warnings)


def to_table(p: Pools) -> Table:
    """One row per number of devices: both pools, their rates and times, and the best undivided replicas."""
    rows = []
    for i, d in enumerate(p.divisions):
        flat: dict[str, Any] = {"model": p.model.id, "gpu": p.gpu.id, "best": i == p.best}
        for key, value in _division(p, d).items():
            flat |= {f"{key}_{name}": v for name, v in value.items()} if isinstance(value, dict) else {key: value}
        rows.append(flat)
    keys = [key for key in dict.fromkeys(key for row in rows for key in row) if key != "undivided"]
    return Table(columns=tuple(Column(key, key) for key in keys), rows=tuple(tuple(row.get(key) for key in keys) for row in rows))


def _division(p: Pools, d: Division) -> dict[str, Any]:
    u = d.undivided
    return {
        "devices": d.devices, "prefill": _replicas(d.prefill), "decode": _replicas(d.decode), "requests_per_s": d.requests_per_s,
        "requests_per_s_per_gpu": d.requests_per_s / d.devices, "ttft_floor_s": d.ttft_floor_s, "ttft_s": d.ttft_s,
        "second_token_floor_s": d.second_token_floor_s, "second_token_s": d.second_token_s, "tpot_s": d.tpot_s,
        "transfer_s": d.transfer_s, "users": d.users, "link": p.link_of(d.devices),
        **({} if p.price_per_hour is None else {"cost_per_million": cost_per_million(p, d)}),
        "undivided": None if u is None else _replicas(u.decode) | {"prompts": u.prompts, "ttft_s": u.ttft_s, "tpot_s": u.tpot_s},
        "gain": d.gain,
    }  # fmt: skip


def _replicas(pool: Pool) -> dict[str, Any]:
    return {
        **pool.split._asdict(), "replicas": pool.replicas, "devices": pool.devices, "batch": pool.batch, "step_s": pool.step_s,
        "requests_per_s": pool.requests_per_s,
    }  # fmt: skip
