"""The arithmetic of a floor: the formula of each row with its numbers, then the sums. Symbols: docs/notation."""

from __future__ import annotations

from typing import Any

from sol.answers.floor.result import Floor
from sol.answers.report.explanation import Explanation
from sol.errors import InvalidInput
from sol.physics.operators.operator import Operator
from sol.physics.time.roofline import OperatorTimes
from sol.specs.step import Role, Step
from sol.units import show_bytes, show_count, show_flops, show_rate, show_seconds


def explain(f: Floor) -> Explanation:
    """The formula with the numbers in it, row by row. Raises `InvalidInput` for a sweep: index one point of it."""
    if not f.is_point:
        raise InvalidInput("explain()", "shows the work of one point", "index the sweep first, for instance f[0].explain()")
    q = f.question
    rates = q.rates
    used = {op.role for op, _ in q.operators()}
    lines = [
        f.heading(),
        "",
        "floor  = max( Σ bytes / bandwidth , Σ flops / ceiling )",
        "serial = Σ max( bytes / bandwidth , flops / peak ), operator by operator",
        "a matrix of w weights costs 2·T·w flops; attention 2·h·(dk+dv) flops per query-key pair",
        "",
        _tokens(q.step),
        f"bandwidth {show_rate(rates.memory_bytes_per_s, 'B/s')}"
        + "".join(f"; {c} peak {show_rate(p, 'FLOP/s')}" for c, p in _peaks(f, used).items())
        + _ceilings(f, used),
        *(f"{w}" for w in f.warnings),
        "",
    ]
    for op, times in q.operators():
        lines += _row(op, times, f)
    memory, floor = show_seconds(f.memory_s, 4), show_seconds(f.latency_s, 4)
    lines += [
        "totals",
        f"  memory   Σ bytes / bandwidth = {show_bytes(f.moved_bytes)} / {show_rate(rates.memory_bytes_per_s, 'B/s')} = {memory}",
    ]
    if f.compute_s is not None:
        compute = show_seconds(f.compute_s, 4)
        lines.append(f"  compute  Σ flops / ceiling = {show_flops(f.flops)}FLOP → {compute}")
        network = f", {show_seconds(f.network_s, 4)}" if f.devices > 1 else ""
        lines += [f"  network  Σ wire bytes / link = {show_seconds(f.network_s, 4)}"] * (f.devices > 1)
        lines.append(f"  floor    max({memory}, {compute}{network}) = {floor}, {f.bound}-bound")
    else:
        lines.append(f"  floor    {floor}, memory only")
    lines.append(f"  serial   {show_seconds(f.serial_s, 4)}")
    lines += ["", "assumes", *(f"  {a}" for a in f.assumptions)]
    return Explanation("\n".join(lines), of=f)


def _tokens(step: Step) -> str:
    """The tokens of all groups, with their sum."""
    parts = [tuple(show_count(a.item()) for a in (g.batch, g.new_tokens, g.past_tokens)) for g in step.groups]
    products, total = " + ".join(f"{batch}·{new}" for batch, new, _ in parts), show_count(step.tokens.item())
    cached = ", then ".join(past for _, _, past in parts)
    return f"T = {'Σ ' * bool(step.beside)}batch·new tokens = {products} = {total}; {cached} tokens cached per sequence"


def _peaks(f: Floor, used: set[Role]) -> dict[str, float]:
    rates = f.question.rates
    return {rates.formats[role]: p for role, p in (rates.peak or {}).items() if role in used}


def _ceilings(f: Floor, used: set[Role]) -> str:
    rates = f.question.rates
    if rates.peak is None or rates.ceiling is None:
        return ""
    above = {role: v for role, v in rates.ceiling.items() if role in used and v > rates.peak[role]}
    return "".join(f"; ceiling of {role} {show_rate(v, 'FLOP/s')}" for role, v in above.items())


def _row(op: Operator, times: OperatorTimes, f: Floor) -> list[str]:
    """One operator: its shape, bytes, FLOPs and time."""
    q = f.question
    weight, kv, spilled, flops = (_number(v) for v in (op.weight_bytes, op.kv_bytes, op.activation_bytes, op.flops))
    if op.wire is not None:
        message = show_bytes(_number(op.wire.message_bytes))
        return [
            f"{op.name}  ×{op.layers}",
            f"  shape    {op.shape()}",
            f"  sends    {op.wire.op} of {message} over {op.wire.ranks} devices: {show_bytes(_number(times.wire_bytes))} per device in all",
            f"  time     floor {show_seconds(_number(times.network_s), 4)} at the full rate, "
            f"{show_seconds(_number(times.serial_s), 4)} with latency",
            "",
        ]
    bandwidth = show_rate(q.rates.memory_bytes_per_s, "B/s")
    lines = [f"{op.name}" + (f"  ×{op.layers} layers" if op.layers > 1 else "")]
    lines.append(f"  shape    {op.shape()}")
    if op.detail:
        lines.append("  counts   " + " · ".join(f"{name} {_number(value):,.6g}" for name, value in op.detail))
    if weight:
        lines.append(f"  weights  {show_bytes(weight)}  ({weight:,.0f} B)")
    if kv:
        kept = {"state": "of states read", "index": "of index keys, 8 bits and a scale"}.get(op.name, f"in {q.storage.cache.id}")
        lines.append(f"  kv       {show_bytes(kv)}  ({kv:,.0f} B) {kept}")
    if spilled:
        what = f"of activations through memory, {op.kernels} kernels" if op.kernels else "that an engine also moves"
        lines.append(f"  spilled  {show_bytes(spilled)} {what} (serial only)")
    if flops:
        lines.append(f"  flops    {show_flops(flops)}FLOP  ({flops:,.0f}) in {q.rates.formats[op.role]}")
    moved = f"{show_bytes(weight + kv + spilled)} / {bandwidth}"
    if q.rates.peak is None or not flops:
        lines.append(f"  time     {moved} = {show_seconds(_number(times.serial_s), 4)}")
    else:
        at_peak = f"{show_flops(flops)}FLOP / {show_rate(q.rates.peak[op.role], 'FLOP/s')}"
        lines.append(f"  time     max({moved}, {at_peak}) = {show_seconds(_number(times.serial_s), 4)}")
    return [*lines, ""]


def _number(value: Any) -> float:
    return float(value if isinstance(value, float | int) else value.item())
