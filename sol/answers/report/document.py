"""Results as plain JSON: the envelope every answer has, and the values of points and sweeps inside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sol.tabular import Column, Table, document, plain

__all__ = ["document", "listed", "one_row_a_point", "plain"]


def listed(values: Mapping[str, Any], is_point: bool) -> dict[str, Any]:
    """Named values as JSON has them: arrays as lists, and as plain numbers where the result `is_point`."""
    return {name: plain(_first(v) if is_point else v) for name, v in values.items()}


def one_row_a_point(values: Mapping[str, Any], shape: tuple[int, ...]) -> Table:
    """Named values of a sweep of this shape as a table, one row per point in the order of its points; single values are repeated."""
    shape = shape or (1,)
    flat = [np.broadcast_to(np.asarray(v, dtype=None if _is_numeric(v) else object), shape).ravel().tolist() for v in values.values()]
    return Table(columns=tuple(Column(name, name) for name in values), rows=tuple(zip(*flat, strict=True)))


def _first(value: Any) -> Any:
    return value.reshape(-1)[0].item() if isinstance(value, np.ndarray) else value


def _is_numeric(value: Any) -> bool:
    return isinstance(value, np.ndarray | float | int)
