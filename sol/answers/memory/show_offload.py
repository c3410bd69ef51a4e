"""A step over two tiers as people read it: what each memory holds, reads and takes; or a line a point."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sol.tabular import Column, Table
from sol.units import show_bytes, show_count, show_gib, show_rate, show_seconds, significant

if TYPE_CHECKING:
    from sol.answers.memory.offload import Offload


def offload_table(o: Offload) -> Table:
    """One line a tier for a point, one line a point for a sweep."""
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
        f"both memories read at once, {'the bound' if o.is_bound else 'in expectation'}",
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
        Column("host_read_bytes", "read a step", show_bytes),
        Column("overlapped_s", "overlapped", lambda v: show_seconds(v, 4)),
        Column("serial_s", "serial", lambda v: show_seconds(v, 4)),
        Column("tokens_per_s", "tok/s", significant),
        Column("bound", "bound", left=True),
        Column("fits", "fits", lambda v: "fits" if v else "no", left=True),
    )
    values = (o.question.step.batch, o.question.ctx, *(getattr(o, c.key) for c in columns[2:]))
    flat = (np.broadcast_to(np.asarray(v, dtype=object if v is None else None), shape).ravel().tolist() for v in values)
    return columns, tuple(zip(*flat, strict=True))
