"""SGLang's bench_serving: what a client saw of a loaded server, one run a line.

Keys as in sgl-project/sglang, python/sglang/bench_serving.py; milliseconds, even where the first
versions' keys do not say so. Files since November 2025 hold the server's arguments; older ones not
even the model. `random_input_len` and its like are upper ends, not lengths.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sol.sources.benchmarks.importer import (
    Finding,
    Given,
    RawRecord,
    Tool,
    Unreadable,
    count,
    flag,
    from_ms,
    inner,
    number,
    optional_number,
    text,
)
from sol.sources.benchmarks.tools.server_formats import weight_format
from sol.sources.benchmarks.tools.serving import Served, served


def matches(record: RawRecord) -> bool:
    """A run of any version since July 2024."""
    return ("random_range_ratio" in record and "completed" in record) or (
        "output_token_throughput" in record and "random_input_len" in record
    )


def read(record: RawRecord, given: Given) -> Iterator[Finding]:
    """Time per output token, to the first token and per request, at the load the client made."""
    if "completed" not in record:
        raise Unreadable("a file of 2024 without the number of completed requests: lengths and load are unknown")
    completed, duration = number(record, "completed"), optional_number(record, "duration") or optional_number(record, "benchmark_duration")
    ttft, tpot, e2e = (from_ms(record, f"mean_{m}_ms") for m in ("ttft", "tpot", "e2e_latency"))
    prompt, output = (number(record, f"total_{side}_tokens") / completed for side in ("input", "output"))
    mean = optional_number(record, "concurrency") or (completed * e2e / duration if e2e and duration else None)
    fields, speculative = _server(record, given)
    drafted = optional_number(record, "accept_length") is not None or speculative
    yield from served(
        Served(
            ttft_s=ttft, tpot_s=tpot, e2e_s=e2e, output_tokens_per_s=optional_number(record, "output_throughput"), prompt=prompt,
            output=output, cap=count(record, "max_concurrency"), mean=mean,
            refused_tpot="speculative decoding: a token is not a step" if drafted else "",
        ), fields, given,
    )  # fmt: skip


def _server(record: RawRecord, given: Given) -> tuple[dict[str, Any], bool]:
    """What server_info says of model and split, where there is one of a single server; whether it drafts tokens."""
    info = inner(record, "server_info")
    backend = text(record, "backend") or ""
    fields: dict[str, Any] = {
        "engine": "sglang" if info or backend in ("sglang", "sglang-native") else None,
        "source": "sglang bench_serving",
    }
    if not info or "prefill" in info or "decode" in info:
        return fields, False
    if (count(info, "dp_size") or 1) > 1 and "dp" not in given:
        raise Unreadable("dp_size is above 1: whether each replica's batch or all of them is meant is not certain; pass dp=", ("dp",))
    graphs = flag(info, "disable_cuda_graph")
    fields |= {
        "model": text(info, "model_path"), "dtype": weight_format(text(info, "dtype"), text(info, "quantization"), given),
        "kv_dtype": text(info, "kv_cache_dtype"), "tp": count(info, "tp_size"), "pp": count(info, "pp_size"), "ep": count(info, "ep_size"),
        "cuda_graphs": None if graphs is None else not graphs,
    }  # fmt: skip
    return fields, text(info, "speculative_algorithm") is not None


SGLANG_SERVING = Tool("sglang bench_serving", matches, read)
