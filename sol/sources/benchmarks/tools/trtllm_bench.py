"""TensorRT-LLM's trtllm-bench `--report_json`: averages over requests, with the engine and the split beside them.

Keys as in NVIDIA/TensorRT-LLM, tensorrt_llm/bench/dataclasses/reporting.py; milliseconds. Newer
versions name the first GPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sol.sources.benchmarks.importer import Finding, Given, RawRecord, Tool, count, from_ms, inner, number, optional_number, text
from sol.sources.benchmarks.tools.server_formats import weight_format
from sol.sources.benchmarks.tools.serving import Served, served


def matches(record: RawRecord) -> bool:
    """A report of any version."""
    return all(isinstance(record.get(k), dict) for k in ("engine", "world_info", "performance"))


def read(record: RawRecord, given: Given) -> Iterator[Finding]:
    """Time per output token and to the first token (streaming runs only), and per request."""
    engine, world, lengths = inner(record, "engine"), inner(record, "world_info"), inner(record, "request_info")
    performance, stream = inner(record, "performance"), inner(record, "streaming_metrics")
    fields: dict[str, Any] = {
        "model": text(engine, "model"), "gpu": text(inner(record, "machine"), "name"), "engine": "tensorrt-llm",
        "dtype": weight_format(text(engine, "dtype"), text(engine, "quantization"), given), "kv_dtype": text(engine, "kv_cache_dtype"),
        "tp": count(world, "tp_size"), "pp": count(world, "pp_size"), "ep": count(world, "ep_size"), "source": "trtllm-bench",
    }  # fmt: skip
    mean = optional_number(lengths, "avg_num_concurrent_requests")
    yield from served(
        Served(
            ttft_s=from_ms(stream, "avg_ttft_ms"), tpot_s=from_ms(stream, "avg_tpot_ms"),
            e2e_s=from_ms(performance, "avg_request_latency_ms"),
            output_tokens_per_s=optional_number(performance, "system_output_throughput_tok_s"), prompt=number(lengths, "avg_input_length"),
            output=number(lengths, "avg_output_length"), cap=1 if count(world, "max_batch_size") == 1 else None, mean=mean or None,
            refused_tpot="speculative decoding: a token is not a step" if inner(record, "decoding_stats") else "",
        ), fields, given,
    )  # fmt: skip


TRTLLM_BENCH = Tool("trtllm-bench", matches, read)
