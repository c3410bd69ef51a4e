"""Each tool's output, in its own shape with made-up values: what it becomes was worked out by hand from the tool's definitions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sol import InvalidInput, Measurements, floor, read_measurements
from sol.sources.benchmarks.detect import TOOLS
from sol.sources.database.database import load_gpu
from sol.sources.database.device_names import reported_gpu
from sol.sources.database.tomlfiles import data_root, read_toml

FOLDER = Path(__file__).parents[2] / "fixtures" / "benchmarks"
QWEN = "qwen2.5-7b"
ASKED = {"model": QWEN, "gpu": "h100"}


def read(name: str, **given: Any) -> Measurements:
    return read_measurements(FOLDER / name, **given)


def steps(m: Measurements) -> list[tuple[Any, ...]]:
    """(phase, seconds, batch, ctx, new tokens) of each row."""
    return [(r.phase, pytest.approx(r.measured_s, rel=1e-9), r.batch, r.ctx, r.new_tokens) for r in m]


def totals(m: Measurements) -> dict[str, float]:
    """Metric → seconds of the aggregates of one run."""
    assert len({a.metric for a in m.aggregates}) == len(m.aggregates)
    return {a.metric: a.measured_s for a in m.aggregates}


# 64 tokens generated after d cached ones: step i of 64 finds d + i − 1 in the cache, d + 31.5 in the mean.
LLAMA_BENCH = [
    ("prefill", 0.0256, 1.0, 256.0, 256.0),
    ("decode", 0.480 / 64, 1.0, 31.5, 1.0),
    ("prefill", 0.030, 1.0, 1256.0, 256.0),  # 256 new tokens after 1,000 cached ones
    ("decode", 0.512 / 64, 1.0, 1031.5, 1.0),
]


@pytest.mark.truth
@pytest.mark.parametrize("name", ["llama-bench.json", "llama-bench.jsonl", "llama-bench.csv", "llama-bench.sql"])
def test_llama_bench_says_the_same_in_every_format(name: str) -> None:
    m = read(name, model="llama-3.1-8b")
    assert (m.tool, m.rejected) == ("llama-bench", ())
    assert steps(m) == LLAMA_BENCH
    assert {(r.model, r.gpu, r.dtype, r.kv_dtype, r.tp, r.pp, r.engine) for r in m} == {
        ("llama-3.1-8b", "rtx-4090", "q4_k_m", "fp16", 1, 1, "llama.cpp")
    }
    (request,) = m.aggregates  # pp256+tg64: neither a prefill nor a step
    assert (request.metric, request.measured_s, request.prompt_tokens, request.output_tokens) == ("request", 0.5056, 256.0, 64.0)
    assert "gpu 'NVIDIA GeForce RTX 4090' is rtx-4090" in m.assumptions


def test_llama_bench_names_no_model_of_ours() -> None:
    m = read("llama-bench.json")
    assert (len(m), len(m.aggregates), len(m.rejected)) == (0, 0, 5)
    assert "llama 8B" in m.rejected[0].reason
    assert "model=" in m.rejected[0].reason
    assert m.rejected[0].values["avg_ns"] == 25_600_000


def test_llama_bench_holds_another_model_than_the_one_given() -> None:
    m = read("llama-bench.json", model=QWEN)
    assert len(m) == 0
    assert "8.03 billion parameters" in m.rejected[0].reason


@pytest.mark.truth
def test_llama_bench_markdown_prints_rates() -> None:
    m = read("llama-bench.md", model="llama-3.1-8b", gpu="rtx-4090")
    # pp256 at 10,000 t/s is 25.6 ms; tg64 at 125 t/s is 8 ms per step; at 1,000 cached ones 8,000 and 100 t/s
    expected = [(0.0256, 256.0), (0.008, 31.5), (0.032, 1256.0), (0.010, 1031.5)]
    assert [(pytest.approx(r.measured_s), r.ctx) for r in m] == expected
    assert totals(m) == {"request": pytest.approx(320 / 640)}
    assert {(r.dtype, r.kv_dtype) for r in m} == {("q4_k_m", "fp16")}  # f16 has no column: only what is not the default has
    with pytest.raises(InvalidInput, match=r"does not record gpu; pass gpu="):
        read("llama-bench.md", model="llama-3.1-8b")


@pytest.mark.truth
def test_llama_bench_of_2023() -> None:
    m = read("llama-bench-2023.json", model="llama-2-7b")
    assert steps(m) == [("decode", 0.4 / 64, 1.0, 31.5, 1.0)]
    assert (m[0].dtype, m[0].kv_dtype) == ("q4_0", "fp16")


def changed(tmp_path: Path, name: str, **change: Any) -> Path:
    """A fixture with keys of its first record changed."""
    text = (FOLDER / name).read_text(encoding="utf-8")
    record = json.loads(text.splitlines()[0]) if name.endswith("l") else json.loads(text)
    record = record[0] if isinstance(record, list) else record
    path = tmp_path / "changed.json"
    path.write_text(json.dumps(record | change), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"n_gpu_layers": 20}, "20 of the 32 layers"),
        ({"n_gpu_layers": 32}, "32 of the 32 layers of llama-3.1-8b and its output"),
        ({"no_kv_offload": True}, "no_kv_offload"),
        ({"n_cpu_moe": 4}, "n_cpu_moe=4"),
        ({"tensor_buft_overrides": "exps=CPU"}, "tensor_buft_overrides"),
        ({"embeddings": True}, "embeddings"),
        ({"backends": "CUDA,RPC"}, "other machines"),
        ({"type_v": "q8_0"}, "keys are cached as 'f16' and values as 'q8_0'"),
        ({"gpu_info": "NVIDIA GeForce RTX 4090, NVIDIA GeForce RTX 3090"}, "several devices that differ"),
        ({"gpu_info": "NVIDIA GeForce RTX 3080"}, "no gpu 'NVIDIA GeForce RTX 3080'"),  # of 10 or of 12 GB
        ({"model_type": "llama 8B IQ2_XXS - 2.0625 bpw"}, "pass dtype="),
        ({"avg_ns": 0}, "avg_ns=0"),
        ({"n_prompt": 0}, "nothing was timed"),
    ],
)
def test_llama_bench_rows_that_are_not_the_device_alone(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    path = changed(tmp_path, "llama-bench.jsonl", **change)
    m = read_measurements(path, model="llama-3.1-8b")
    assert (len(m), len(m.aggregates)) == (0, 0)
    assert said in m.rejected[0].reason


def test_llama_bench_on_several_devices_asks_how_they_were_used(tmp_path: Path) -> None:
    path = changed(tmp_path, "llama-bench.jsonl", gpu_info="NVIDIA GeForce RTX 4090, NVIDIA GeForce RTX 4090")
    with pytest.raises(InvalidInput, match="2 devices, and how the model was split is not certain; pass pp="):
        read_measurements(path, model="llama-3.1-8b")


def test_llama_bench_on_two_devices_in_layers(tmp_path: Path) -> None:
    path = changed(tmp_path, "llama-bench.jsonl", gpu_info="NVIDIA GeForce RTX 4090, NVIDIA GeForce RTX 4090")
    (row,) = read_measurements(path, model="llama-3.1-8b", pp=2)
    assert (row.gpu, row.tp, row.pp) == ("rtx-4090", 1, 2)
    path = changed(
        tmp_path, "llama-bench.jsonl", gpu_info="NVIDIA GeForce RTX 3090, NVIDIA GeForce RTX 4090", split_mode="none", main_gpu=1
    )
    (row,) = read_measurements(path, model="llama-3.1-8b")
    assert (row.gpu, row.pp) == ("rtx-4090", 1)


@pytest.mark.truth
def test_llama_batched_bench() -> None:
    m = read("llama-batched-bench.jsonl", **ASKED)
    # 40 tokens of each after 300: 0.32 s and 0.48 s for 40 steps; the cache holds 319.5 in the mean
    assert steps(m) == [
        ("prefill", 0.030, 1.0, 300.0, 300.0),
        ("decode", 0.008, 1.0, 319.5, 1.0),
        ("prefill", 0.171, 6.0, 300.0, 300.0),
        ("decode", 0.012, 6.0, 319.5, 1.0),
        ("prefill", 0.031, 1.0, 300.0, 300.0),  # one prompt for all six
    ]
    (rejected,) = m.rejected  # and steps that read one cache for all six
    assert "share the prompt's cache" in rejected.reason
    with pytest.raises(InvalidInput, match="does not record model, gpu"):
        read("llama-batched-bench.jsonl")


@pytest.mark.truth
def test_llama_batched_bench_one_sequence_after_another() -> None:
    m = read("llama-batched-bench.md", **ASKED)
    assert steps(m) == [("prefill", 0.171, 6.0, 300.0, 300.0), ("decode", 1.92 / 240, 1.0, 319.5, 1.0)]


@pytest.mark.truth
def test_vllm_latency_is_a_request() -> None:
    m = read("vllm-latency.json", **ASKED, batch=4, prompt_tokens=512, output_tokens=64)
    assert len(m) == 0
    (a,) = m.aggregates
    assert (a.metric, a.measured_s, a.concurrency, a.prompt_tokens, a.output_tokens, a.engine) == ("request", 2.5, 4.0, 512.0, 64.0, "vllm")
    with pytest.raises(InvalidInput, match="does not record model, gpu, batch, prompt_tokens, output_tokens"):
        read("vllm-latency.json")


@pytest.mark.truth
def test_vllm_latency_with_its_arguments() -> None:
    (a,) = read("vllm-latency.pytorch.json", gpu="h100").aggregates
    assert (a.measured_s, a.concurrency, a.prompt_tokens, a.output_tokens) == (2.5, 4.0, 512.0, 64.0)
    assert (a.model, a.dtype, a.kv_dtype, a.tp, a.cuda_graphs) == (QWEN, "bf16", "fp8", 2, False)


@pytest.mark.truth
def test_vllm_throughput_needs_the_lengths() -> None:
    m = read("vllm-throughput.json", **ASKED, prompt_tokens=300, output_tokens=200)
    assert totals(m) == {"output_token": 50.0 / (100 * 200)}
    wrong = read("vllm-throughput.json", **ASKED, prompt_tokens=300, output_tokens=500)
    assert "500 tokens per request are recorded, and 800 were given" in wrong.rejected[0].reason
    with pytest.raises(InvalidInput, match="prompt_tokens, output_tokens"):
        read("vllm-throughput.json", **ASKED)


# Ten requests of 500 tokens in and 101 out: 100 steps each, which find 500 … 599 tokens in the cache, 549.5 in the mean.
@pytest.mark.truth
@pytest.mark.parametrize("name", ["vllm-serve.json", "trtllm-bench.json", "mlenergy-results.json", "sglang-serving.jsonl"])
def test_requests_one_at_a_time_are_steps_of_batch_one(name: str, tmp_path: Path) -> None:
    given = {} if name in ("trtllm-bench.json", "mlenergy-results.json") else {"gpu": "h100"}
    path = changed(tmp_path, name, max_concurrency=1)
    m = read_measurements(path, **given)  # type: ignore[arg-type]
    assert steps(m) == [("decode", 0.0095, 1.0, 549.5, 1.0)]
    assert np.mean([500 + i for i in range(100)]) == m[0].ctx
    assert totals(m)["ttft"] == pytest.approx(0.080)  # holds queueing and the network, so it is no prefill
    assert m[0].gpu == "h100-sxm"


@pytest.mark.truth
def test_requests_under_load_are_no_steps() -> None:
    m = read("vllm-serve-loaded.jsonl")
    assert len(m) == 0
    assert {a.metric for a in m.aggregates} == {"tpot", "ttft", "request", "output_token"}
    first = m.aggregates[0]
    assert (first.metric, first.measured_s, first.gpu, first.tp, first.dtype) == ("tpot", 0.0095, "h100-sxm", 2, "fp8")  # from --metadata
    assert first.concurrency == pytest.approx(10 * 1.6 / 20.0)  # requests · time of each / duration
    rate = next(a for a in m.aggregates if a.metric == "output_token")
    assert rate.measured_s == pytest.approx(1 / 50.5)


@pytest.mark.truth
def test_a_batch_that_the_user_vouches_for() -> None:
    m = read("vllm-serve-loaded.jsonl", batch=8)
    assert steps(m) == [("decode", 0.0095, 8.0, 549.5, 1.0)] * 2
    assert any("batch 8 in every step, as given" in line for line in m.assumptions)
    more = read("vllm-serve-loaded.jsonl", batch=9)  # the first run had at most 8 at once, the second no limit
    assert len(more) == 1
    assert "at most 8 requests" in more.rejected[0].reason


@pytest.mark.truth
def test_vllm_serve_of_early_2024_counts_the_prefill_into_every_token() -> None:
    m = read("vllm-serve-2024-02.json", gpu="h100", batch=1)
    assert len(m) == 0
    assert "prefill included" in m.rejected[0].reason
    assert set(totals(m)) == {"ttft", "output_token"}


@pytest.mark.truth
def test_sglang_serving() -> None:
    m = read("sglang-serving.jsonl", gpu="h100")
    (row,) = m  # of the second line, which drafts tokens, the time between tokens is not read
    assert (row.model, row.dtype, row.kv_dtype, row.tp, row.cuda_graphs, row.engine) == (QWEN, "bf16", "fp8", 2, True, "sglang")
    assert "speculative" in m.rejected[0].reason
    assert [a.concurrency for a in m.aggregates] == [0.515] * 6
    old = read("sglang-serving-2024-07.jsonl", **ASKED)
    assert (len(old), len(old.aggregates), len(old.rejected)) == (0, 0, 1)


@pytest.mark.truth
def test_sglang_without_a_server() -> None:
    m = read("sglang-one-batch.jsonl", **ASKED)
    # 11 steps after a prompt of 512: 512 … 522 in the cache
    assert np.mean(range(512, 523)) == 517.0
    assert steps(m) == [
        ("prefill", 0.020, 1.0, 512.0, 512.0),
        ("decode", 0.0075, 1.0, 517.0, 1.0),
        ("prefill", 0.072, 4.0, 512.0, 512.0),
        ("decode", 0.0080, 4.0, 517.0, 1.0),
    ]
    (a,) = read("sglang-one-batch-server.jsonl", **ASKED).aggregates
    assert (a.metric, a.measured_s, a.concurrency, a.prompt_tokens, a.output_tokens) == ("request", 0.19, 4.0, 512.0, 12.0)
    (a,) = read("sglang-offline.jsonl", **ASKED).aggregates
    assert (a.metric, a.measured_s, a.prompt_tokens, a.output_tokens) == ("output_token", 20.0 / 8000, 500.0, 160.0)


@pytest.mark.truth
def test_tensorrt_llm() -> None:
    (row,) = read("trtllm-bench.json")
    assert (row.model, row.gpu, row.dtype, row.kv_dtype, row.tp, row.engine) == (QWEN, "h100-sxm", "fp8", "fp8", 2, "tensorrt-llm")
    loaded = read("trtllm-bench-loaded.json")
    assert len(loaded) == 0
    assert totals(loaded) == {
        "tpot": pytest.approx(0.0095), "ttft": pytest.approx(0.08), "request": pytest.approx(1.03), "output_token": pytest.approx(1 / 98),
    }  # fmt: skip
    assert {a.concurrency for a in loaded.aggregates} == {6.5}


@pytest.mark.truth
@pytest.mark.parametrize("name", ["trtllm-gptManager.csv", "trtllm-gptManager.txt"])
def test_tensorrt_llm_manager(name: str) -> None:
    m = read(name, **ASKED)
    assert len(m) == 0
    assert totals(m) == {
        "request": pytest.approx(1.2), "ttft": pytest.approx(0.07), "tpot": pytest.approx(0.011), "output_token": pytest.approx(1 / 2000),
    }  # fmt: skip


@pytest.mark.truth
def test_tensorrt_llm_static_batches() -> None:
    m = read("trtllm-gptSession.txt", **ASKED)  # its generation time is divided by a token too many to be steps
    assert (len(m), totals(m)) == (0, {"request": pytest.approx(0.9)})
    m = read("trtllm-benchmark.csv", **ASKED)  # 400 tokens = 4 · 100 steps in 800 ms
    assert steps(m) == [("decode", 0.008, 4.0, 512 + 99 / 2, 1.0)]
    assert (m[0].dtype, totals(m)) == ("bf16", {"request": pytest.approx(0.9)})


# Four requests of 200 tokens in and 11 out: ten steps each, at 200 … 209 cached tokens.
@pytest.mark.truth
@pytest.mark.parametrize("name", ["genai-perf.json", "aiperf.json", "aiperf-2025-09.json"])
def test_genai_perf_and_aiperf(name: str) -> None:
    m = read(name, **({} if name == "aiperf.json" else {"gpu": "l4"}))
    assert steps(m) == [("decode", 0.008, 1.0, 204.5, 1.0)]
    assert (m[0].model, m[0].gpu) == (QWEN, "l4")
    assert totals(m) == {"ttft": pytest.approx(0.05), "request": pytest.approx(0.13), "output_token": pytest.approx(1 / 80)}


@pytest.mark.truth
def test_genai_perf_of_2024_under_load() -> None:
    m = read("genai-perf-2024.json", gpu="l4")
    assert len(m) == 0
    assert {(a.metric, a.concurrency) for a in m.aggregates} == {(k, 4.0) for k in ("tpot", "ttft", "request", "output_token")}


@pytest.mark.truth
def test_genai_perf_csv_has_thousands_separators_and_no_configuration() -> None:
    m = read("genai-perf.csv", **ASKED)
    assert totals(m) == {
        "tpot": pytest.approx(0.008), "ttft": pytest.approx(0.05), "request": pytest.approx(1.13), "output_token": pytest.approx(1 / 80),
    }  # fmt: skip
    assert m.aggregates[0].prompt_tokens == 1200.0
    assert steps(read("aiperf.csv", **ASKED, batch=1)) == [("decode", 0.008, 1.0, 204.5, 1.0)]  # N/A where nothing was measured


@pytest.mark.truth
def test_guidellm() -> None:
    m = read("guidellm.json", gpu="h100")
    # outputs of 5 and 15 tokens after 100: 4 and 14 steps, at 100 … 103 and 100 … 113 cached tokens
    ctx = np.mean([*range(100, 104), *range(100, 114)])
    assert steps(m) == [("decode", 0.012, 1.0, pytest.approx(ctx), 1.0)]  # the synchronous one of three
    assert [a.concurrency for a in m.aggregates if a.metric == "tpot"] == [1.0, 1.0]  # streams at most 4, and no limit: the mean achieved
    assert {(a.metric, a.measured_s) for a in m.aggregates} == {("tpot", 0.012), ("ttft", 0.06), ("request", 0.5), ("output_token", 0.05)}
    assert [r.model for r in read("guidellm-0.7.json", gpu="h100")] == [QWEN]
    assert len(read("guidellm-0.2.json", gpu="h100")) == 0


@pytest.mark.truth
def test_gpt_fast() -> None:
    m = read("gpt-fast.txt", **ASKED)
    assert len(m) == 0
    # 200 tokens of each of two sequences at 125 tokens/s of one, twice: equal figures are no copies
    assert [(a.measured_s, a.concurrency, a.prompt_tokens, a.output_tokens) for a in m.aggregates] == [(1.6, 2.0, 6.0, 200.0)] * 2
    old = read("gpt-fast-2023.txt", **ASKED, prompt_tokens=6)
    (a,) = old.aggregates  # 1.615 … 1.625 s at 123.46 tokens/s hold one whole number: 200
    assert (a.measured_s, a.output_tokens, a.concurrency) == (pytest.approx(200 / 123.46), 200.0, 1.0)
    assert "speculative" in old.rejected[0].reason


@pytest.mark.truth
def test_ml_energy() -> None:
    gap, rate = read("mlenergy-model.json").aggregates
    assert (gap.metric, gap.statistic, gap.measured_s, gap.concurrency) == ("itl", "median", 0.014, 20.5)
    assert (gap.model, gap.gpu, gap.dtype, gap.tp, gap.output_tokens) == (QWEN, "h100-sxm", "bf16", 2, 300.0)
    assert (rate.metric, rate.statistic, rate.measured_s) == ("output_token", "mean", 1 / 1600)
    task = read("mlenergy-task.json")
    assert {a.gpu for a in task.aggregates} == {"b200-sxm"}
    assert "pictures" in task.rejected[0].reason


@pytest.mark.contract
def test_every_fixture_is_told_from_all_others_and_every_tool_has_one() -> None:
    told: set[str] = set()
    for path in sorted(FOLDER.iterdir()):
        given = {**ASKED, "prompt_tokens": 6.0, "output_tokens": 200.0, "batch": 4.0}
        told.add(read_measurements(path, **given).tool)  # type: ignore[arg-type]
    assert told == {tool.name for tool in TOOLS} - {"a table of measurements"}


@pytest.mark.law
def test_rows_are_questions_a_floor_answers_and_ctx_is_what_it_counts() -> None:
    (row, *_) = [r for r in read("llama-bench.json", model="llama-3.1-8b") if r.phase == "decode"]
    answered = floor(row.model, row.gpu, ctx=row.ctx, batch=row.batch, dtype=row.dtype, kv_dtype=row.kv_dtype)
    each = floor(row.model, row.gpu, ctx=np.arange(64.0), dtype=row.dtype, kv_dtype=row.kv_dtype)  # the 64 steps themselves
    assert answered.moved_bytes == pytest.approx(float(np.mean(each.moved_bytes)), rel=1e-12)
    assert answered.latency_s < row.measured_s


@pytest.mark.contract
def test_driver_names_are_sourced_exact_and_of_devices_we_have() -> None:
    data = read_toml(data_root() / "reported" / "drivers.toml")
    sources = data.pop("sources")
    assert {r["source"] for r in data.values()} == set(sources)
    for gpu_id, record in data.items():
        assert load_gpu(gpu_id).id == gpu_id
        assert reported_gpu(record["reported"].upper()) == gpu_id
    for name in ("GeForce RTX 4090", "NVIDIA GeForce RTX 4090 Laptop GPU", "NVIDIA H100", "NVIDIA GeForce RTX 3060", "Apple M2 Ultra"):
        assert reported_gpu(name) is None, name
