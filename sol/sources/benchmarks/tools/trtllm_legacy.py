"""TensorRT-LLM's older benchmarks: gptManagerBenchmark, gptSessionBenchmark and benchmark.py. Milliseconds.

Keys as in TensorRT-LLM 0.10, benchmarks/cpp and benchmarks/python. gptSessionBenchmark's generation
phase divides by a token more than it has steps; only benchmark.py counts the steps, so only that
becomes a decode step.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sol.sources.benchmarks.importer import Finding, Found, Given, RawRecord, Tool, Unreadable, count, number, optional_number, text

MANAGER = {"request": "avg_sequence_latency(ms)", "ttft": "avg_time_to_first_token(ms)", "tpot": "avg_inter_token_latency(ms)"}


def manager_matches(record: RawRecord) -> bool:
    """gptManagerBenchmark's CSV, or what it prints."""
    return "seq_throughput(seq/sec)" in record and "num_samples" in record


def read_manager(record: RawRecord, given: Given) -> Iterator[Finding]:
    """Averages of requests under in-flight batching: none is a step. Its output tokens are those asked for."""
    for metric, key in MANAGER.items():
        value = optional_number(record, key)
        if value:
            yield Found(
                {"metric": metric, "measured_s": value / 1e3, "engine": "tensorrt-llm", "source": "gptManagerBenchmark"}, (), metric
            )
    rate = optional_number(record, "token_throughput(token/sec)")
    if rate:
        asked = "output tokens as requested: an early end makes the rate too high"
        fields = {"metric": "output_token", "measured_s": 1 / rate, "engine": "tensorrt-llm", "source": "gptManagerBenchmark"}
        yield Found(fields, (asked,), "output_token")


def session_matches(record: RawRecord) -> bool:
    """A line of gptSessionBenchmark, or a row of benchmark.py."""
    return "latency(ms)" in record and "batch_size" in record and "input_length" in record


def read_session(record: RawRecord, given: Given) -> Iterator[Finding]:
    """The request of a static batch; benchmark.py's generation phase as decode steps."""
    batch, prompt, output = (count(record, k) for k in ("batch_size", "input_length", "output_length"))
    if batch is None or prompt is None or output is None:
        raise Unreadable("batch_size, input_length or output_length is missing")
    if text(record, "latency(ms)") == "N/A":
        raise Unreadable("latency N/A: the run was out of memory")
    fields = _python(record) if "compute_cap" in record else {"source": "gptSessionBenchmark"}
    fields |= {"engine": "tensorrt-llm", "batch": float(batch)}
    lengths = {"prompt_tokens": float(prompt), "output_tokens": float(output)}
    yield Found({**fields, **lengths, "metric": "request", "measured_s": number(record, "latency(ms)") / 1e3}, (), "request")
    tokens = optional_number(record, "total_generated_tokens")
    if tokens is None or optional_number(record, "generation_time(ms)") is None:
        return
    if tokens != batch * (output - 1) or output < 2:
        raise Unreadable(f"total_generated_tokens={tokens:g} is not batch · (output_length − 1): its steps are not certain")
    step = number(record, "generation_time(ms)") / 1e3 / (output - 1)
    says = "ctx of a decode step is the mean of what is cached before each: input_length + (output_length − 2)/2"
    yield Found({**fields, "phase": "decode", "measured_s": step, "ctx": prompt + (output - 2) / 2}, (says,), "decode")


def _python(record: RawRecord) -> dict[str, Any]:
    if text(record, "quantization") not in (None, "QuantMode.None", "None"):
        raise Unreadable(f"quantization {record['quantization']} does not say the format of the weights")
    world = count(record, "world_size")
    if world != 1:
        raise Unreadable("world_size is not 1, and how the model was split is not recorded")
    return {
        "model": text(record, "model_name"),
        "dtype": text(record, "precision"),
        "tp": 1,
        "pp": 1,
        "source": "TensorRT-LLM benchmark.py",
    }


TRTLLM_MANAGER = Tool("gptManagerBenchmark", manager_matches, read_manager)
TRTLLM_SESSION = Tool("gptSessionBenchmark or benchmark.py", session_matches, read_session)
