"""The engines of the database: what each takes of a device, at the version it was read at and at older ones."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from sol.errors import BadFile, UnknownName, nearest
from sol.sources.database.database import fold
from sol.sources.database.schedulers import resolved_scheduler
from sol.sources.database.tomlfiles import data_root, read_toml
from sol.specs.engines import NUMBERS, Engine, EngineRecord, version_numbers
from sol.specs.record import Cite, Source, validated
from sol.specs.scheduler import Scheduler, SchedulerRecord


def engine_ids() -> list[str]:
    """Every engine id."""
    return list(_engines())


def load_engine(name: str) -> Engine:
    """The engine with this id or alias, as it was read last; `id@version` is the engine of that version, as far as versions differ.

    A version that nobody read is the nearest one that was. Raises `UnknownName`.

    >>> load_engine("vllm").block_tokens
    16.0
    >>> load_engine("vllm@0.16").memory_fraction
    0.9
    """
    base, at, version = fold(name).partition("@")
    ages = _named().get(base)
    if ages is None:
        raise UnknownName(
            f"no engine '{name}'", action=f"known: {', '.join(engine_ids())}", name=base, suggestions=nearest(base, engine_ids())
        )
    newest = ages[None]
    if not at:
        return newest
    asked = version_numbers(version)
    if asked is None:
        like = ", ".join(f"{newest.id}@{v}" for v in newest.versions)
        raise UnknownName(f"no version '{version}' of {newest.id}", action=f"it has, up to each: {like}", name=version)
    last = next((v for v in newest.versions if asked[: len(v.split("."))] <= (version_numbers(v) or ())), newest.version)
    return _aged(newest.id, last, version)


def is_engine(name: str) -> bool:
    """Whether an engine has this id or alias, with any version after it."""
    return fold(name).partition("@")[0] in _named()


@lru_cache(maxsize=256)
def _aged(engine_id: str, last: str, version: str) -> Engine:
    engine = _engines()[engine_id][last]
    return engine.model_copy(update={"id": f"{engine_id}@{version}", "version": version, "scheduler": scheduler_of(engine_id, version)})


@lru_cache(maxsize=1)
def _named() -> dict[str, dict[str | None, Engine]]:
    return {fold(name): ages for ages in _engines().values() for name in (ages[None].id, *ages[None].aliases)}


@lru_cache(maxsize=1)
def _engines() -> dict[str, dict[str | None, Engine]]:
    """Each engine by the last version that its numbers hold for; as it was read last under None and under its own version."""
    engines = {}
    for path in sorted((data_root() / "engines").glob("*.toml")):
        data = read_toml(path)
        sources = {key: validated(Source, table, f"{path.name}: [sources.{key}]") for key, table in data.pop("sources", {}).items()}
        for engine_id, table in data.items():
            where = f"{path.name}: [{engine_id}]"
            record = validated(EngineRecord, table, where)
            last = sorted(record.until, key=lambda v: version_numbers(v) or ())
            versions = (*last, record.version)
            ages: dict[str | None, Engine] = {record.version: _engine(engine_id, record, versions, sources, where)}
            ages[None] = ages[record.version]
            for version in last:
                older = {k: v for k, v in table.items() if k != "until"} | dict(table["until"][version]) | {"version": version}
                at = f"{where[:-1]}.until.'{version}']"
                ages[version] = _engine(engine_id, validated(EngineRecord, older, at), versions, sources, at)
            engines[engine_id] = ages
    return engines


def _engine(engine_id: str, record: EngineRecord, versions: tuple[str, ...], sources: dict[str, Source], where: str) -> Engine:
    found = record.quantities()
    for field, q in found.items():
        if q.source not in sources:
            raise BadFile(f"{where} {field}:", f"no source '{q.source}' in this file", f"add [sources.{q.source}]")
    plain: dict[str, Any] = {k: getattr(record, k) for k in EngineRecord.model_fields if k not in (*NUMBERS, "until", "scheduler")}
    cites = {
        field: Cite(value=q.value, source=sources[q.source], evidence=q.evidence, printed=q.printed, formula=q.formula, note=q.note)
        for field, q in found.items()
    }
    scheduler = None if record.scheduler is None else resolved_scheduler(record.scheduler, record.version, sources, where)
    numbers = {field: q.value for field, q in found.items()}
    return Engine(id=engine_id, versions=versions, cites=cites, scheduler=scheduler, **plain, **numbers)


@lru_cache(maxsize=256)
def scheduler_of(engine_id: str, version: str) -> Scheduler | None:
    """The scheduler of an engine at a version; None where it was not read."""
    for path in sorted((data_root() / "engines").glob("*.toml")):
        data = read_toml(path)
        table = data.get(engine_id, {}).get("scheduler")
        if table is not None:
            sources = {key: validated(Source, s, f"{path.name}: [sources.{key}]") for key, s in data["sources"].items()}
            where = f"{path.name}: [{engine_id}.scheduler]"
            return resolved_scheduler(validated(SchedulerRecord, table, where), version, sources, where)
    return None
