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
    "overlapped_s", "serial_s", "device_s", "link_s", "bound", "tokens_per_s", "host_bytes", "host_weight_bytes", "host_kv_bytes",
    "device_bytes", "host_read_bytes", "device_read_bytes", "fits",
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
    return Table(columns=columns, rows=rows, title=o.heading(), footer=(f"over {_over(o)}, one direction", *notes))


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
    rate = o.question.rates.memory_bytes_per_s
    return (
        (o.question.gpu.id, o.device_bytes, o.device_bytes / holds, o.device_read_bytes, o.device_read_bytes / reads, rate, o.device_s),
        (f"host, {o.link.name}", o.host_bytes, o.host_bytes / holds, o.host_read_bytes, o.host_read_bytes / reads,
         o.link.per_direction_bytes_per_s, o.link_s),
    )  # fmt: skip


def _both(o: Offload) -> tuple[object, ...]:
    return ("serial", o.device_bytes + o.host_bytes, 1.0, o.device_read_bytes + o.host_read_bytes, 1.0, None, o.serial_s)


def _times(o: Offload) -> tuple[str, ...]:
    batch = o.question.step.batch[0]
    return (
        f"overlapped: {show_seconds(o.overlapped_s, 4)}/token, {significant(o.tokens_per_s)} tok/s, {o.bound}-bound: "
        f"both memories read at once, {'the bound' if o.is_bound else 'an expectation'}",
        f"serial: {show_seconds(o.serial_s, 4)}/token, {significant(batch / o.serial_s)} tok/s: one after the other",
        f"on the host: {show_bytes(o.host_weight_bytes)} of weights, {show_bytes(o.host_kv_bytes)} of cache; {_over(o)}, one direction",
    )


def _over(o: Offload) -> str:
    return f"{o.link.name} {show_rate(o.link.per_direction_bytes_per_s, 'B/s')}"


def _points(o: Offload) -> tuple[tuple[Column, ...], tuple[tuple[object, ...], ...]]:
    shape = o.overlapped_s.shape
    columns = (
        Column("batch", "batch", show_count),
        Column("ctx", "ctx", show_count),
        Column("host_bytes", "host GiB", show_gib),
        Column("host_read_bytes", "reads", show_bytes),
        Column("overlapped_s", "overlapped", lambda v: show_seconds(v, 4)),
        Column("serial_s", "serial", lambda v: show_seconds(v, 4)),
        Column("tokens_per_s", "tok/s", significant),
        Column("bound", "bound", left=True),
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
        "link_bytes_per_s": o.link.per_direction_bytes_per_s,
    }  # fmt: skip


def _outputs(o: Offload) -> dict[str, Any]:
    return {name: getattr(o, name) for name in OUTPUTS} | {"capacity_bytes": o.question.gpu.memory_bytes}
