"""The breakdown: operator rows, priced, as a table whose last line is their sum."""

from __future__ import annotations

from typing import Any

import numpy as np

from sol.physics.time.roofline import Priced, Times
from sol.tabular import Column, Table
from sol.units import show_bytes, show_flops, show_seconds


def operator_table(priced: Priced, times: Times) -> Table:
    """One line per operator: serial time and its share, compulsory bytes, FLOPs, and the resource that binds it."""
    lines = []
    for op, t in priced:
        bound = "network" if op.wire is not None else np.where(np.asarray(t.moved_s) >= np.asarray(t.peak_s), "memory", "compute")
        lines.append(
            (op.name, op.layers, _plain(t.serial_s), _plain(np.asarray(t.serial_s) / np.asarray(times.serial_s)),
             _plain(op.weight_bytes), _plain(op.kv_bytes), _plain(op.activation_bytes), _plain(op.flops), op.kernels,
             _plain(bound), _plain(t.wire_bytes))
        )  # fmt: skip
    total = (
        "total", None, _plain(times.serial_s), None, _plain(times.moved_weight_bytes), _plain(times.moved_kv_bytes),
        _plain(sum(np.asarray(op.activation_bytes) for op, _ in priced)), _plain(times.flops), sum(op.kernels for op, _ in priced), None,
        _plain(times.wire_bytes),
    )  # fmt: skip
    return Table(columns=OPERATOR_COLUMNS, rows=tuple(lines), total=total)


OPERATOR_COLUMNS = (
    Column("operator", "operator", left=True),
    Column("layers", "layers"),
    Column("serial_s", "time", lambda v: _each(v, show_seconds)),
    Column("share", "share", lambda v: _each(v, lambda x: f"{100 * x:.1f} %")),
    Column("moved_weight_bytes", "weights", lambda v: _each(v, show_bytes)),
    Column("moved_kv_bytes", "kv", lambda v: _each(v, show_bytes)),
    Column("activation_bytes", "activations", lambda v: _each(v, show_bytes)),
    Column("flops", "flops", lambda v: _each(v, show_flops)),
    Column("kernels", "kernels"),
    Column("bound", "bound", lambda v: _each(v, str), left=True),
    Column("wire_bytes", "sent", lambda v: _each(v, show_bytes)),
)


def _plain(value: Any) -> Any:
    array = np.asarray(value)
    if array.size == 1:
        return array.reshape(-1)[0].item()
    array.flags.writeable = False
    return array


def _each(value: Any, show: Any) -> str:
    """One value, or the range an array spans."""
    if not isinstance(value, np.ndarray):
        return str(show(value))
    if value.dtype.kind == "U":
        return "/".join(sorted(set(value.ravel().tolist())))
    return f"{show(float(value.min()))} … {show(float(value.max()))}"
