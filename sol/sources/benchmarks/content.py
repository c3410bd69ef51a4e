"""A file as a stream of records, recognised by content: JSON, JSON lines, CSV, Parquet, or a log with data among its lines.

CSV, JSON lines and logs are read line by line. A JSON document is held whole, so its size is limited. Nothing here
depends on a tool, except that GenAI-Perf writes several tables into one CSV file.
"""

from __future__ import annotations

import csv
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from sol.errors import BadFile, short
from sol.sources.benchmarks.documents import MAX_DOCUMENT_BYTES, json_lines, json_values, parsed_line
from sol.sources.benchmarks.logs import log_records
from sol.sources.benchmarks.metric_tables import metric_tables
from sol.sources.tensors.tensor_files import shown

MAX_LINE_BYTES = 2**20
MAX_COLUMNS = 1000
BOM = b"\xef\xbb\xbf"


class Piece(NamedTuple):
    """One record and its place, or text that is not a record, with the reason."""

    where: str
    record: dict[str, Any]
    reason: str = ""


class Content(NamedTuple):
    """What a file holds: `columns` are those of a table (CSV, Parquet), None for records that bring their own keys."""

    columns: tuple[str, ...] | None
    pieces: Iterator[Piece]


@contextmanager
def opened(path: Path) -> Iterator[Content]:
    """The records of a file. Raises `BadFile`: no file, empty, not text, or a document too large to hold."""
    where = shown(path)
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for a writer
            raise BadFile(f"{where}: is not a file; give the path of a benchmark's output")
        file = path.open("rb")
    except FileNotFoundError:
        raise BadFile(f"no file '{where}'; give the path of a benchmark's output") from None
    except (OSError, ValueError) as error:
        raise BadFile(f"{where}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    with file:
        size = os.fstat(file.fileno()).st_size
        if not size:
            raise BadFile(f"{where}: is empty; give a table of measurements or a benchmark's output")
        if file.read(4) == b"PAR1":
            from sol.sources.benchmarks.parquet_file import parquet_content  # an extra

            columns, rows = parquet_content(path, where)
            yield Content(columns, (Piece(*row) for row in rows))
            return
        file.seek(0)
        yield _text_content(file, size, where)


def _text_content(file: BinaryIO, size: int, where: str) -> Content:
    lines = _lines(file, where)
    try:
        first_number, first = next((n, line) for n, line in lines if line.strip())
    except StopIteration:
        raise BadFile(f"{where}: is empty but for blanks; give a table of measurements or a benchmark's output") from None
    head = first.lstrip()
    if _is_json(head):
        whole = parsed_line(head)
        if whole is not None and file.tell() < size and isinstance(whole, dict):
            return Content(None, (Piece(*p) for p in json_lines(first_number, whole, lines)))
        if size > MAX_DOCUMENT_BYTES:
            limit = MAX_DOCUMENT_BYTES // 2**20
            raise BadFile(
                f"{where}: a JSON document of more than {limit} MiB; write one record per line (JSONL), or leave out per-request data"
            )
        file.seek(0)
        return Content(None, (Piece(*p) for p in json_values(_decoded(file.read(), where, 1), where)))
    tables = metric_tables(head, lines, where)
    if tables is not None:
        return Content(None, (Piece(*p) for p in tables))
    header = _header(head, where)
    if header is not None:
        return Content(header, _rows(header, lines, where))
    return Content(None, (Piece(*p) for p in log_records(_again(first_number, first, lines))))


def _is_json(head: str) -> bool:
    """Whether a file that begins so is JSON: an object, or an array of them; logs begin lines with words in brackets."""
    return head[0] == "{" or (head[0] == "[" and head[1:].lstrip()[:1] in ("", "{", "[", "]"))


def _again(number: int, line: str, rest: Iterator[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    yield number, line
    yield from rest


def _lines(file: BinaryIO, where: str) -> Iterator[tuple[int, str]]:
    """Each line with its number, decoded; no line longer than what a document may be is ever held."""
    number = 0
    while line := file.readline(MAX_DOCUMENT_BYTES + 1):
        number += 1
        if number == 1:
            if line[:2] in (b"\xff\xfe", b"\xfe\xff"):
                raise BadFile(f"{where}: is UTF-16 text, as PowerShell redirects; save it as UTF-8")
            line = line.removeprefix(BOM)
        if len(line) > MAX_LINE_BYTES and line.lstrip()[:1] not in (b"{", b"["):
            raise BadFile(
                f"{where}: line {number} is longer than {MAX_LINE_BYTES // 2**20} MiB; give the table or the log a benchmark wrote"
            )
        if len(line) > MAX_DOCUMENT_BYTES:
            raise BadFile(f"{where}: line {number} is longer than {MAX_DOCUMENT_BYTES // 2**20} MiB; leave out per-request data")
        yield number, _decoded(line, where, number)


def _decoded(data: bytes, where: str, line: int) -> str:
    try:
        return data.removeprefix(BOM).decode("utf-8")
    except UnicodeDecodeError:
        raise BadFile(f"{where}: line {line} is not UTF-8 text; give a benchmark's output as it wrote it, or save it as UTF-8") from None


def _header(line: str, where: str) -> tuple[str, ...] | None:
    """The column names of a CSV file; None where the line is no header: fewer than two plain names."""
    try:
        names = tuple(cell.strip() for cell in next(csv.reader([line])))
    except (csv.Error, StopIteration):
        return None
    if names and not names[-1]:
        names = names[:-1]  # gptManagerBenchmark ends its header with a comma
    if len(names) < 2 or not all(_is_name(n) for n in names):
        if any(sep in line and {"model", "gpu", "measured_s"} & {w.strip() for w in line.split(sep)} for sep in ";\t"):
            raise BadFile(f"{where}: columns are separated by ';' or tabs; separate them by commas")
        return None
    twice = sorted({n for n in names if names.count(n) > 1}) if len(names) <= MAX_COLUMNS else ["more than there may be"]
    if twice:
        raise BadFile(f"{where}: column {short(twice[0])} is there twice; name each column once")
    return names


def _is_name(cell: str) -> bool:
    """Whether a cell may be a column's name: a word of letters, digits and marks, no sentence and no number."""
    return 0 < len(cell) <= 60 and cell.count(" ") <= 1 and cell[0].isalpha() and cell.isprintable() and not set(cell) & set("[]{}:=|<>")


def _rows(header: tuple[str, ...], lines: Iterator[tuple[int, str]], where: str) -> Iterator[Piece]:
    """The rows below a header; one with another number of cells is text that is no record."""
    last = [1]

    def text() -> Iterator[str]:
        for number, line in lines:
            last[0] = number
            yield line

    reader = csv.reader(text(), strict=True)
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise BadFile(f"{where}: line {last[0]} is no row of a CSV file ({str(error).lower()}); a quote left open?") from None
        if not any(cell.strip() for cell in cells):
            continue
        place = f"line {last[0]}"
        if len(cells) == len(header):
            yield Piece(place, dict(zip(header, cells, strict=True)))
        else:
            told = f"{len(cells)} cells under {len(header)} columns"
            yield Piece(place, dict(zip(header, cells, strict=False)), told)
