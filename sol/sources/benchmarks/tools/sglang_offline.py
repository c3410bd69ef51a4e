"""SGLang's bench_one_batch, bench_one_batch_server and bench_offline_throughput: no client, or one batch at a time.

Keys as in sgl-project/sglang, python/sglang/bench_one_batch.py and its neighbours; seconds. None of
them names the model (since September 2025 one does), the device or the formats.
"""

from __future__ import annotations

from collections.abc import Iterator

from sol.sources.benchmarks.importer import Finding, Found, Given, RawRecord, Tool, Unreadable, count, number, optional_number, text


def one_batch_matches(record: RawRecord) -> bool:
    """bench_one_batch, and bench_latency before it."""
    return "prefill_latency" in record and "batch_size" in record and "input_len" in record


def read_one_batch(record: RawRecord, given: Given) -> Iterator[Finding]:
    """The prefill of a batch, and the median (before September 2024 the mean) of its decode steps, each timed by itself."""
    batch, prompt, output = (count(record, k) for k in ("batch_size", "input_len", "output_len"))
    if batch is None or prompt is None:
        raise Unreadable("batch_size or input_len is missing")
    fields = {"batch": float(batch), "engine": "sglang", "source": "sglang bench_one_batch"}
    yield Found({**fields, "phase": "prefill", "measured_s": number(record, "prefill_latency"), "ctx": float(prompt)}, (), "prefill")
    key = next((k for k in ("median_decode_latency", "avg_decode_latency") if optional_number(record, k) is not None), None)
    if key is None:
        return
    if output is None or output < 2:
        raise Unreadable(f"{key} of {output or 'no'} output tokens: there is no decode step")
    says = f"a decode step is {key}; ctx is the mean of what is cached before each: input_len + (output_len − 2)/2"
    step = {"phase": "decode", "measured_s": number(record, key), "ctx": prompt + (output - 2) / 2}
    yield Found({**fields, **step}, (says,), "decode")


def server_matches(record: RawRecord) -> bool:
    """bench_one_batch_server."""
    return "latency" in record and "overall_throughput" in record and "batch_size" in record


def read_server(record: RawRecord, given: Given) -> Iterator[Finding]:
    """One batch over HTTP, prefill and all steps in it: a request. Its output_throughput has had two definitions."""
    if (optional_number(record, "acc_length") or 0.0) > 1:
        raise Unreadable("speculative decoding: a token is not a step")
    lengths = {
        k: float(number(record, key))
        for k, key in (("batch", "batch_size"), ("prompt_tokens", "input_len"), ("output_tokens", "output_len"))
    }
    fields = {"metric": "request", "measured_s": number(record, "latency"), "model": text(record, "model_path"), "engine": "sglang"}
    yield Found({**fields, **lengths, "source": "sglang bench_one_batch_server"})


def offline_matches(record: RawRecord) -> bool:
    """bench_offline_throughput."""
    return "successful_requests" in record and "total_latency" in record


def read_offline(record: RawRecord, given: Given) -> Iterator[Finding]:
    """Time per output token of the whole system, all requests submitted at once."""
    requests, output = number(record, "successful_requests"), number(record, "total_output_tokens")
    lengths = {"prompt_tokens": number(record, "total_input_tokens") / requests, "output_tokens": output / requests}
    fields = {"metric": "output_token", "measured_s": number(record, "total_latency") / output, "engine": "sglang"}
    yield Found({**fields, **lengths, "source": "sglang bench_offline_throughput"})


SGLANG_ONE_BATCH = Tool("sglang bench_one_batch", one_batch_matches, read_one_batch)
SGLANG_SERVER = Tool("sglang bench_one_batch_server", server_matches, read_server)
SGLANG_OFFLINE = Tool("sglang bench_offline_throughput", offline_matches, read_offline)
