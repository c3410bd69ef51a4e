"""What `serve` says of a published figure of a server: `python -m tools.serving_accuracy tools.served:served`."""

from __future__ import annotations

import math
import re
from functools import lru_cache
from typing import Any

import numpy as np

from sol import Serving, load_format, load_gpu, load_model, serve
from sol.answers.serve.bound import ServingBound, bound
from sol.answers.serve.server import resolve_server
from sol.errors import MissingSpec
from sol.sources.database.serving import ServingRow
from sol.specs.engines import version_numbers
from tools.offline import TRTLLM_BENCH_GRAPHS, TRTLLM_BENCH_POOL, Limits, schedule, seconds, trtllm_bench_limits
from tools.serving_accuracy import Prediction

STARTED = {"aic-silicon": 10.0}
"""Requests of a run for each user, by source, where all users start at once (InferenceX: --num-prompts of ten times the concurrency)."""
RANGE_RATIO = 0.8
"""The shortest length over the longest of such a run (InferenceX: --random-range-ratio)."""
SATURATED = 100_000.0
"""Requests at once for the bound of a run that queues all of them."""
UNKNOWN_SHARE = 0.99
"""The part of a prompt that the cache may hold, where nothing is said."""
UNSAID_REQUESTS = 3000
"""Requests of NVIDIA's runs of 1,000 + 1,000 tokens, which the later edition leaves out: as in the edition before, and of 1,024 + 1,024."""
WHOLE_PROMPTS = {"rocm-vllm-throughput-0.7.3"}
"""Sources whose command says --enable-chunked-prefill False: vLLM 0.7 then computes prompts whole, in steps of their own."""
HELD = ("dtype", "kv_dtype", "tp", "pp", "ep", "dp")


def served(row: ServingRow) -> Prediction | None:
    """The expected figure with its interval, and the bound of any system that the row allows; None without a calibration."""
    value: float | None
    try:
        if row.offline:
            value, low, high = _offline(row)
        else:
            found = _serving(engine_of(row), tuple(asked_of(row).items()))
            value, low, high = (getattr(found, f"{end}{_name(row)}", None) for end in ("", "low_", "high_"))
    except MissingSpec:
        return None
    if value is None or not math.isfinite(value):
        return None
    return Prediction(value, low, high, _bound(row))


def engine_of(row: ServingRow) -> str:
    """The row's engine, at its version where that is said."""
    return f"{row.engine}@{row.version}" if version_numbers(row.version) else row.engine


def requests_of(row: ServingRow) -> int:
    """Requests of a run that queues all of them, as its note says."""
    said = re.search(r"(\d+) requests", row.note)
    return int(said[1]) if said else UNSAID_REQUESTS


def _offline(row: ServingRow) -> tuple[float, float | None, float | None]:
    """Output tokens per second of the whole run, and the interval."""
    asked: dict[str, Any] = {"max_batch": row.max_batch, "max_batch_tokens": row.max_batch_tokens}
    model, ours = load_model(row.model), row.engine == "tensorrt-llm"
    if ours:  # NVIDIA's tables: trtllm-bench chooses the limits of a step
        weights = 0.5 if load_format(row.dtype).bits_per_weight < 6.0 else 1.0  # as it counts NVFP4 and FP8, the formats there
        batch, tokens = trtllm_bench_limits(
            model, weights, 1.0 if row.kv_dtype == "fp8" else 2.0, float(load_gpu(row.gpu).memory_bytes or 0.0),
            tp=row.tp, pp=row.pp, dp=row.dp, prompt=row.prompt_tokens, output=row.output_tokens,
        )  # fmt: skip
        asked = {"max_batch": batch * row.pp, "max_batch_tokens": tokens, "memory_fraction": TRTLLM_BENCH_POOL}
    server = resolve_server(
        model, row.gpu, prompt_tokens=row.prompt_tokens, output_tokens=row.output_tokens, engine=engine_of(row),
        options={name: getattr(row, name) for name in HELD}, **asked,
    )  # fmt: skip
    rules, whole = server.engine.scheduler, row.source in WHOLE_PROMPTS
    limits = Limits(
        slots=int(server.scheduling.slots), budget=int(server.scheduling.budget * row.pp), mixed=server.scheduling.mixes and not whole,
        chunked=(rules is None or rules.chunked) and not whole, graphs=TRTLLM_BENCH_GRAPHS if ours else (),
    )  # fmt: skip
    requests, output = requests_of(row), round(row.output_tokens)
    rate = requests * output / seconds(server, schedule(requests, round(row.prompt_tokens), output, limits), limits.graphs)
    down, up = server.calibration.interval()
    return (rate, rate / up, rate / down) if math.isfinite(up) and down > 0.0 else (rate, None, None)


def _name(row: ServingRow) -> str:
    return {"itl_s": "tpot_s"}.get(row.metric, row.metric)


def asked_of(row: ServingRow) -> dict[str, Any]:
    """What `serve` is asked for a row, but the engine."""
    users = SATURATED if row.offline else row.concurrency
    run = STARTED.get(row.source) if "InferenceX" in row.note else None
    return {
        "model": row.model, "gpu": row.gpu, "prompt_tokens": row.prompt_tokens, "output_tokens": row.output_tokens,
        "concurrency": users, "request_rate": row.request_rate_per_s, "cached_share": row.cached_share or 0.0,
        "requests": None if run is None or users is None else run * users,
        "range_ratio": None if run is None or users is None else RANGE_RATIO, "max_batch": row.max_batch,
        "max_batch_tokens": row.max_batch_tokens, **{name: getattr(row, name) for name in HELD},
    }  # fmt: skip


@lru_cache(maxsize=8192)
def _serving(engine: str | None, asked: tuple[tuple[str, Any], ...]) -> Serving[float, bool, str]:
    options = dict(asked)
    found: Serving[float, bool, str] = serve(options.pop("model"), options.pop("gpu"), engine=engine, **options)
    return found


def _bound(row: ServingRow) -> float:
    """The bound, with the fewest experts, and with a cached prompt where the source says nothing."""
    b = _bounds(tuple((asked_of(row) | {"cached_share": UNKNOWN_SHARE if row.cached_share is None else row.cached_share}).items()))
    return {"tpot_s": b.tpot_s, "itl_s": b.tpot_s, "ttft_s": b.ttft_s, "e2e_s": b.e2e_s, "requests_per_s": b.requests_per_s,
            "output_tokens_per_s": b.output_tokens_per_s}[row.metric]  # fmt: skip


@lru_cache(maxsize=8192)
def _bounds(asked: tuple[tuple[str, Any], ...]) -> ServingBound[float]:
    """The bounds of a server, whatever its engine."""
    options = dict(asked)
    users = options.pop("concurrency")
    held = {name: options.pop(name) for name in HELD}
    if load_model(options["model"]).is_moe:
        held["routing"] = "min"
    named = ("model", "gpu", "prompt_tokens", "output_tokens", "cached_share")
    server = resolve_server(**{name: options[name] for name in named}, options=held)
    return bound(server, (), None if users is None else np.array([users]), lambda v: float(np.asarray(v).reshape(-1)[0]))
