"""Devices that satisfy a condition: `vendor=nvidia`, `memory>=80GiB`, `bandwidth>2TB/s`, `bf16>100TFLOPS`, `fp8`."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable
from typing import Any

from sol.errors import InvalidInput
from sol.specs.hardware import GPU
from sol.units import parse_amount

_CONDITION = re.compile(r"\s*([a-z_0-9]+)\s*(?:(>=|<=|!=|=|>|<)\s*(.+?)\s*)?\Z", re.I)
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt, "=": operator.eq, "!=": operator.ne,
}  # fmt: skip
WORDS = ("vendor", "kind", "architecture", "line")
NUMBERS: dict[str, Callable[[GPU], float | None]] = {
    "memory": lambda g: g.memory_bytes,
    "bandwidth": lambda g: g.memory_bytes_per_s,
    "tdp": lambda g: g.tdp_w,
    "year": lambda g: None if g.year is None else float(g.year),
    "cache": lambda g: g.last_level_cache_bytes,
}
FORMATS = ("fp64", "fp32", "tf32", "bf16", "fp16", "fp8", "fp6", "fp4", "int8", "int4")


def matching(gpus: Iterable[GPU], conditions: Iterable[str]) -> list[GPU]:
    """The devices that satisfy every condition. A device without a sourced value satisfies no condition on it.

    Raises `InvalidInput` for a condition that is not understood.
    """
    tests = [_test(c) for c in conditions]
    return [g for g in gpus if all(t(g) for t in tests)]


def _test(condition: str) -> Callable[[GPU], bool]:
    match = _CONDITION.match(condition)
    field = match.group(1).lower() if match else ""
    if match is None or field not in (*WORDS, *NUMBERS, *FORMATS):
        known = ", ".join((*WORDS, *NUMBERS, *FORMATS))
        raise InvalidInput(
            f"where '{condition}'", "is not understood", f"write FIELD, FIELD=VALUE or FIELD>VALUE with FIELD one of {known}"
        )
    compare, value = match.group(2), match.group(3)
    if field in WORDS:
        if compare not in ("=", "!="):
            raise InvalidInput(f"where '{condition}':", f"{field} is a word", "compare it with = or !=")
        return lambda g: _COMPARE[compare](getattr(g, field).lower(), value.lower())
    read: Callable[[GPU], float | None] = NUMBERS[field] if field in NUMBERS else (lambda g: g.peak(field))
    if compare is None:
        return lambda g: read(g) is not None
    wanted = parse_amount(value, f"where {field}")
    return lambda g: (have := read(g)) is not None and _COMPARE[compare](have, wanted)
