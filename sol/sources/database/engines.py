"""The engines of the database: what each takes of a device, at the version it was read at."""

from __future__ import annotations

from functools import lru_cache

from sol.errors import BadFile, UnknownName, nearest
from sol.sources.database.database import fold
from sol.sources.database.tomlfiles import data_root, read_toml
from sol.specs.engines import Engine, EngineRecord
from sol.specs.record import Cite, Source, validated


def engine_ids() -> list[str]:
    """Every engine id."""
    return list(_engines())


def load_engine(name: str) -> Engine:
    """The engine with this id or alias. Raises `UnknownName`.

    >>> load_engine("vllm").block_tokens
    16.0
    """
    engine = _named().get(fold(name))
    if engine is None:
        raise UnknownName(
            f"no engine '{name}'", action=f"known: {', '.join(engine_ids())}", name=name, suggestions=nearest(name, engine_ids())
        )
    return engine


def is_engine(name: str) -> bool:
    """Whether an engine has this id or alias."""
    return fold(name) in _named()


@lru_cache(maxsize=1)
def _named() -> dict[str, Engine]:
    return {fold(name): engine for engine in _engines().values() for name in (engine.id, *engine.aliases)}


@lru_cache(maxsize=1)
def _engines() -> dict[str, Engine]:
    engines = {}
    for path in sorted((data_root() / "engines").glob("*.toml")):
        data = read_toml(path)
        sources = {key: validated(Source, table, f"{path.name}: [sources.{key}]") for key, table in data.pop("sources", {}).items()}
        for engine_id, table in data.items():
            where = f"{path.name}: [{engine_id}]"
            record = validated(EngineRecord, table, where)
            found = record.quantities()
            for field, q in found.items():
                if q.source not in sources:
                    raise BadFile(f"{where} {field}:", f"no source '{q.source}' in this file", f"add [sources.{q.source}]")
            engines[engine_id] = Engine(
                id=engine_id, name=record.name, version=record.version, budget=record.budget, aliases=record.aliases, note=record.note,
                cites={
                    field: Cite(value=q.value, source=sources[q.source], evidence=q.evidence, printed=q.printed, note=q.note)
                    for field, q in found.items()
                },
                **{field: q.value for field, q in found.items()},
            )  # fmt: skip
    return engines
