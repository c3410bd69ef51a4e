"""The load of a replay: a trace's file, columns in memory, or arrivals made to order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from sol.answers.question.inputs import number, one_of
from sol.errors import InvalidInput
from sol.frozen import Frozen
from sol.physics.serving.requests import Load
from sol.specs.quantities import Array, Number

ArrivalKind = Literal["poisson", "constant", "burst"]
LONGEST_TOKENS = 1e8
"""No request is longer: a number beyond it is a mistake, and tables of it would not fit in memory."""


@dataclass(frozen=True, eq=False)
class Trace(Frozen):
    """The requests as they were given, `first_s` the first arrival [s], and what was measured of each [s], NaN where nothing was."""

    load: Load
    first_s: float
    measured: Mapping[str, Array]


def arrivals(n: int, *, request_rate: Number | None = None, kind: ArrivalKind = "poisson", seed: int = 0) -> Array:
    """The arrival times of `n` requests, from 0 on [s].

    Parameters
    ----------
    request_rate : requests per second on average [1/s]; not of a burst.
    kind : "poisson" (gaps are exponential, of `seed`), "constant" (gaps are equal), "burst" (all at once).

    >>> arrivals(4, request_rate=2.0, kind="constant")
    array([0. , 0.5, 1. , 1.5])
    """
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
        raise InvalidInput(f"n={n!r}", "is not a number of requests", "give a whole number above 0")
    one_of("kind", kind, get_args(ArrivalKind))
    if kind == "burst":
        if request_rate is not None:
            raise InvalidInput(f"request_rate={request_rate!r}", "is not asked of a burst, which arrives all at once")
        return np.zeros(int(n))
    if request_rate is None:
        raise InvalidInput(f"kind='{kind}'", "needs a rate", "give request_rate=2.0, for instance")
    rate = number("request_rate", request_rate, above=0.0)
    if kind == "constant":
        return np.arange(int(n)) / rate
    gaps = np.random.default_rng(seed).exponential(1.0 / rate, int(n) - 1)
    return np.concatenate(([0.0], np.cumsum(gaps)))


def resolve_trace(requests: Any, *, closed: bool = False) -> Trace:
    """The requests meant: a path, or columns by name; of a closed loop without their arrivals. Raises `BadFile` or `InvalidInput`."""
    from sol.sources.traces.columns import NEEDED
    from sol.sources.traces.reader import named_columns, read_trace

    needed = tuple(name for name in NEEDED if not (closed and name == "arrival_s"))
    if isinstance(requests, str | Path):
        columns = read_trace(requests, needed)
    elif isinstance(requests, Mapping) or hasattr(requests, "keys"):
        columns = named_columns({name: requests[name] for name in requests.keys()}, needed=needed)  # noqa: SIM118  # a DataFrame is no mapping
    else:
        raise InvalidInput(
            f"requests of type {type(requests).__name__}", "are neither a path nor columns",
            "give a file, or {'arrival_s': …, 'prompt_tokens': …, 'output_tokens': …}",
        )  # fmt: skip
    if closed:
        columns = {name: column for name, column in columns.items() if name not in ("arrival_s", "first_token_s", "last_token_s")}
        columns["arrival_s"] = np.zeros(columns["prompt_tokens"].size)
    return trace_of(columns)


def trace_of(columns: Mapping[str, Array]) -> Trace:
    """Checked columns as a trace. Raises `InvalidInput` naming the first request that has no meaning."""
    arrival = columns["arrival_s"]
    _all("arrival_s", arrival, np.isfinite(arrival), "is missing or not finite")
    _all(
        "arrival_s",
        arrival,
        np.concatenate(([True], np.diff(arrival) >= 0.0)),
        "is before the one above it",
        "sort the requests by arrival",
    )
    lengths = {}
    for name, least in (("prompt_tokens", 1), ("output_tokens", 1), ("cached_tokens", 0)):
        column = columns.get(name, np.zeros(arrival.size))
        if name == "cached_tokens":
            column = np.where(np.isnan(column), 0.0, column)
        allowed = (column >= least) & (column <= LONGEST_TOKENS) & (column == np.floor(column))
        _all(name, column, allowed, f"is not a whole number of tokens, {least} or more")
        lengths[name] = column.astype(np.int64)
    prompt, output, cached = lengths.values()
    _all("cached_tokens", cached, cached < prompt, "is not below the tokens of the prompt", "at least one token must be new")
    first = float(arrival[0])
    return Trace(Load(arrival - first, prompt, output, cached), first, _measured(columns, arrival, output))


def _measured(columns: Mapping[str, Array], arrival: Array, output: np.ndarray) -> dict[str, Array]:
    """What the file says of each request [s]; TPOT of more than one output only."""
    first, last = columns.get("first_token_s"), columns.get("last_token_s")
    found = {name: columns[name] for name in ("ttft_s", "tpot_s", "e2e_s") if name in columns}
    if first is not None:
        found.setdefault("ttft_s", first - arrival)
    if last is not None:
        found.setdefault("e2e_s", last - arrival)
    if first is not None and last is not None:
        found.setdefault("tpot_s", (last - first) / np.maximum(output - 1, 1))
    if "tpot_s" in found:
        found["tpot_s"] = np.where(output > 1, found["tpot_s"], np.nan)
    for name, values in found.items():
        _all(name, values, ~(values < 0.0), "is below 0: a token before its request arrived")
    return found


def _all(name: str, values: Any, allowed: Any, truth: str, action: str = "") -> None:
    bad = ~np.asarray(allowed)
    if bad.any():
        where = int(np.argmax(bad))
        value = float(values[where])
        raise InvalidInput(f"request {where + 1}: {name} {value:g}", truth, action)
