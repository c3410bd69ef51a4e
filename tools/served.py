"""What `serve` says of a published figure of a server: `python -m tools.serving_accuracy tools.served:served`."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

from sol import Serving, load_model, serve
from sol.errors import MissingSpec, SolError
from sol.sources.database.serving import ServingRow
from sol.specs.engines import version_numbers
from tools.serving_accuracy import Prediction

STARTED = {"aic-silicon": 10.0}
"""Requests of a run for each user, by source, where all users start at once (InferenceX: --num-prompts of ten times the concurrency)."""
RANGE_RATIO = 0.8
"""The shortest length over the longest of such a run (InferenceX: --random-range-ratio)."""
OFFLINE = 100_000.0
"""Requests at once of a run that queues all of them."""
UNKNOWN_SHARE = 0.99
"""The part of a prompt that the cache may hold, where nothing is said."""


def served(row: ServingRow) -> Prediction | None:
    """The expected figure with its interval, and the bound of any system that the row allows; None without a calibration."""
    asked = asked_of(row)
    try:
        found = _serving(engine_of(row), tuple(asked.items()))
    except MissingSpec:
        return None
    value, low, high = (getattr(found, f"{end}{_name(row)}", None) for end in ("", "low_", "high_"))
    if row.metric == "output_tokens_per_s":
        value, low, high = (None if v is None else v * row.output_tokens for v in (value, low, high))
    if value is None or not math.isfinite(value):
        return None
    return Prediction(value, low, high, _bound(row, asked, found))


def engine_of(row: ServingRow) -> str:
    """The row's engine, at its version where that is said."""
    return f"{row.engine}@{row.version}" if version_numbers(row.version) else row.engine


def _name(row: ServingRow) -> str:
    return {"itl_s": "tpot_s", "output_tokens_per_s": "requests_per_s"}.get(row.metric, row.metric)


def asked_of(row: ServingRow) -> dict[str, Any]:
    """What `serve` is asked for a row, but the engine."""
    users = OFFLINE if row.offline else row.concurrency
    run = STARTED.get(row.source) if "InferenceX" in row.note else None
    return {
        "model": row.model, "gpu": row.gpu, "prompt_tokens": row.prompt_tokens, "output_tokens": row.output_tokens,
        "concurrency": users, "request_rate": row.request_rate_per_s, "cached_share": row.cached_share or 0.0,
        "requests": None if run is None or users is None else run * users,
        "range_ratio": None if run is None or users is None else RANGE_RATIO, "max_batch": row.max_batch,
        "max_batch_tokens": row.max_batch_tokens, "dtype": row.dtype, "kv_dtype": row.kv_dtype,
        "tp": row.tp, "pp": row.pp, "ep": row.ep, "dp": row.dp,
    }  # fmt: skip


@lru_cache(maxsize=8192)
def _serving(engine: str | None, asked: tuple[tuple[str, Any], ...]) -> Serving[float, bool, str]:
    options = dict(asked)
    found: Serving[float, bool, str] = serve(options.pop("model"), options.pop("gpu"), engine=engine, **options)
    return found


def _bound(row: ServingRow, asked: dict[str, Any], found: Serving[float, bool, str]) -> float:
    """The bound, with the fewest experts, and with a cached prompt where the source says nothing."""
    best = found
    share = UNKNOWN_SHARE if row.cached_share is None else row.cached_share
    if load_model(row.model).is_moe or share != asked["cached_share"]:
        try:
            best = _serving(
                row.engine,
                tuple(
                    (
                        asked | {"cached_share": share, "routing": "min"}
                        if load_model(row.model).is_moe
                        else asked | {"cached_share": share}
                    ).items()
                ),
            )
        except SolError:
            best = found
    b = best.bound
    return {"tpot_s": b.tpot_s, "itl_s": b.tpot_s, "ttft_s": b.ttft_s, "e2e_s": b.e2e_s, "requests_per_s": b.requests_per_s,
            "output_tokens_per_s": b.output_tokens_per_s}[row.metric]  # fmt: skip
