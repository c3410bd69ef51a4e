"""Cells of the database's CSV tables: words, choices and numbers, each checked where it is read.

Every function takes a record of the table, a column and the place of the line; what is wrong is one `BadFile` line.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from sol.errors import BadFile

Row = TypeVar("Row")


def rows_of(path: Path, columns: tuple[str, ...], row: Callable[[dict[str, str], str], Row]) -> list[Row]:
    """Every line of a table, made into a row by `row(record, place)`; the header may name no other columns."""
    with path.open(encoding="utf-8", newline="") as lines:
        table = csv.DictReader(lines)
        unknown = set(table.fieldnames or ()) - set(columns)
        if unknown:
            raise BadFile(f"{path.name}:", f"column {min(unknown)} is not one of {', '.join(columns)}")
        return [row(whole(record, place), place) for record in table for place in [f"{path.name} line {table.line_num}"]]


def whole(record: dict[str, str], where: str) -> dict[str, str]:
    """The record itself, with no more cells than columns."""
    if None in record:
        raise BadFile(f"{where}:", "more cells than columns", "put a text that holds commas in quotes")
    return record


def word(record: dict[str, str], key: str, where: str) -> str:
    """A text that must be there."""
    if not record[key]:
        raise BadFile(f"{where}:", f"no {key}", "a row without it cannot be compared or cited")
    return record[key]


def one_of(record: dict[str, str], key: str, words: tuple[str, ...], where: str) -> str:
    """A text that must be one of `words`."""
    if record[key] not in words:
        raise BadFile(f"{where}:", f"{key}={record[key]!r} is not one of {', '.join(w or 'nothing' for w in words)}")
    return record[key]


def needed(record: dict[str, str], key: str, where: str) -> float:
    """A number above 0 that must be there."""
    found = number(record, key, where)
    if not found:
        raise BadFile(f"{where}:", f"{key}={record[key]!r} is not a number above 0")
    return found


def ways(record: dict[str, str], key: str, where: str) -> int:
    """A degree of a split; 1 where the cell is empty."""
    found = number(record, key, where) or 1.0
    if not found.is_integer():
        raise BadFile(f"{where}:", f"{key}={record[key]!r} is not a whole number")
    return int(found)


def number(record: dict[str, str], key: str, where: str) -> float | None:
    """A finite number of 0 or more; None where the cell is empty."""
    text = record.get(key) or ""
    try:
        found = float(text) if text else None
    except ValueError:
        found = -1.0
    if found is not None and not 0 <= found < float("inf"):
        raise BadFile(f"{where}:", f"{key}={text!r} is not a number of 0 or more")
    return found
