"""Which library an engine's collectives run on: `hardware_db/collectives/`, by engine and version."""

from __future__ import annotations

from functools import lru_cache

from sol.errors import BadFile
from sol.sources.database.tomlfiles import data_root, read_toml
from sol.specs.calibration import Calibration
from sol.specs.engines import engine_family
from sol.specs.libraries import TABLES, Library, LibraryRecord
from sol.specs.record import Cite, Source, validated


@lru_cache(maxsize=1)
def libraries() -> dict[str, Library]:
    """Every library by id. Raises `BadFile`."""
    found = {}
    for path in sorted((data_root() / "collectives").glob("*.toml")):
        data = read_toml(path)
        sources = {key: validated(Source, table, f"{path.name}: [sources.{key}]") for key, table in data.pop("sources", {}).items()}
        for name, table in data.items():
            where = f"{path.name}: [{name}]"
            record = validated(LibraryRecord, table, where)
            missing = [s for s in (record.source, *(q.source for q in record.quantities().values())) if s not in sources]
            if missing:
                raise BadFile(f"{where}:", f"no source '{missing[0]}' in this file", f"add [sources.{missing[0]}]")
            cites = {
                field: Cite(value=q.value, source=sources[q.source], evidence=q.evidence, printed=q.printed, formula=q.formula, note=q.note)
                for field, q in record.quantities().items()
            }
            cites["engines"] = Cite(value=", ".join(record.engines), source=sources[record.source])
            plain = {field: {k: q.value for k, q in getattr(record, field).items()} for field in TABLES}
            said = record.model_dump(include={"name", "engines", "exchange", "fastest", "ranks", "pairs_over_host", "note"})
            found[name] = Library(id=name, **said, **plain, cites=cites)
    return found


def library_of(engine: str, version: str = "") -> Library | None:
    """The library of an engine, in one version where that differs; None for an engine of which nothing is known."""
    named = {name: library for library in libraries().values() for name in library.engines}
    return next((named[n] for n in (f"{engine}@{version}", engine, engine_family(engine)) if n in named), None)


def library_for(calibration: Calibration) -> Library | None:
    """The library whose collectives a calibration's engine runs."""
    engine, _, version = (calibration.collectives or calibration.engine).strip().lower().partition("@")
    return library_of(engine, version)


@lru_cache(maxsize=256)
def with_collectives(calibration: Calibration, engine: str) -> Calibration:
    """The same calibration with the collectives of another engine, or of one version of its own."""
    return calibration.model_copy(update={"collectives": engine})
