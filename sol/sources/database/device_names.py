"""What drivers and runtimes report of devices: the names that logs call a GPU, and the memory that engines count on it."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from pydantic import Field

from sol.errors import BadFile
from sol.sources.database.database import fold
from sol.sources.database.tomlfiles import data_root, read_toml
from sol.specs.record import Cite, Quantity, Record, Source, validated


class TotalsRecord(Record):
    """The memory a runtime counts on one device [B], as logs print it: one reading a log, largest first."""

    totals: tuple[Quantity, ...] = Field(min_length=1)


def reported_gpu(name: str) -> str | None:
    """The id of the device whose driver reports this very name; None where none is known to, or several do.

    >>> reported_gpu("NVIDIA GeForce RTX 4090"), reported_gpu("NVIDIA GeForce RTX 3080")
    ('rtx-4090', None)
    """
    return _reported().get(fold(name))


def reported_totals(gpu_id: str) -> tuple[Quantity, ...]:
    """What runtimes call the total memory of a device [B], largest first; none where no log was read.

    An engine's fraction is of this number: the driver keeps a part of `memory_bytes` back, and how much
    follows its version.

    >>> [round(q.value / 2**30, 2) for q in reported_totals("rtx-4090")]
    [23.65, 23.64, 23.52]
    """
    return _totals().get(gpu_id, ())


@lru_cache(maxsize=64)
def least_total(gpu_id: str) -> Cite | None:
    """The least memory that a runtime was seen to count on a device [B], and where; None where no log was read.

    >>> round(least_total("rtx-4090").value / 2**30, 2)
    23.52
    """
    readings = reported_totals(gpu_id)
    if not readings:
        return None
    q = min(readings, key=lambda reading: reading.value)
    table = read_toml(data_root() / "reported" / "totals.toml")["sources"][q.source]
    source = validated(Source, table, f"totals.toml: [sources.{q.source}]")
    return Cite(value=q.value, source=source, evidence=q.evidence, printed=q.printed, formula=q.formula, note=q.note)


@lru_cache(maxsize=1)
def _reported() -> dict[str, str]:
    names: dict[str, str] = {}
    for gpu_id, record in _records("drivers.toml").items():
        if names.setdefault(fold(record["reported"]), gpu_id) != gpu_id:
            raise BadFile("drivers.toml:", f"'{record['reported']}' is the name of two devices", "leave it out")
    return names


@lru_cache(maxsize=1)
def _totals() -> dict[str, tuple[Quantity, ...]]:
    return {
        gpu_id: validated(TotalsRecord, record, f"totals.toml: [{gpu_id}]").totals for gpu_id, record in _records("totals.toml").items()
    }


def _records(file: str) -> dict[str, dict[str, Any]]:
    """The records of a file of `reported/` by device; `BadFile` for one that names no source of the file."""
    data = read_toml(data_root() / "reported" / file)
    sources = data.pop("sources", {})
    for gpu_id, record in data.items():
        for reading in record.get("totals", (record,)):
            if reading["source"] not in sources:
                raise BadFile(f"{file}:", f"[{gpu_id}] no source '{reading['source']}' in this file")
    return data
