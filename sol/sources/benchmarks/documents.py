"""Records from JSON: values one after another in a document, or one per line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from sol.errors import BadFile, short

MAX_DOCUMENT_BYTES = 64 * 2**20
GAP = re.compile(r"\s*")
Place = tuple[str, dict[str, Any], str]
"""The place of a record, the record, and why it is not one ("" if it is)."""

DECODER = json.JSONDecoder()  # which takes the bare word Infinity that SGLang writes; reading a number refuses what is not finite
BROKEN = (ValueError, RecursionError)


def parsed_line(line: str) -> Any:
    """The JSON value a line is; None where it is none, or null."""
    try:
        return json.loads(line)
    except BROKEN:
        return None


def json_lines(number: int, first: dict[str, Any], lines: Iterator[tuple[int, str]]) -> Iterator[Place]:
    """One record per line; a line that is not a record gives its place and the reason."""
    yield f"line {number}", first, ""
    for at, line in lines:
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except BROKEN as error:
            yield f"line {at}", {"text": line.strip()[:200]}, f"is not valid JSON ({_why(error)})"
            continue
        yield from _records(value, f"line {at}")


def json_values(text: str, where: str) -> Iterator[Place]:
    """The records of a document: an object, an array of them, or several one after another.

    An array that ends too soon (a run that was broken off) keeps the records before its end.
    """
    at, count = _skip(text, 0), 0
    while at < len(text):
        if text[at] == "[":
            at = _skip(text, at + 1)
            while at < len(text) and text[at] != "]":
                value, at = _value(text, at, where, count)
                if at < 0:
                    yield f"record {count + 1}", {}, f"the file ends, or breaks off, within it ({value})"
                    return
                count += 1
                yield from _records(value, f"record {count}")
                at = _skip(text, at)
                if at < len(text) and text[at] == ",":
                    at = _skip(text, at + 1)
                elif at < len(text) and text[at] != "]":
                    yield f"record {count + 1}", {}, f"no comma before it, at character {at + 1}"
                    return
            if at >= len(text):
                yield f"record {count + 1}", {}, "the file ends before the array does"
                return
            at = _skip(text, at + 1)
        else:
            value, at = _value(text, at, where, count)
            if at < 0:
                yield f"record {count + 1}", {}, f"is not valid JSON ({value})"
                return
            count += 1
            yield from _records(value, f"record {count}")
            at = _skip(text, at)


def _value(text: str, at: int, where: str, count: int) -> tuple[Any, int]:
    """The value at a position and where it ends; the reason and −1 where it is broken. `BadFile` if nothing came before it."""
    try:
        return DECODER.raw_decode(text, at)
    except BROKEN as error:
        if not count:
            raise BadFile(f"{where}: is not valid JSON ({_why(error)}); if the run was cut short, run it again") from None
        return _why(error), -1


def _records(value: Any, where: str) -> Iterator[Place]:
    if isinstance(value, dict):
        yield where, value, ""
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from (
                _records(item, f"{where}[{i}]")
                if isinstance(item, dict)
                else [(f"{where}[{i}]", {}, f"holds {short(item)}, which is not a record")]
            )
    else:
        yield where, {}, f"holds {short(value)}, which is not a record"


def _skip(text: str, at: int) -> int:
    found = GAP.match(text, at)
    return found.end() if found else at


def _why(error: BaseException) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error).splitlines()[0].lower()
