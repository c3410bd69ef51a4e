"""What an importer makes of one record, and how it reads the record's keys.

An importer maps a tool's own keys to the fields of a `Measurement` (where there is a `phase`) or of an
`Aggregate` (where there is a `metric`). It leaves out what the tool does not record: options fill that, or an error
asks for it. What cannot be read reliably is rejected, with the reason.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from sol.errors import short

RawRecord = Mapping[str, Any]
Given = Mapping[str, Any]
"""The options of `read_measurements` that were given, checked, by name."""


LARGEST = 1e21
"""No count, no number of nanoseconds and no parameter comes near."""


class Unreadable(Exception):
    """Why a record, or a part of one, is rejected; `lacks` are the options that would resolve it."""

    def __init__(self, reason: str, lacks: tuple[str, ...] = ()) -> None:
        super().__init__(reason)
        self.lacks = lacks


class Found(NamedTuple):
    """Fields as in `Measurement`, in seconds and tokens; assumptions; the part of the record; and further fields of an aggregate."""

    fields: dict[str, Any]
    assumes: tuple[str, ...] = ()
    part: str = ""
    needs: tuple[str, ...] = ()


class Refused(NamedTuple):
    """A rejected part of a record, and why."""

    reason: str
    part: str = ""


Finding = Found | Refused


class Tool(NamedTuple):
    """A tool whose output is read: how its records are recognised, and what they become.

    `rounded`: its records are printed figures, so equal records need not be copies.
    """

    name: str
    matches: Callable[[RawRecord], bool]
    read: Callable[[RawRecord, Given], Iterable[Finding]]
    rounded: bool = False


def number(record: RawRecord, key: str, *, least: float = 0.0) -> float:
    """A key's finite number, above zero unless `least` is below it; `Unreadable` names the key and what it holds."""
    value = optional_number(record, key)
    if value is None:
        raise Unreadable(f"{key} is missing")
    if not value > least:
        raise Unreadable(f"{key}={short(record[key])} is not above {least:g}")
    return value


def optional_number(record: RawRecord, key: str) -> float | None:
    """A key's finite number, None where the key is absent, null or empty. Text that is a number counts as one."""
    value = record.get(key)
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError
        read = float(value)
    except (ValueError, OverflowError):
        raise Unreadable(f"{key}={short(value)} is not a number") from None
    if not abs(read) < LARGEST:
        raise Unreadable(
            f"{key}={short(value)} is not a finite number" + ("" if math.isinf(read) or math.isnan(read) else f" below {LARGEST:g}")
        )
    return read


def from_ms(record: RawRecord, key: str) -> float | None:
    """A key's milliseconds in seconds; None where it is absent or 0, as tools write what they did not measure."""
    value = optional_number(record, key)
    return value / 1e3 if value else None


def count(record: RawRecord, key: str) -> int | None:
    """A key's whole number above zero, None where it is absent or null."""
    value = optional_number(record, key)
    if value is None:
        return None
    if not (value > 0 and value.is_integer()):
        raise Unreadable(f"{key}={short(record[key])} is not a whole number above 0")
    return int(value)


def text(record: RawRecord, key: str) -> str | None:
    """A key's text, None where it is absent, null or empty."""
    value = record.get(key)
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if not isinstance(value, str):
        raise Unreadable(f"{key}={short(value)} is not text")
    return value.strip()


TRUTHS = {"true": True, "yes": True, "1": True, "on": True, "false": False, "no": False, "0": False, "off": False}


def flag(record: RawRecord, key: str) -> bool | None:
    """A key's truth value, written as JSON, CSV (0, 1) or people do; None where it is absent or "unknown"."""
    value = record.get(key)
    if value is None or isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word in ("", "unknown", "none", "null"):
        return None
    if word not in TRUTHS:
        raise Unreadable(f"{key}={short(value)} is neither yes nor no")
    return TRUTHS[word]


def inner(record: RawRecord, *keys: str) -> RawRecord:
    """The object at a path of keys; an empty one where anything on the way is absent or no object."""
    for key in keys:
        value = record.get(key)
        if not isinstance(value, Mapping):
            return {}
        record = value
    return record
