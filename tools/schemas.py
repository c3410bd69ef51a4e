"""The JSON schemas of the database's files: what an editor checks, and completes, while a file is written.

A TOML file of the database names its schema in its first line (`#:schema ../schema/device.schema.json`), which Taplo and
the editors built on it read. Each schema is of a whole file: its sources, and its records by id.
"""

from __future__ import annotations

from typing import Any

from sol.sources.database.device_names import TotalsRecord
from sol.specs.calibration import Calibration
from sol.specs.engines import EngineRecord
from sol.specs.hardware import DeviceRecord
from sol.specs.libraries import LibraryRecord
from sol.specs.links import LinkTypeRecord
from sol.specs.prompts import PromptTimes
from sol.specs.record import Record, Source
from sol.specs.tables import FormatRecord, ModelRecord

Schema = dict[str, Any]
DRAFT = "http://json-schema.org/draft-07/schema#"  # the newest that all of these editors read
TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "number", "minimum": 0}
SOURCES: Schema = {"type": "object", "additionalProperties": {"$ref": "#/$defs/Source"}}


def schemas() -> dict[str, Schema]:
    """Every schema by its name."""
    records: dict[str, type[Record]] = {
        "device": DeviceRecord, "engine": EngineRecord, "format": FormatRecord, "library": LibraryRecord, "link": LinkTypeRecord,
        "model": ModelRecord, "total": TotalsRecord,
    }  # fmt: skip
    found = {name: _file(record.model_json_schema()) for name, record in records.items()}
    found["calibration"] = _calibrations()
    classes = _table({"type": "array", "items": TEXT}, closed=False)
    found["engine-class"] = _file_of({}, classes=classes, versions=_table({"another": NUMBER}))
    del found["engine-class"]["required"]
    prompts = PromptTimes.model_json_schema()
    prompts["$defs"]["Figure"] = {"anyOf": [NUMBER, prompts["$defs"]["Figure"]]}
    found["prompt-times"] = _file(prompts)
    default = _table({"engine": TEXT, "rows": NUMBER, "error": NUMBER})
    found["default-engine"] = _file_of({}, defaults=_table(default, closed=False))
    found["kernel"] = _file(_table(_table(_kernel(), closed=False), closed=False) | {"title": "KernelRates"})
    found["reported"] = _file(_table({"reported": TEXT, "source": TEXT}) | {"title": "Reported"})
    found["source"] = {"$schema": DRAFT, "$defs": {"Source": Source.model_json_schema()}, **SOURCES}
    return found


def _file(record: Schema) -> Schema:
    """A file of such records by id, and the sources they name."""
    defs = record.pop("$defs", {})
    name = record["title"]
    return {
        "$schema": DRAFT, "$defs": {**defs, "Source": Source.model_json_schema(), name: record}, "type": "object",
        "properties": {"sources": SOURCES}, "additionalProperties": {"$ref": f"#/$defs/{name}"},
    }  # fmt: skip


def _file_of(defs: Schema, **properties: Schema) -> Schema:
    """A file of these tables and no others."""
    return {"$schema": DRAFT, "$defs": defs, **_table(properties)}


def _table(fields: Schema, *, closed: bool = True) -> Schema:
    """A table of these fields, all needed; or, open, of any keys with one kind of value."""
    if not closed:
        return {"type": "object", "additionalProperties": fields}
    return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}


def _calibrations() -> Schema:
    """Calibrations as they stand in a file: a figure may be a plain number, id and sources are the file's, and no question was asked."""
    record = Calibration.model_json_schema()
    for field in ("id", "sources", "stands_for"):
        del record["properties"][field]
    record["$defs"]["Figure"] = {"anyOf": [NUMBER, record["$defs"]["Figure"]]}
    return _file(record)


def _kernel() -> Schema:
    """Rates of one class of kernels in one format."""
    figures: Schema = dict.fromkeys(("value", "low", "high", "n"), NUMBER)
    rate = _table({**figures, "printed": TEXT, "spread": {"type": "array", "items": NUMBER}})
    rate["required"] = ["value", "n"]
    fields = {"source": TEXT, "framework": TEXT, "launch_s": rate, "mbu": rate, "mfu": rate, "serial_mfu": NUMBER, "passes": NUMBER,
              "piece_s": NUMBER}  # fmt: skip
    entry = _table(fields | {"error": _table({"overlapped": NUMBER, "serial": NUMBER})})
    entry["required"] = ["source"]
    return entry
