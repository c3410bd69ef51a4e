"""Calibrations in files, of the database and of users: one TOML table each, with its sources."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from sol.errors import BadFile, InvalidInput, MissingSpec
from sol.sources.database.tomlfiles import data_root, read_toml
from sol.specs.calibration import Calibration
from sol.specs.engines import engine_family, version_numbers
from sol.specs.prompts import PromptTimes
from sol.specs.record import Source, validated

CLASSES = "engine-classes.toml"
"""Which engines run how: eager, graph or fused."""
PROMPTS = "prompts.toml"
"""What prompts take in servers, besides what their steps say."""
DEFAULTS = "defaults.toml"
"""Which engine an estimate that names none is of."""


def read_calibrations(path: Path) -> dict[str, Calibration]:
    """Every calibration of a TOML file by id. Raises `BadFile`."""
    data = read_toml(path)
    sources = {key: validated(Source, table, f"{path.name}: [sources.{key}]") for key, table in data.pop("sources", {}).items()}
    found = {}
    for name, table in data.items():
        where = f"{path.name}: [{name}]"
        if not isinstance(table, dict):
            raise BadFile(where, "is not a table", "a calibration is a TOML table with gpu, engine and its figures")
        used = sorted(_named(table))
        missing = [s for s in used if s not in sources]
        if missing:
            raise BadFile(f"{where}:", f"no source '{missing[0]}' in this file", f"add [sources.{missing[0]}]")
        found[name] = validated(Calibration, {**table, "id": name, "sources": {s: sources[s] for s in used}}, where)
    return found


def load_calibration(path: str | Path, id: str | None = None) -> Calibration:
    """The calibration in a TOML file; with `id` the one of that name. Raises `BadFile`, and `InvalidInput` where it is not the only one."""
    found = read_calibrations(Path(path))
    name = id if id is not None else next(iter(found)) if len(found) == 1 else None
    if name is None or name not in found:
        asked = f"no calibration '{id}'" if id is not None else f"{len(found)} calibrations"
        raise InvalidInput(f"{path}:", asked, f"there are {', '.join(found) or 'none'}; name one: load_calibration(path, id=…)")
    return found[name]


def save_calibration(calibration: Calibration | Iterable[Calibration], path: str | Path) -> None:
    """Write one calibration or several to a TOML file, which `load_calibration` and `estimate(calibration=path)` read back exactly.

    Raises `InvalidInput` (two of one id, no tomli-w) and `BadFile` (a file that cannot be written).
    """
    several = [calibration] if isinstance(calibration, Calibration) else list(calibration)
    try:
        toml = importlib.import_module("tomli_w")
    except ImportError:
        raise InvalidInput("save_calibration", "needs tomli-w", "pip install 'llm-sol[fit]'") from None
    tables: dict[str, Any] = {}
    sources: dict[str, Any] = {}
    for c in several:
        name = c.id or "calibration"
        if name in tables:
            raise InvalidInput("two calibrations", f"are called '{name}'", "give each an id of its own (model_copy(update={'id': …}))")
        data = _plain(c.model_dump(exclude={"id", "sources", "stands_for"}, exclude_defaults=True))
        tables[name] = data
        for key, source in c.sources.items():
            told = _plain(source.model_dump())
            if sources.setdefault(key, told) != told:
                raise InvalidInput("two sources", f"are called '{key}'", "give each a name of its own, or save the calibrations apart")
    try:
        with Path(path).open("wb") as file:
            toml.dump({"sources": sources, **tables} if sources else tables, file)
    except OSError as error:
        raise BadFile(f"{path}:", f"cannot be written ({error.strerror or error})", "give a file in an existing folder") from None


def _plain(value: Any) -> Any:
    """What TOML can hold: no None, no tuple."""
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items() if v is not None}
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value


def _named(value: Any) -> set[str]:
    """Every source a table names, however deep."""
    if isinstance(value, dict):
        own = {value["source"]} if isinstance(value.get("source"), str) else set()
        return own.union(*(_named(v) for v in value.values()))
    return set()


@lru_cache(maxsize=1)
def shipped() -> dict[str, Calibration]:
    """The calibrations of the database by id."""
    times, sources = prompt_times()
    return {name: times[name].added_to(c, sources) if name in times else c for name, c in of_steps().items()}


@lru_cache(maxsize=1)
def of_steps() -> dict[str, Calibration]:
    """The calibrations of the database by id as steps say, without what prompts in servers add."""
    found: dict[str, Calibration] = {}
    for path in sorted((data_root() / "calibrations").glob("*.toml")):
        if path.name not in (CLASSES, DEFAULTS, PROMPTS):
            found |= read_calibrations(path)
    return {name: c if not c.base else _based(c, found) for name, c in found.items()}


@lru_cache(maxsize=1)
def prompt_times() -> tuple[dict[str, PromptTimes], dict[str, Source]]:
    """What prompts take in servers, by the id of the calibration of their steps, and the sources. Raises `BadFile`."""
    data = read_toml(data_root() / "calibrations" / PROMPTS)
    sources = {key: validated(Source, table, f"{PROMPTS}: [sources.{key}]") for key, table in data.pop("sources", {}).items()}
    found = {name: validated(PromptTimes, table, f"{PROMPTS}: [{name}]") for name, table in data.items()}
    for name, times in found.items():
        if name not in of_steps() or times.source not in (None, *sources):
            raise BadFile(f"{PROMPTS}: [{name}]", "names no calibration, or a source that the file does not have", "correct the name")
    return found, sources


@lru_cache(maxsize=1)
def by_device() -> dict[str, dict[str, Calibration]]:
    """The calibrations of the database by device, then by engine; of several versions the newest."""
    return {gpu: {engine: ages[-1] for engine, ages in engines.items()} for gpu, engines in ages_by_device().items()}


@lru_cache(maxsize=1)
def ages_by_device() -> dict[str, dict[str, list[Calibration]]]:
    """The calibrations of the database by device, then by engine: those of several ranges of versions, the oldest first."""
    found: dict[str, dict[str, list[Calibration]]] = {}
    for c in shipped().values():
        found.setdefault(c.gpu, {}).setdefault(c.engine, []).append(c)
    for engines in found.values():
        for ages in engines.values():
            ages.sort(key=lambda c: version_numbers(c.versions[1]) or () if c.versions else ())
    return found


def _based(c: Calibration, known: dict[str, Calibration]) -> Calibration:
    """A calibration with the rates of the record it adds times to."""
    if c.base not in known:
        raise BadFile(f"calibration {c.id}", f"is based on '{c.base}', which no file has")
    base = known[c.base]
    rates = {"mbu": base.mbu, "mfu": base.mfu, "launch_s": base.launch_s, "rates": {**base.rates, **c.rates}}
    return c.model_copy(update={**rates, "sources": {**base.sources, **c.sources}})


@lru_cache(maxsize=1)
def engine_classes() -> dict[str, str]:
    """Engine → eager, graph or fused; a class is its own."""
    data = read_toml(data_root() / "calibrations" / CLASSES)
    return {name: kind for kind, names in data["classes"].items() for name in (kind, *names)}


@lru_cache(maxsize=1)
def of_another_version() -> float:
    """How far rows of one version of an engine lie from the estimate of another, 19 of 20 of them [log]."""
    return float(read_toml(data_root() / "calibrations" / CLASSES)["versions"]["another"])


@lru_cache(maxsize=1)
def default_engines() -> dict[str, str]:
    """Device → the engine of an estimate that names none, where rows of the device say which stands best for the others."""
    data = read_toml(data_root() / "calibrations" / DEFAULTS)
    return {gpu: str(table["engine"]) for gpu, table in data["defaults"].items()}


def kernel_rates(gpu: str, engine: str = "") -> Calibration:
    """The rates of a device's kernels, of an engine's own where they were timed, without its times.

    Raises `MissingSpec` with the known devices.
    """
    own = by_device().get(gpu, {}).get(f"kernels-{engine_family(engine)}")
    if own is not None:
        return own
    known = {c.gpu: c for c in shipped().values() if c.engine == "kernels"}
    if gpu not in known:
        raise MissingSpec(f"no rates of the kernels of {gpu}", "are known", f"they are of {', '.join(sorted(known))}; fit without them")
    return known[gpu]
