"""vLLM's `bench latency` and `bench throughput`: whole batches of requests, timed from outside.

Keys as in vllm-project/vllm, vllm/benchmarks/latency.py and throughput.py. Neither file says what was
run; the companion in PyTorch's benchmark format (`.pytorch.json`) holds the arguments.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sol.sources.benchmarks.importer import Finding, Found, Given, RawRecord, Refused, Tool, Unreadable, count, flag, inner, number, text
from sol.sources.benchmarks.tools.server_formats import weight_format

STATIC = ("batch", "prompt_tokens", "output_tokens")
CACHED = "no prompt was cached: prefix caching is not recorded, and every iteration sends the same prompts"


def latency_matches(record: RawRecord) -> bool:
    """The latency file."""
    return "avg_latency" in record and "percentiles" in record and "latencies" in record


def read_latency(record: RawRecord, given: Given) -> Iterator[Finding]:
    """The mean time of one call, prefill and all steps of a batch in it: a request, no step."""
    yield Found(
        {"metric": "request", "measured_s": number(record, "avg_latency"), "engine": "vllm", "source": "vllm bench latency"},
        (CACHED,),
        "",
        STATIC,
    )


def pytorch_matches(record: RawRecord) -> bool:
    """One metric in PyTorch's format."""
    return inner(record, "benchmark").get("name") == "vLLM benchmark" and "metric" in record


def read_pytorch(record: RawRecord, given: Given) -> Iterator[Finding]:
    """The latency, with the arguments it was run with; other metrics stand in the file beside it."""
    metric, args = inner(record, "metric"), inner(record, "benchmark", "extra_info", "args")
    if metric.get("name") != "latency":
        yield Refused(f"metric {metric.get('name')!r}: read the .json file it was written beside")
        return
    if args.get("speculative_config") or args.get("speculative_model"):
        raise Unreadable("speculative decoding: a token is not a step")
    values = metric.get("benchmark_values")
    if not isinstance(values, list) or not values:
        raise Unreadable("benchmark_values is missing")
    times = [number({"benchmark_values": v}, "benchmark_values") for v in values]
    lengths = {k: count(args, key) for k, key in (("batch", "batch_size"), ("prompt_tokens", "input_len"), ("output_tokens", "output_len"))}
    eager = flag(args, "enforce_eager")
    fields: dict[str, Any] = {
        "metric": "request", "measured_s": sum(times) / len(times), "engine": "vllm", "source": "vllm bench latency",
        "model": text(inner(record, "model"), "name") or text(args, "model"),
        "dtype": weight_format(text(args, "dtype"), text(args, "quantization"), given),
        "kv_dtype": text(args, "kv_cache_dtype"), "tp": count(args, "tensor_parallel_size"), "pp": count(args, "pipeline_parallel_size"),
        "cuda_graphs": None if eager is None else not eager, **{k: None if v is None else float(v) for k, v in lengths.items()},
    }  # fmt: skip
    cached = flag(args, "enable_prefix_caching")
    if cached:
        raise Unreadable("enable_prefix_caching is set, and every iteration sends the same prompts: their prefill is not in the time")
    yield Found(fields, () if cached is False else (CACHED,), "", STATIC)


def throughput_matches(record: RawRecord) -> bool:
    """The throughput file."""
    return "elapsed_time" in record and "total_num_tokens" in record and "requests_per_second" in record


def read_throughput(record: RawRecord, given: Given) -> Iterator[Finding]:
    """Time per output token of the whole system; the file adds prompt and output tokens up, so their lengths are asked for."""
    fields = {"metric": "output_token", "engine": "vllm", "source": "vllm bench throughput"}
    if not given.keys() >= {"prompt_tokens", "output_tokens"}:
        yield Found(fields, needs=("prompt_tokens", "output_tokens"))
        return
    requests, tokens = number(record, "num_requests"), number(record, "total_num_tokens")
    per_request = given["prompt_tokens"] + given["output_tokens"]
    if abs(tokens / requests - per_request) > 0.01 * per_request:
        raise Unreadable(f"{tokens / requests:g} tokens per request are recorded, and {per_request:g} were given")
    time = number(record, "elapsed_time") / (requests * given["output_tokens"])
    yield Found({**fields, "measured_s": time})


VLLM_LATENCY = Tool("vllm bench latency", latency_matches, read_latency)
VLLM_PYTORCH = Tool("vllm bench latency (PyTorch format)", pytorch_matches, read_pytorch)
VLLM_THROUGHPUT = Tool("vllm bench throughput", throughput_matches, read_throughput)
