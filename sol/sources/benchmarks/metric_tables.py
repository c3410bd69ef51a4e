"""The CSV of GenAI-Perf and AIPerf: several small tables in one file, a metric per row. Read as one record."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from typing import Any

from sol.errors import BadFile

HEADS = ("Metric,avg,min,max,", "Metric,Value")
NAME = re.compile(r"(.*?)(?: \(([^()]*)\))?")
MAX_METRICS = 10_000


def metric_tables(first: str, lines: Iterator[tuple[int, str]], where: str) -> Iterator[tuple[str, dict[str, Any], str]] | None:
    """The file's one record, {"csv": …, metric: {"unit": …, "avg": …}}; None where its first line is no such header."""
    return _record(first, lines, where) if first.startswith(HEADS) else None


def _record(first: str, lines: Iterator[tuple[int, str]], where: str) -> Iterator[tuple[str, dict[str, Any], str]]:
    header = next(csv.reader([first]))
    found: dict[str, Any] = {"csv": "GenAI-Perf or AIPerf"}
    for number, line in lines:
        try:
            cells = next(csv.reader([line], strict=True), [])
        except csv.Error as error:
            raise BadFile(f"{where}: line {number} is no row of a CSV file ({str(error).lower()})") from None
        if not cells or not cells[0].strip():
            continue
        if cells[0] in ("Metric", "Endpoint"):
            header = cells
            continue
        if header[0] != "Metric":
            continue  # the telemetry of devices
        values = dict(zip([h.strip().lower() for h in header], cells, strict=False))
        match = NAME.fullmatch(cells[0].strip())
        assert match is not None  # every text matches
        key, average = match[1].strip().lower().replace(" ", "_"), values.get("avg", values.get("value", ""))
        if average.strip().upper() != "N/A":
            found[key] = {"unit": match[2] or "", "avg": average.replace(",", "")}
        if len(found) > MAX_METRICS:
            raise BadFile(f"{where}: more than {MAX_METRICS:,} metrics; not the output of GenAI-Perf or AIPerf")
    yield "the file", found, ""
