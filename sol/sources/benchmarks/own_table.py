"""The table of sol: one row per measurement, columns as the fields of `Measurement`, in seconds and tokens.

A row of the phase "request" is a whole request, from the prompt to its last token: an `Aggregate`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from functools import lru_cache

from sol.errors import BadFile, short
from sol.sources.benchmarks.importer import Finding, Found, Given, RawRecord, Tool, Unreadable, count, flag, number, optional_number, text

NEEDED = ("model", "gpu", "phase", "measured_s")
MATTERS = ("dtype", "kv_dtype", "tp", "pp", "ep", "dp", "batch", "ctx", "new_tokens", "prompt_tokens", "output_tokens", "cuda_graphs")
"""Columns that change the measured step: a misspelling of one must not be ignored."""
LABELS = ("engine", "session", "source")
COLUMNS = (*NEEDED, *MATTERS, *LABELS)
MAX_COLUMNS = 100
"""The number of unread columns that are checked for misspellings."""
OTHER_UNITS = ("measured_ms", "measured_us", "measured_ns", "latency_ms", "time_ms", "measured")


def matches(record: RawRecord) -> bool:
    """Whether a record is a row of such a table, whole or not."""
    return "measured_s" in record or ("phase" in record and ("model" in record or "gpu" in record))


def check_columns(columns: tuple[str, ...], given: Given, where: str) -> None:
    """Raise `BadFile` for a table that lacks columns no option gives, or misspells one."""
    missing = [c for c in NEEDED if c not in columns and c not in given]
    if missing:
        unit = next((c for c in OTHER_UNITS if c in columns), None)
        if unit is not None and "measured_s" in missing:
            raise BadFile(f"{where}: column {unit} is not in seconds, or does not say; give seconds in a column measured_s")
        optional = [f"{c}=" for c in missing if c in ("model", "gpu")]
        instead = f", or pass {', '.join(optional)}" if optional else ""
        raise BadFile(f"{where}: no column {', '.join(missing)}; a table of measurements has {', '.join(NEEDED)}{instead}")
    misspelt, _ = _unread(columns)
    if misspelt:
        raise BadFile(f"{where}: {misspelt}")


@lru_cache(maxsize=64)
def _unread(columns: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """What is wrong with columns that are not read ("" if nothing is), and the line that names them."""
    unread = [c for c in columns if c not in COLUMNS]
    absent = [c for c in MATTERS if c not in columns]
    for column in unread[:MAX_COLUMNS]:
        words = column.lower().replace("-", "_").split("_")
        close = difflib.get_close_matches(column.lower()[:60], [c for c in absent if len(c) > 3], n=1, cutoff=0.75)
        meant = next((c for c in absent if c in words), close[0] if close else None)
        if meant is not None:
            return f"column {short(column)} is not read; did you mean {meant}? rename it, or leave it out", ()
    named = ", ".join(c[:40] for c in unread[:12])
    return "", (f"columns not read: {named}{' …' if len(unread) > 12 else ''}",) if unread else ()


def read(record: RawRecord, given: Given) -> Iterable[Finding]:
    """One row. A decode row without ctx takes it from the lengths: the mean over the span of steps."""
    misspelt, unread = _unread(tuple(record))
    if misspelt:
        raise Unreadable(misspelt)
    phase = text(record, "phase")
    if phase not in ("decode", "prefill", "request"):
        raise Unreadable("phase is missing" if phase is None else f"phase={short(phase)} is not one of decode, prefill, request")
    try:
        measured = number(record, "measured_s")
    except Unreadable as error:
        raise Unreadable(f"{error}; it is a number of seconds, without a unit") from None
    numbers = {k: optional_number(record, k) for k in ("batch", "ctx", "new_tokens", "prompt_tokens", "output_tokens")}
    prompt, output = numbers["prompt_tokens"] or given.get("prompt_tokens"), numbers["output_tokens"] or given.get("output_tokens")
    assumes = list(unread)
    if phase == "request":
        del numbers["ctx"], numbers["new_tokens"]
    elif numbers["ctx"] is None:
        numbers["ctx"], said = _context(phase, prompt, output)
        assumes.append(said)
    if numbers["batch"] is None and "batch" not in given:
        numbers["batch"] = 1.0
        assumes.append("batch 1: there is no column batch")
    split = {k: count(record, k) for k in ("tp", "pp", "ep", "dp")}
    words = {k: text(record, k) for k in ("model", "gpu", "dtype", "kv_dtype", *LABELS)}
    kind = {"metric": "request"} if phase == "request" else {"phase": phase}
    fields = {**kind, "measured_s": measured, **numbers, **split, **words, "cuda_graphs": flag(record, "cuda_graphs")}
    yield Found(fields, tuple(assumes), needs=("prompt_tokens", "output_tokens") if phase == "request" else ())


def _context(phase: str, prompt: float | None, output: float | None) -> tuple[float, str]:
    if phase == "prefill" and prompt is not None:
        return prompt, "ctx of a prefill is its prompt_tokens"
    if phase == "decode" and prompt is not None and output is not None:
        return prompt + (output - 1) / 2, "ctx of a decode row is prompt_tokens + (output_tokens − 1)/2, the mean over its steps"
    lacks = ("prompt_tokens",) if phase == "prefill" else ("prompt_tokens", "output_tokens")
    raise Unreadable(f"no ctx; give the column, or {' and '.join(lacks)}", lacks)


OWN = Tool("a table of measurements", matches, read)
