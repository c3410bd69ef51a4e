"""NVIDIA's GenAI-Perf and its successor AIPerf: a client's statistics, a metric with its unit each.

Keys as in triton-inference-server/perf_analyzer, genai-perf/genai_perf/export_data, and in
ai-dynamo/aiperf, src/aiperf/common/models/export_models.py. Their `inter_token_latency` is
(e2e − ttft)/(output − 1). The CSV holds the metrics only.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sol.errors import short
from sol.sources.benchmarks.importer import Finding, Given, RawRecord, Tool, Unreadable, count, flag, inner, optional_number, text
from sol.sources.benchmarks.tools.serving import Served, served

SECONDS = {"s": 1.0, "sec": 1.0, "seconds": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


def genai_matches(record: RawRecord) -> bool:
    """GenAI-Perf's JSON: metrics that carry a unit beside the configuration."""
    told = "input_config" in record and not aiperf_matches(record)
    return told and any("unit" in inner(record, k) for k in ("request_latency", "request_throughput", "inter_token_latency"))


def aiperf_matches(record: RawRecord) -> bool:
    """AIPerf's JSON of its three generations."""
    return "aiperf_version" in record or ("input_config" in record and ("was_cancelled" in record or "records" in record))


def csv_matches(record: RawRecord) -> bool:
    """The CSV of either."""
    return record.get("csv") == "GenAI-Perf or AIPerf"


def read(record: RawRecord, given: Given) -> Iterator[Finding]:
    """Time between tokens, to the first token and per request, at the concurrency the configuration says."""
    if flag(record, "was_cancelled"):
        raise Unreadable("the run was cancelled")
    metrics = inner(record, "records") or record
    seconds = {k: _seconds(metrics, k) for k in ("time_to_first_token", "inter_token_latency", "request_latency")}
    if not any(seconds.values()):
        raise Unreadable("no time_to_first_token, inter_token_latency or request_latency")
    config = inner(record, "input_config")
    drafted = any(k.startswith("spec_decode_") for k in metrics)
    cap = count(inner(config, "perf_analyzer", "stimulus"), "concurrency") or count(inner(config, "loadgen"), "concurrency")
    fields: dict[str, Any] = {
        "model": _model(config),
        **_device(record, given),
        "source": "AIPerf" if aiperf_matches(record) else "GenAI-Perf",
    }
    yield from served(
        Served(
            ttft_s=seconds["time_to_first_token"], tpot_s=seconds["inter_token_latency"], e2e_s=seconds["request_latency"],
            output_tokens_per_s=_average(metrics, "output_token_throughput"), prompt=_average(metrics, "input_sequence_length"),
            output=_average(metrics, "output_sequence_length"), cap=cap or count(config, "concurrency"),
            refused_tpot="speculative decoding: a token is not a step" if drafted else "",
        ), fields, given,
    )  # fmt: skip


def _average(metrics: RawRecord, key: str) -> float | None:
    return optional_number(inner(metrics, key), "avg") or None


def _seconds(metrics: RawRecord, key: str) -> float | None:
    value, unit = _average(metrics, key), text(inner(metrics, key), "unit")
    if value is None:
        return None
    if unit not in SECONDS:
        raise Unreadable(f"{key} has the unit {short(unit)}, none of time")
    return value * SECONDS[unit]


def _model(config: RawRecord) -> str | None:
    """The one model that was asked; its key has moved twice."""
    for names in (config.get("model_names"), inner(config, "endpoint").get("model_names"), config.get("model")):
        if isinstance(names, str):
            return names
        if isinstance(names, list) and len(names) == 1 and isinstance(names[0], str):
            return names[0]
    return None


def _device(record: RawRecord, given: Given) -> dict[str, Any]:
    """The device that telemetry names, where it saw one only."""
    endpoints = inner(record, "telemetry_data", "endpoints")
    seen = [text(inner(gpus, gpu), "gpu_name") for e in endpoints for gpus in [inner(endpoints, e, "gpus")] for gpu in gpus]
    if len(seen) > 1 and not {"tp", "pp"} & given.keys():
        raise Unreadable(f"telemetry saw {len(seen)} devices, and not which of them served; pass tp= (or pp=)", ("tp",))
    return {"gpu": seen[0] if seen and len(set(seen)) == 1 else None}


GENAI_PERF = Tool("GenAI-Perf", genai_matches, read)
AIPERF = Tool("AIPerf", aiperf_matches, read)
GENAI_CSV = Tool("GenAI-Perf or AIPerf (CSV)", csv_matches, read)
