"""The scheduler of an engine at a version, from its table in the database: rules and numbers with their sources."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sol.errors import BadFile
from sol.specs.engines import version_numbers
from sol.specs.record import Cite, Quantity, Source, validated
from sol.specs.scheduler import FIGURES, RULES, Rule, Scheduler, SchedulerRecord


def resolved_scheduler(record: SchedulerRecord, version: str, sources: Mapping[str, Source], where: str) -> Scheduler | None:
    """The rules that hold at `version`, each with its source; None for a version older than those read. Raises `BadFile`."""
    if _older(version, record.since):
        return None
    rules: dict[str, Rule] = {name: rule for name in RULES if (rule := getattr(record, name)) is not None}
    for last in sorted(record.until, key=lambda v: version_numbers(v) or (), reverse=True):
        if _up_to(version, last):
            rules |= {name: validated(Rule, table, f"{where}.until.'{last}' {name}") for name, table in record.until[last].items()}
    figures: dict[str, Quantity] = {name: q for name in FIGURES if isinstance(q := getattr(record, name), Quantity)}
    chunks = {"" if t.below_bytes is None else f" below {t.below_bytes / 2**30:g} GiB": t.tokens for t in record.tiers}
    cites = {f"scheduler.{name}": _cite(rule, _source(sources, rule.source, where, name)) for name, rule in rules.items()}
    named = figures | {f"chunk_tokens{below}": q for below, q in chunks.items()}
    cites |= {f"scheduler.{name}": _cite(q, _source(sources, q.source, where, name)) for name, q in named.items()}
    values: dict[str, Any] = {name: rule.value for name, rule in rules.items()} | {name: q.value for name, q in figures.items()}
    return Scheduler(tiers=tuple((t.below_bytes, t.tokens.value) for t in record.tiers), cites=cites, **values)


def _older(version: str, than: str) -> bool:
    """Whether a version comes before another, of as many numbers as that one has."""
    asked, limit = version_numbers(version), version_numbers(than)
    return asked is not None and limit is not None and asked[: len(limit)] < limit


def _up_to(version: str, last: str) -> bool:
    """Whether a version is the `last` one or older, of as many numbers as that one has."""
    asked, limit = version_numbers(version), version_numbers(last)
    return asked is not None and limit is not None and asked[: len(limit)] <= limit


def _cite(q: Rule | Quantity, source: Source) -> Cite:
    value = q.value if isinstance(q.value, str) else float(q.value) if isinstance(q, Quantity) else str(q.value).lower()
    return Cite(value=value, source=source, evidence=q.evidence, printed=q.printed, note=q.note)


def _source(sources: Mapping[str, Source], key: str, where: str, field: str) -> Source:
    if key not in sources:
        raise BadFile(f"{where} {field}:", f"no source '{key}' in this file", f"add [sources.{key}]")
    return sources[key]
