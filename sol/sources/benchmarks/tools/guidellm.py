"""GuideLLM's report: a client's statistics, one benchmark a load.

Keys as in vllm-project/guidellm, src/guidellm/benchmark/schemas. `time_per_output_token_ms` changed its
meaning in 0.4; `inter_token_latency_ms`, (last − first token)/(output − 1), did not, and is read. It is
weighted by tokens, and so is the context given with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sol.sources.benchmarks.importer import Finding, Given, RawRecord, Refused, Tool, Unreadable, count, inner, optional_number, text
from sol.sources.benchmarks.tools.serving import Served, served


def matches(record: RawRecord) -> bool:
    """A report of version 0.2 or later, or one benchmark of it."""
    benchmarks = record.get("benchmarks")
    first = benchmarks[0] if isinstance(benchmarks, list) and benchmarks and isinstance(benchmarks[0], dict) else {}
    return first.get("type_") == "generative_benchmark" or "time_to_first_token_ms" in inner(first, "metrics")


def read(record: RawRecord, given: Given) -> Iterator[Finding]:
    """Each benchmark of the report by itself."""
    for i, benchmark in enumerate(record["benchmarks"]):
        part = f"benchmarks[{i}]"
        try:
            if not isinstance(benchmark, dict):
                raise Unreadable("is no object")
            yield from served(_averages(benchmark, part), {"model": _model(record, benchmark), "source": "GuideLLM"}, given)
        except Unreadable as error:
            yield Refused(str(error), part)


def _averages(benchmark: RawRecord, part: str) -> Served:
    metrics = inner(benchmark, "metrics")
    ttft, itl = (_mean(metrics, k) for k in ("time_to_first_token_ms", "inter_token_latency_ms"))
    prompt, output = _mean(metrics, "prompt_token_count"), _mean(metrics, "output_token_count")
    if ttft is None and itl is None and _mean(metrics, "request_latency") is None:
        raise Unreadable("no successful request was timed")
    spread = {k: optional_number(_successful(metrics, f"{k}_token_count"), "variance") for k in ("prompt", "output")}
    return Served(
        ttft_s=None if ttft is None else ttft / 1e3, tpot_s=None if itl is None else itl / 1e3, e2e_s=_mean(metrics, "request_latency"),
        output_tokens_per_s=_mean(metrics, "output_tokens_per_second"), prompt=prompt, output=output, cap=_cap(benchmark),
        mean=_mean(metrics, "request_concurrency"), ctx=_context(prompt, output, spread["output"]), part=part,
        assumes=("prompt and output lengths do not go together: only their means are known",) if all(spread.values()) else (),
    )  # fmt: skip


def _context(prompt: float | None, output: float | None, variance: float | None) -> float | None:
    """The cache before a step, over all steps: E[P] + (E[N²] − E[N])/(E[N] − 1)/2 − 1; P + (N − 2)/2 where lengths are equal."""
    if prompt is None or output is None or output < 2 or variance is None:
        return None
    return prompt + (variance + output**2 - output) / (output - 1) / 2 - 1


def _successful(metrics: RawRecord, key: str) -> RawRecord:
    return inner(metrics, key, "successful")


def _mean(metrics: RawRecord, key: str) -> float | None:
    return optional_number(_successful(metrics, key), "mean") or None


def _cap(benchmark: RawRecord) -> int | None:
    """Requests at once, at most, where the strategy fixes it."""
    strategy = inner(benchmark, "config", "strategy") or inner(benchmark, "args", "strategy")
    kind = text(strategy, "type_") or text(strategy, "kind")
    if kind == "synchronous":
        return 1
    return count(strategy, "streams") if kind == "concurrent" else None


def _model(record: RawRecord, benchmark: RawRecord) -> str | None:
    said: tuple[tuple[Any, str], ...] = (
        (inner(benchmark, "config", "backend"), "model"), (inner(record, "config", "backend"), "model"),
        (inner(benchmark, "worker"), "backend_model"),
    )  # fmt: skip
    return next((name for place, key in said if (name := text(place, key)) is not None), None)


GUIDELLM = Tool("GuideLLM", matches, read)
