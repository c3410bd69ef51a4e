"""A trace as arrays under our own names, from a file or from columns in memory."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from sol.errors import BadFile, InvalidInput, SolError, short
from sol.sources.tensors.tensor_files import shown
from sol.sources.traces.columns import NAMES, NEEDED, factor, meant
from sol.sources.traces.files import columns_of
from sol.specs.quantities import Array


def read_trace(path: str | Path, needed: tuple[str, ...] = NEEDED) -> dict[str, Array]:
    """The columns of a trace's file under our names, all of one length. Raises `BadFile`."""
    place = Path(path).expanduser()
    return named_columns(columns_of(place), f"{shown(place)}:", BadFile, needed)


def named_columns(
    given: Mapping[str, Any], where: str = "requests", error: type[SolError] = InvalidInput, needed: tuple[str, ...] = NEEDED
) -> dict[str, Array]:  # fmt: skip
    """Columns under our names as float64 arrays; single numbers are repeated. Raises `error`, one line."""
    names = {str(name).strip().lower() for name in given}
    found: dict[str, Array] = {}
    for name in given:
        ours = meant(str(name))
        if ours is None:
            continue
        if ours in found:
            raise error(f"{where} '{name}'", f"is a second column for {ours}", "leave one of them out")
        found[ours] = _numbers(str(name), given[name], names, where, error)
    if "itls" in given and "output_tokens" in found and "tpot_s" not in found:  # vllm bench serve: the gaps of each request
        found["tpot_s"] = np.array([float(np.mean(gaps)) if len(gaps) else np.nan for gaps in given["itls"]])
    missing = [name for name in needed if name not in found]
    if missing:
        others = ", ".join(NAMES[missing[0]][:4])
        raise error(f"{where}", f"no column {missing[0]}", f"name it so, or as other traces do: {others}")
    size = max(column.size for column in found.values())
    for name, column in found.items():
        if column.size not in (1, size):
            raise error(f"{where} {name}", f"has {column.size} values, and others have {size}")
    if "arrival_s" in needed and found["arrival_s"].size != size:
        raise error(f"{where} arrival_s", "is one time for all requests", "give one for each, as by sol.arrivals(…)")
    if not size:
        raise error(f"{where}", "holds no request", "give a line for each request")
    return {name: np.broadcast_to(column, (size,)) for name, column in found.items()}


def _numbers(name: str, values: Any, names: set[str], where: str, error: type[SolError]) -> Array:
    scale = factor(name, names)
    listed = values.tolist() if hasattr(values, "tolist") else values
    listed = listed if isinstance(listed, list | tuple) else [listed]
    try:
        array = np.array(listed, dtype=np.float64)
        if array.ndim != 1 or any(isinstance(v, bool) for v in listed):
            raise TypeError
    except (TypeError, ValueError):
        array = _one_by_one(name, listed, where, error)
        scale = 1.0 if scale is None else scale
    if scale is None:
        raise error(f"{where} '{name}'", "does not say its unit", "name it arrival_s, or timestamp_ms")
    return array if scale == 1.0 else array * scale


def _one_by_one(name: str, listed: Any, where: str, error: type[SolError]) -> Array:
    """Numbers among which some are missing (NaN), or dates as seconds."""
    found = []
    for number, value in enumerate(listed, 1):
        seconds = _seconds(value)
        if seconds is None:
            raise error(f"{where} row {number}:", f"{name} {short(value)} is not a number", "write numbers without units")
        found.append(seconds)
    return np.array(found, dtype=np.float64)


def _seconds(value: Any) -> float | None:
    """One value of a column: a number, a moment as seconds, NaN where there is none; None for anything else."""
    if value is None or value == "":
        return float("nan")
    if isinstance(value, bool):
        return None
    if isinstance(value, datetime):
        return value.timestamp()
    try:
        return float(value)
    except (TypeError, ValueError):
        return _moment(str(value).strip())


def _moment(text: str) -> float | None:
    """A date with a time as seconds; Azure writes seven digits of a second, one more than Python reads."""
    head, dot, rest = text.partition(".")
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    try:
        return datetime.fromisoformat(head + (f".{digits[:6]}" if dot else "") + rest[len(digits) :]).timestamp()
    except ValueError:
        return None
