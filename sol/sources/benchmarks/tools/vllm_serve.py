"""vLLM's `bench serve` and its ancestor benchmark_serving.py: what a client saw of a loaded server.

Keys as in vllm-project/vllm, vllm/benchmarks/serve.py; summaries in milliseconds. Nothing in the file
says what the server runs on, unless `--metadata` did: its entries with our own column names are read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sol.sources.benchmarks.importer import Finding, Given, RawRecord, Tool, Unreadable, count, flag, from_ms, number, optional_number, text
from sol.sources.benchmarks.tools.serving import Served, served

WORDS = ("gpu", "dtype", "kv_dtype", "engine", "session")
SPLIT = ("tp", "pp", "ep", "dp")


def matches(record: RawRecord) -> bool:
    """A run of any version since February 2024 (InferenceX and TensorRT-LLM forked it); ML.ENERGY's, which adds energy, is not."""
    told = "model_id" in record and "num_prompts" in record and "steady_state_energy_per_token" not in record
    return told and ("request_throughput" in record or "request_inthroughput" in record)


def read(record: RawRecord, given: Given) -> Iterator[Finding]:
    """Time per output token, to the first token and per request, at the load the client made."""
    metadata: dict[str, Any] = {k: text(record, k) for k in WORDS} | {k: count(record, k) for k in SPLIT}
    metadata["tp"] = metadata["tp"] or count(record, "tensor_parallel_size")
    fields = {**metadata, "model": text(record, "model_id"), "cuda_graphs": flag(record, "cuda_graphs"), "source": "vllm bench serve"}
    yield from served(client_averages(record), fields, given)


def client_averages(record: RawRecord) -> Served:
    """The averages under the keys that vLLM's client and those made from it share. Raises `Unreadable`."""
    if "mean_ttft_ms" not in record:
        raise Unreadable("no mean_ttft_ms: a run of embeddings, or one that generated nothing")
    completed = number(record, "completed")
    prompt, output = number(record, "total_input_tokens") / completed, number(record, "total_output_tokens") / completed
    ttft, tpot, e2e = (from_ms(record, f"mean_{m}_ms") for m in ("ttft", "tpot", "e2el"))
    duration, rate = optional_number(record, "duration"), optional_number(record, "output_throughput")
    refused = _no_tpot(record)
    spans = e2e if e2e is not None or ttft is None or tpot is None or refused else ttft + tpot * (output - 1)
    return Served(
        ttft_s=ttft, tpot_s=tpot, e2e_s=e2e, output_tokens_per_s=rate, prompt=prompt, output=output, cap=count(record, "max_concurrency"),
        mean=completed * spans / duration if spans and duration else None, refused_tpot=refused,
    )  # fmt: skip


def _no_tpot(record: RawRecord) -> str:
    """Why mean_tpot_ms is not (e2e − ttft)/(output − 1) of single tokens."""
    if any(k.startswith("spec_decode_") and record[k] is not None for k in record):
        return "speculative decoding: a token is not a step"
    if "std_tpot_ms" not in record and "mean_itl_ms" not in record and optional_number(record, "mean_tpot_ms") is not None:
        return "mean_tpot_ms of a version that may divide the whole request, prefill included, by its tokens (early 2024)"
    return ""


VLLM_SERVE = Tool("vllm bench serve", matches, read)
