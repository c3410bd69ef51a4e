"""A step over two tiers as text: what each memory holds and reads, and the time of that; or one line per point."""

from __future__ import annotations

from typing import Any

import numpy as np

from sol.answers.memory.offload import Offload
from sol.answers.question.routing import routing_document
from sol.answers.report.document import document, listed, one_row_a_point
from sol.answers.report.report import Report
from sol.tabular import Column, Table
from sol.units import show_bytes, show_count, show_gib, show_rate, show_seconds, significant

OUTPUTS = (
    "bound_s", "bound", "is_bound", "overlapped_s", "serial_s", "tokens_per_s", "device_s", "host_s", "link_s", "link_bytes", "streamed_s",
    "streamed_serial_s", "computed_s", "computed_serial_s", "host_bytes", "host_weight_bytes", "host_kv_bytes", "device_bytes",
    "host_read_bytes", "device_read_bytes", "fits",
)  # fmt: skip


def report(o: Offload) -> Report:
    """The tiers of a point, or the points of a sweep."""
    return Report.of_table(offload_table(o))


def offload_table(o: Offload) -> Table:
    """One line per tier for a point, one line per point for a sweep."""
    notes = (*(f"note: {w}" for w in o.warnings), "assumes: " + " · ".join(o.assumptions))
    if o.is_point:
        return Table(columns=TIERS, rows=_tiers(o), total=_both(o), title=o.heading(), footer=(*_times(o), *notes))
    columns, rows = _points(o)
    footer = (*(() if o.host else (NO_BOUND,)), f"over {_over(o)}, one direction", *notes)
    return Table(columns=columns, rows=rows, title=o.heading(), footer=footer)


NO_BOUND = "no bound: a host that computes with what it holds may be faster; --host epyc-9654 names one (sol gpus --where kind=cpu)"
SAID = {"streamed": "streamed over the link", "computed": "computed on the host"}
TIERS = (
    Column("tier", "tier", left=True),
    Column("holds_bytes", "holds GiB", show_gib),
    Column("holds_share", "share", lambda v: f"{100 * v:.1f} %"),
    Column("reads_bytes", "reads", show_bytes),
    Column("reads_share", "share", lambda v: f"{100 * v:.1f} %"),
    Column("bytes_per_s", "at", lambda v: show_rate(v, "B/s")),
    Column("seconds", "time", lambda v: show_seconds(v, 4)),
)


def _tiers(o: Offload) -> tuple[tuple[object, ...], ...]:
    holds, reads = o.device_bytes + o.host_bytes, o.device_read_bytes + o.host_read_bytes
    there = (o.host_bytes, o.host_bytes / holds, o.host_read_bytes, o.host_read_bytes / reads)
    rate, link = o.question.rates.memory_bytes_per_s, o.link.per_direction_bytes_per_s
    device = (o.question.gpu.id, o.device_bytes, o.device_bytes / holds, o.device_read_bytes, o.device_read_bytes / reads, rate, o.device_s)
    if o.host is None:
        return (device, (f"host, {o.link.name}", *there, link, o.link_s))
    crossing = (f"link, {o.link.name}", None, None, o.link_bytes, None, link, o.link_s)
    return (device, (o.host_label, *there, o.host_bytes_per_s, o.host_s), crossing)


def _both(o: Offload) -> tuple[object, ...]:
    return ("serial", o.device_bytes + o.host_bytes, 1.0, o.device_read_bytes + o.host_read_bytes, 1.0, None, o.serial_s)


def _times(o: Offload) -> tuple[str, ...]:
    lines = []
    if o.host is not None:
        why = o.why_not_strict()
        strict = "no placement of these bytes is faster" if why is None else f"not a strict bound: {why}"
        lines.append(f"bound: {_rate(o, o.bound_s)}, {o.bound}-bound: {strict}")
        lines.append(_placement(o, "computed", o.computed_s, o.computed_serial_s))
    lines.append(_placement(o, "streamed", o.streamed_s, o.streamed_serial_s))
    if o.host is None:
        lines += [NO_BOUND, f"the device's own part takes {show_seconds(o.bound_s, 4)} at least, whatever the host does"]
    there = f"on the host: {show_bytes(o.host_weight_bytes)} of weights, {show_bytes(o.host_kv_bytes)} of cache"
    return (*lines, f"{there}; {_over(o)}, one direction")


def _placement(o: Offload, name: str, at_once: Any, in_turn: Any) -> str:
    return f"placement, {SAID[name]}: {_rate(o, at_once)} with both memories at once; {_rate(o, in_turn)} one after the other"


def _rate(o: Offload, seconds: Any) -> str:
    return f"{show_seconds(seconds, 4)}/token, {significant(o.question.step.batch[0] / seconds)} tok/s"


def _over(o: Offload) -> str:
    return f"{o.link.name} {show_rate(o.link.per_direction_bytes_per_s, 'B/s')}"


def _points(o: Offload) -> tuple[tuple[Column, ...], tuple[tuple[object, ...], ...]]:
    shape = o.overlapped_s.shape

    def seconds(key: str, title: str) -> Column:
        return Column(key, title, lambda v: show_seconds(v, 4))

    times: tuple[Column, ...]
    if o.host is None:
        times = (Column("host_read_bytes", "read a step", show_bytes), seconds("streamed_s", "streamed"), seconds("serial_s", "serial"))
    else:
        by = Column("bound", "by", left=True)
        times = (seconds("bound_s", "bound"), by, seconds("computed_s", "computed"), seconds("streamed_s", "streamed"))
    columns = (
        Column("batch", "batch", show_count),
        Column("ctx", "ctx", show_count),
        Column("host_bytes", "host GiB", show_gib),
        *times,
        Column("tokens_per_s", "tok/s", significant),
        Column("fits", "fits", lambda v: "fits" if v else "no", left=True),
    )
    values = (o.question.step.batch, o.question.ctx, *(getattr(o, c.key) for c in columns[2:]))
    flat = (np.broadcast_to(np.asarray(v, dtype=object if v is None else None), shape).ravel().tolist() for v in values)
    return columns, tuple(zip(*flat, strict=True))


def to_document(o: Offload) -> dict[str, Any]:
    """A step over two tiers as plain JSON values."""
    inputs = listed(_asked(o), o.is_point) | {"routing": routing_document(o.question.routing)}
    return document(
        "offload", inputs=inputs, outputs=listed(_outputs(o), o.is_point), assumptions=o.assumptions, sources=o.sources().to_dicts(),
        warnings=o.warnings,
    )  # fmt: skip


def to_table(o: Offload) -> Table:
    """One row per point: inputs and every figure."""
    return one_row_a_point(_asked(o) | _outputs(o), np.shape(o.overlapped_s))


def _asked(o: Offload) -> dict[str, Any]:
    q = o.question
    return {
        "model": q.model.id, "gpu": q.gpu.id, "batch": q.step.batch, "ctx": q.ctx, "dtype": q.storage.weights.id,
        "kv_dtype": q.storage.cache.id, "routing": q.routing if isinstance(q.routing, str) else None, "link": o.link.name,
        "link_bytes_per_s": o.link.per_direction_bytes_per_s, "host": None if o.host is None else o.host.id,
        "host_sockets": o.host_sockets, "host_bytes_per_s": o.host_bytes_per_s, "n_cpu_moe": o.n_cpu_moe,
    }  # fmt: skip


def _outputs(o: Offload) -> dict[str, Any]:
    return {"placement": o.placement} | {name: getattr(o, name) for name in OUTPUTS} | {"capacity_bytes": o.question.gpu.memory_bytes}
