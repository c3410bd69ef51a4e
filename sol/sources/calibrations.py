"""Calibrations as files: those of the database, and those people save. One TOML table each, its sources beside it."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from sol.errors import BadFile, MissingSpec
from sol.sources.tomlfiles import data_root, read_toml
from sol.specs.calibration import Calibration
from sol.specs.record import Source, validated

CLASSES = "engine-classes.toml"
"""Which engines run how: eager, graph or fused."""


def read_calibrations(path: Path) -> dict[str, Calibration]:
    """Every calibration of a TOML file by id. Raises `BadFile`."""
    data = read_toml(path)
    sources = {key: validated(Source, table, f"{path.name}: [sources.{key}]") for key, table in data.pop("sources", {}).items()}
    found = {}
    for name, table in data.items():
        where = f"{path.name}: [{name}]"
        if not isinstance(table, dict):
            raise BadFile(f"{where} is no table; a calibration is a TOML table with gpu, engine and its figures")
        used = sorted(_named(table))
        missing = [s for s in used if s not in sources]
        if missing:
            raise BadFile(f"{where}: no source '{missing[0]}' in this file; add [sources.{missing[0]}]")
        found[name] = validated(Calibration, {**table, "id": name, "sources": {s: sources[s] for s in used}}, where)
    return found


def _named(value: Any) -> set[str]:
    """Every source a table names, however deep."""
    if isinstance(value, dict):
        own = {value["source"]} if isinstance(value.get("source"), str) else set()
        return own.union(*(_named(v) for v in value.values()))
    return set()


@lru_cache(maxsize=1)
def shipped() -> dict[str, Calibration]:
    """The calibrations of the database by id."""
    found: dict[str, Calibration] = {}
    for path in sorted((data_root() / "calibrations").glob("*.toml")):
        if path.name != CLASSES:
            found |= read_calibrations(path)
    return {name: c if not c.base else _based(c, found) for name, c in found.items()}


def _based(c: Calibration, known: dict[str, Calibration]) -> Calibration:
    """A calibration with the rates of the record it adds times to."""
    if c.base not in known:
        raise BadFile(f"calibration {c.id} is based on '{c.base}', which no file has")
    base = known[c.base]
    rates = {"mbu": base.mbu, "mfu": base.mfu, "launch_s": base.launch_s, "rates": {**base.rates, **c.rates}}
    return c.model_copy(update={**rates, "sources": {**base.sources, **c.sources}})


@lru_cache(maxsize=1)
def engine_classes() -> dict[str, str]:
    """Engine → eager, graph or fused; a class is its own."""
    data = read_toml(data_root() / "calibrations" / CLASSES)
    return {name: kind for kind, names in data["classes"].items() for name in (kind, *names)}


def shipped_calibration(gpu: str, engine: str) -> Calibration:
    """What is known of this engine on this device, else of its class of engines there. Raises `MissingSpec` with what there is."""
    classes = engine_classes()
    name = engine.strip().lower()
    kind = classes.get(name)
    if kind is None:
        raise MissingSpec(f"no engine '{engine}' has a calibration; known: {', '.join(sorted(classes))}, or give a calibration of your own")
    known = {(c.gpu, c.engine): c for c in shipped().values()}
    found = known.get((gpu, name)) or known.get((gpu, kind))
    if found is None:
        here = sorted(e for g, e in known if g == gpu)
        there = sorted(g for g, e in known if e in (name, kind))
        what = f"{gpu} has {', '.join(here)}" if here else f"{name} has {', '.join(there)}"
        raise MissingSpec(f"no calibration of {name} on {gpu}; {what}; give one of your own (sol calibrate FILE --save)")
    return found
