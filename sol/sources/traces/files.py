"""The columns of a trace's file: CSV, JSON lines, one JSON document of arrays or of records, or Parquet; recognised by content."""

from __future__ import annotations

import csv
import importlib
import io
import json
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sol.errors import BadFile
from sol.sources.tensors.tensor_files import shown

MOST_BYTES = 2**30
"""A text file may be so large; larger traces are for Parquet."""


def columns_of(path: Path) -> dict[str, list[Any]]:
    """Every column by its name, with the values as they are written. Raises `BadFile`."""
    where = shown(path)
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for a writer
            raise BadFile(f"{where}: is not a file", action="give the path of a trace")
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(4)
    except FileNotFoundError:
        raise BadFile(f"no file '{where}'", action="give the path of a trace of requests") from None
    except (OSError, ValueError) as error:
        raise BadFile(f"{where}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    if not size:
        raise BadFile(f"{where}: is empty", action="give a trace with a line for each request")
    if start == b"PAR1":
        return _parquet(path, where)
    if size > MOST_BYTES:
        raise BadFile(f"{where}: has more than {MOST_BYTES // 2**20} MiB of text", action="store it as Parquet")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadFile(f"{where}: is not UTF-8 text", action="save it as UTF-8, or as Parquet") from None
    head = text.lstrip()[:1]
    if not head:
        raise BadFile(f"{where}: is empty but for blanks", action="give a trace with a line for each request")
    return _json(text, where) if head in "{[" else _csv(text, where)


def _csv(text: str, where: str) -> dict[str, list[Any]]:
    rows = [row for row in csv.reader(io.StringIO(text)) if any(cell.strip() for cell in row)]
    names = [name.strip() for name in rows[0]]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise BadFile(f"{where}: column '{twice[0]}' is there twice", action="name each column once")
    for number, row in enumerate(rows[1:], 2):
        if len(row) != len(names):
            raise BadFile(f"{where}: row {number} has {len(row)} cells under {len(names)} columns")
    return {name: [row[i] for row in rows[1:]] for i, name in enumerate(names)}


def _json(text: str, where: str) -> dict[str, list[Any]]:
    try:
        whole = json.loads(text)
    except ValueError:
        return _lines(text, where)
    if isinstance(whole, list):
        return _of_records(whole, where)
    if isinstance(whole, Mapping) and not any(isinstance(v, list) for v in whole.values()):
        return _of_records([whole], where)
    lists = {k: v for k, v in whole.items() if isinstance(v, list)} if isinstance(whole, Mapping) else {}
    if not lists:
        raise BadFile(f"{where}: holds no columns", action="give one JSON record a line, or an object of arrays")
    return lists


def _lines(text: str, where: str) -> dict[str, list[Any]]:
    records = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                records.append(json.loads(line))
            except ValueError:
                raise BadFile(f"{where}: line {number} is not JSON", action="give one JSON record a line") from None
    return _of_records(records, where)


def _of_records(records: Iterable[Any], where: str) -> dict[str, list[Any]]:
    kept = list(records)
    if not kept:
        raise BadFile(f"{where}: holds no request", action="give a record for each request")
    for number, record in enumerate(kept, 1):
        if not isinstance(record, Mapping):
            raise BadFile(f"{where}: record {number} is not an object with a name for each value")
    names = dict.fromkeys(name for record in kept for name in record)
    return {name: [record.get(name) for record in kept] for name in names}


def _parquet(path: Path, where: str) -> dict[str, list[Any]]:
    try:
        parquet = importlib.import_module("pyarrow.parquet")
        arrow = importlib.import_module("pyarrow")
    except ImportError:
        raise BadFile(f"{where}: reading Parquet needs the pyarrow package; pip install 'llm-sol[parquet]'") from None
    try:
        table = parquet.read_table(path)
    except (arrow.ArrowException, OSError, ValueError) as error:
        raise BadFile(f"{where}: is not a Parquet file that can be read ({str(error).splitlines()[0].lower()})") from None
    columns: dict[str, list[Any]] = table.to_pydict()
    return columns
