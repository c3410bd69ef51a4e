"""Which calibration of the database is meant: of an engine, of an engine at a version, or of no engine at all."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from sol.errors import MissingSpec, UnknownName
from sol.sources.database.calibrations import ages_by_device, by_device, default_engines, engine_classes, of_another_version
from sol.sources.database.libraries import with_collectives
from sol.specs.calibration import Calibration
from sol.specs.engines import VERSION, engine_family, version_numbers

PREFERRED = ("graph", "fused", "llama.cpp", "eager")
"""The engine of an estimate that names none, on devices without rows of servers: the first of these with a calibration."""


def engine_class(name: str) -> str | None:
    """The class of an engine, whatever its version: eager, graph, fused, llama.cpp; None if nothing says.

    >>> engine_class("vllm@0.15"), engine_class("transformers"), engine_class("of my own")
    ('graph', 'eager', None)
    """
    return engine_classes().get(name.strip().lower().partition("@")[0])


def shipped_calibration(gpu: str, engine: str) -> Calibration:
    """The calibration of this engine on this device, else of its nearest version with a wider interval, else of its class there.

    `engine@version` is the engine at that version. Raises `MissingSpec` with the known ones, and `UnknownName` for what is no version.
    """
    asked = engine.strip().lower()
    name, at, version = asked.partition("@")
    kind = engine_class(name)
    if kind is None:
        known = ", ".join(sorted(engine_classes()))
        raise MissingSpec(f"no engine '{engine}'", "has a calibration", f"known: {known}, or give a calibration of your own")
    if at and version_numbers(version) is None:
        raise UnknownName(f"no version '{version}' of {name}", action=f"give one such as {name}@0.15", name=version)
    here = by_device().get(gpu, {})
    found = _of_version(gpu, name, version) if at else here.get(name) or _nearest(here, name)
    if found is not None:
        return found if engine_family(found.engine) == engine_family(name) else with_collectives(found, asked)
    if kind not in here:
        there = sorted(g for g, engines in by_device().items() if name in engines or kind in engines)
        what = f"{gpu} has {', '.join(sorted(here))}" if here else f"{name} has {', '.join(there)}"
        raise MissingSpec(f"no calibration of {name} on {gpu}", action=f"{what}; give one of your own (sol calibrate FILE --save)")
    of_class = here[kind] if name == kind else with_collectives(here[kind], asked)
    if not at or name == kind:
        return of_class
    return _for(of_class, f"no rows of {name} on {gpu} have a calibration: {kind} engines stand for {name} {version}")


def age(engine: str) -> tuple[float, ...]:
    """A key that sorts the versions of an engine; one without a version is the newest."""
    found = VERSION.search(engine)
    return tuple(map(float, found[0][1:].split("."))) if found else (math.inf,)


def nearest_version(engine: str, known: Iterable[str]) -> str | None:
    """Of the engines known, the one of the same family whose version is nearest, the newer of two; None without one."""
    ordered = sorted({e for e in engine_classes() if engine_family(e) == engine_family(engine)} | {engine}, key=age)
    place = ordered.index(engine)
    return min((e for e in known if e in ordered), key=lambda e: (abs(ordered.index(e) - place), -ordered.index(e)), default=None)


def _nearest(here: Mapping[str, Calibration], name: str) -> Calibration | None:
    """The calibration of the nearest version on a device; None without one."""
    other = nearest_version(name, here)
    return None if other is None else _other_version(here[other], f"{name} has no rows on {here[other].gpu}: {other}, its nearest version")


def _other_version(c: Calibration, stands_for: str, version: str = "") -> Calibration:
    """A calibration for another version of its engine, with an interval that holds between versions."""
    wide = None if c.within_95 is None else max(c.within_95, of_another_version())
    return _for(c.model_copy(update={"within_95": wide}), stands_for, version)


def default_calibration(gpu: str) -> Calibration:
    """The calibration of an estimate that names no engine. Raises `MissingSpec` where nothing is known of the device."""
    here = by_device().get(gpu, {})
    best = default_engines().get(gpu)
    if best in here:
        return _for(here[best], f"no engine is named: {best}, the nearest of those on {gpu} to the rows of all servers there")
    return class_calibration(gpu)


def class_calibration(gpu: str) -> Calibration:
    """The calibration of a class of engines on a device, or of the first engine that has one there: whoever runs it, not the nearest.

    Raises `MissingSpec` where nothing is known of the device.
    """
    here = by_device().get(gpu, {})
    chosen = next((e for e in (*PREFERRED, *sorted(here)) if e in here), None)
    if chosen is None:
        there = ", ".join(sorted(by_device()))
        known = f"there are some for {there}" if there else "no device has one"
        raise MissingSpec(f"no calibration of any engine on {gpu}", action=f"{known}; give one of your own (sol calibrate)")
    return here[chosen]


def _of_version(gpu: str, name: str, version: str) -> Calibration | None:
    """The calibration of an engine whose rows are of this version, or of the nearest; None without one on the device."""
    engines = ages_by_device().get(gpu, {})
    ages = [*engines.get(name, ()), *(c for other, of in engines.items() if _old_name(other, name) for c in of)]
    if not ages:
        return None
    ranged = sorted(((_range(c, name), c) for c in ages if _range(c, name)), key=lambda at: at[0][1])
    if not ranged:
        return _other_version(ages[-1], f"rows of {name} on {gpu} do not say their versions: they stand for {version}", version)
    asked = version_numbers(version) or ()
    (first, last), found = next((at for at in ranged if asked <= at[0][1] or asked == at[0][1][: len(asked)]), ranged[-1])
    inside = first[: len(asked)] <= asked and (asked <= last or asked == last[: len(asked)])
    dots = [".".join(map(str, v)) for v in (first, last)]
    of = dots[0] if first == last else " to ".join(dots)
    if inside:
        return _for(found, "", version)
    return _other_version(found, f"no rows of {name} {version} on {gpu}: those of {of}, the nearest, stand for it", version)


def _range(c: Calibration, name: str) -> tuple[tuple[int, ...], ...]:
    """The first and the last version of a calibration's rows; of an engine named with its version, vllm-0.4, that one; else none."""
    own = c.versions or ((c.engine.removeprefix(f"{name}-"),) * 2 if _old_name(c.engine, name) else ())
    return tuple(version_numbers(v) or () for v in own)


def _old_name(engine: str, name: str) -> bool:
    return engine.startswith(f"{name}-") and version_numbers(engine.removeprefix(f"{name}-")) is not None


def _for(c: Calibration, stands_for: str, version: str = "") -> Calibration:
    """The calibration with what it stands for, and with the engine's version as it was asked."""
    engine = f"{c.engine}@{version}" if version and not _old_name(c.engine, c.engine.rpartition("-")[0]) else c.engine
    return c.model_copy(update={"stands_for": stands_for, "engine": engine})
