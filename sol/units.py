"""How quantities are read and shown. Inside the package everything is SI: seconds, bytes, FLOP.

There are no unit objects; names carry the unit (`_s`, `_bytes`).
"""

from __future__ import annotations

import math
import re
from typing import Literal

from sol.errors import InvalidInput

KIB, MIB, GIB = 2.0**10, 2.0**20, 2.0**30

_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_DECIMAL = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12, "p": 1e15, "e": 1e18}
_BINARY = {"ki": KIB, "mi": MIB, "gi": GIB, "ti": 2.0**40}
_NUMBER = re.compile(r"\s*([-+]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*([^\s\d]*)\s*\Z")


def _split(text: str, field: str, example: str) -> tuple[float, str]:
    match = _NUMBER.match(text)
    if match is None:
        raise InvalidInput(f"{field} '{text}'", "is not a number", f"write it like {example}")
    value = float(match.group(1).replace("_", ""))
    if not math.isfinite(value):
        raise InvalidInput(f"{field} '{text}'", "is too large to be a number", f"write it like {example}")
    return value, match.group(2)


def parse_count(text: str, field: str) -> float:
    """A count of tokens or sequences [1]; `k` and `M` are binary, as people say them of contexts.

    >>> parse_count("128k", "ctx")
    131072.0
    """
    value, unit = _split(text, field, "2048 or 128k")
    scale = {"": 1.0, "k": KIB, "m": MIB}.get(unit.lower())
    if scale is None:
        raise InvalidInput(f"{field} '{text}'", f"has an unknown unit '{unit}'", "write it like 2048 or 128k")
    return value * scale


def parse_seconds(text: str, field: str) -> float:
    """A time as people type it [s]: 16.97ms, 0.02s, 250us; without a unit, seconds.

    >>> parse_seconds("16.97ms", "measured")
    0.01697
    """
    value, unit = _split(text, field, "16.97ms or 0.5s")
    scale = _SECONDS.get(unit.lower() or "s")
    if scale is None:
        raise InvalidInput(f"{field} '{text}'", f"has an unknown unit '{unit}'", "write it like 16.97ms or 0.5s")
    return value * scale


def parse_measured(text: str, field: str, *, tokens: float, sequences: float) -> float:
    """The time of a step as people type it [s]: as in `parse_seconds`, or as a rate.

    `tok/s` is a rate of all sequences together: the step's `tokens` over it; `tok/s/user` is one sequence's.

    >>> parse_measured("64tok/s", "measured", tokens=8, sequences=8), parse_measured("64 tok/s/user", "measured", tokens=8, sequences=8)
    (0.125, 0.015625)
    """
    value, unit = _split(text, field, "16.97ms or 59tok/s")
    told = {"tok/s": tokens, "t/s": tokens, "tokens/s": tokens, "tok/s/user": tokens / sequences}.get(unit.lower())
    if told is None:
        if "tok" in unit.lower():
            raise InvalidInput(f"{field} '{text}'", f"has an unknown unit '{unit}'", "rates are tok/s of all sequences, or tok/s/user")
        return parse_seconds(text, field)
    if not value > 0.0:
        raise InvalidInput(f"{field} '{text}'", "is not a rate that a step can have", "it must be above 0")
    return told / value


def told_as(text: str) -> Literal["time", "rate", "rate/user"]:
    """How a measured time was told, in text that `parse_measured` takes.

    >>> told_as("16.97ms"), told_as("59 tok/s"), told_as("59tok/s/user")
    ('time', 'rate', 'rate/user')
    """
    lower = text.lower()
    return "rate/user" if "/user" in lower else "rate" if "/s" in lower else "time"


def parse_printed(printed: str, unit: str = "") -> float:
    """The first number of a source's own words, in SI base units; 0 where there is none.

    `unit` is the unit where it stands in a table's header instead. Decimal prefixes are powers of ten,
    binary ones (Ki, Mi, Gi, Ti) powers of two, of bytes, FLOP, operations, hertz or watts, with or
    without "/s". A word that is no such unit counts as none.

    >>> parse_printed("3.35TB/s"), parse_printed("81559MiB"), parse_printed("1,979", unit="teraFLOPS")
    (3350000000000.0, 85520809984.0, 1979000000000000.0)
    """
    match = _PRINTED.search(printed)
    if match is None:
        return 0.0
    return float(match.group(1).replace(",", "")) * (_prefix(unit or match.group(2)) or 1.0)


def parse_amount(text: str, field: str) -> float:
    """An amount as people type it, in SI base units: 80GiB, 2TB/s, 100TFLOPS, 300W, 2e12.

    Raises `InvalidInput` for a unit that is none of bytes, FLOP, operations, hertz or watts.

    >>> parse_amount("80GiB", "memory"), parse_amount("2e12", "bandwidth")
    (85899345920.0, 2000000000000.0)
    """
    value, unit = _split(text, field, "80GiB, 2TB/s, 100TFLOPS or 300W")
    scale = _prefix(unit) if unit else 1.0
    if scale is None:
        raise InvalidInput(f"{field} '{text}'", f"has an unknown unit '{unit}'", "write it like 80GiB, 2TB/s, 100TFLOPS or 300W")
    return value * scale


_PRINTED = re.compile(r"(\d[\d,]*\.?\d*)[\s\u00a0-]*([A-Za-zµ/]*)")
_BASE_UNITS = ("flops", "flop", "ops", "op", "bytes", "byte", "b", "hz", "watts", "w")
_WORDS = {"kilo": "k", "mega": "m", "giga": "g", "tera": "t", "peta": "p"}


def _prefix(unit: str) -> float | None:
    """The scale of a unit; None for an unknown unit."""
    word = unit.lower().removesuffix("/sec").removesuffix("/s")
    for base in _BASE_UNITS:
        if word.endswith(base):
            stem = word.removesuffix(base)
            stem = _WORDS.get(stem, stem)
            scale = _BINARY.get(stem, _DECIMAL.get(stem))
            if scale is not None:
                return scale
    return None


def _scaled(value: float, steps: tuple[tuple[float, str], ...]) -> str:
    for scale, unit in steps:
        if abs(value) >= scale:
            return f"{significant(value / scale)} {unit}"
    scale, unit = steps[-1]
    return f"{significant(value / scale)} {unit}"


def significant(value: float, digits: int = 3) -> str:
    """A number with `digits` significant digits and no exponent (4.256 → "4.26", 139.2 → "139")."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else str(value)
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{decimals}f}"


def show_count(value: float) -> str:
    """A count as people write it: whole numbers with commas, averages as they are (2048 → "2,048")."""
    return f"{value:,.0f}" if value == int(value) else f"{value:g}"


def show_seconds(value: float, digits: int = 3) -> str:
    """Seconds in the unit a reader expects: s, ms or µs."""
    for scale, unit in ((1.0, "s"), (1e-3, "ms")):
        if abs(value) >= scale:
            return f"{significant(value / scale, digits)} {unit}"
    return f"{significant(value / 1e-6, digits)} µs"


def show_bytes(value: float) -> str:
    """Bytes in decimal units (1 GB = 1e9 B)."""
    return _scaled(value, ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B")))


def show_gib(value: float) -> str:
    """Bytes in GiB (2**30 B), one decimal: what nvidia-smi and engine logs print."""
    return f"{value / GIB:,.1f}"


def show_flops(value: float) -> str:
    """A FLOP count with its prefix (the unit is the column's)."""
    return _scaled(value, ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, "")))


def show_rate(value: float, unit: str) -> str:
    """A rate with its prefix, e.g. "3.35 TB/s", "989 TFLOP/s"."""
    return _scaled(value, ((1e15, f"P{unit}"), (1e12, f"T{unit}"), (1e9, f"G{unit}"), (1e6, f"M{unit}"), (1.0, unit)))
