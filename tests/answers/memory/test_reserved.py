"""What an engine reserves: published logs from above and closely, its own rules by hand, and laws."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from answers.question.sixteen import MODELS
from hypothesis import given, settings
from hypothesis import strategies as st

from sol import Engine, InvalidInput, MissingSpec, UnknownName, floor, kv_bytes_per_token, load_engine, memory
from sol.answers.memory.memory import Memory
from sol.physics.memory.reservation import cache_budget
from sol.sources.database.engines import engine_ids

LOGGED = list(csv.DictReader((Path(__file__).parents[2] / "fixtures" / "kv_pools.csv").read_text(encoding="utf-8").splitlines()))
GIB = 2**30
ENGINES = st.sampled_from([("vllm", None), ("vllm", 0.5), ("sglang", 0.85), ("tensorrt-llm", None), ("trt-llm", 0.3), ("llama.cpp", None)])


def of_log(row: dict[str, str]) -> Memory:
    version = "0.19.0" if "v0.19.0" in row["source"] else "0.2"  # pull request 2031 is of December 2023
    asked = {"max_num_seqs": float(row["batch"]) if row["batch"] else None} | (
        {"max_step_tokens": float(row["max_step_tokens"])} if row["max_step_tokens"] else {}
    )
    return memory(
        row["model"], row["gpu"], ctx=4096, dtype=row["dtype"], kv_dtype=row["kv_dtype"] or None, engine=f"{row['engine']}@{version}",
        memory_fraction=float(row["memory_fraction"]), **asked,
    )  # fmt: skip


@pytest.mark.truth
@pytest.mark.parametrize("row", LOGGED, ids=[f"{r['model']} {r['dtype']} {r['kv_dtype']}".strip() for r in LOGGED])
def test_a_pool_is_what_the_engine_logged(row: dict[str, str]) -> None:
    assert of_log(row).kv_pool_tokens == pytest.approx(float(row["tokens"]), rel=0.01), row["printed"]


@pytest.mark.truth
def test_an_engines_own_arithmetic_from_its_logged_inputs() -> None:
    # TensorRT-LLM, "Memory Usage of TensorRT-LLM", FAQ 1: available: 70.48 GiB, 4060 blocks of 64 tokens in 63.44 GiB
    # (262,144 B per token: an 8-bit cache of 32 layers of 32 heads of 128, as Llama-2-7B has)
    free = cache_budget("free", 0.9, 79.10 * GIB, 0.0, np.array([(79.10 - 70.48) * GIB])).item()
    assert free / GIB == pytest.approx(63.44, abs=0.02)
    assert free / (64 * kv_bytes_per_token("llama-2-7b", "fp8")) == pytest.approx(4060, abs=1)
    # SGLang pull request 18263: avail mem=230.20 GB, mem usage=56.98 GB, mem_fraction_static 0.911, initial available_bytes 219721119039
    static = cache_budget("static", 0.911, (230.20 + 56.98) * GIB, 56.98 * GIB, np.array([1e9])).item()
    assert static == pytest.approx(219_721_119_039, abs=0.02 * GIB)
    # vLLM 0.19.0, log of Llama-3.1-8B: total_memory=79.19GiB, 0.95, Total non KV cache memory: 17.12GiB, Available: 58.11 GiB
    total = cache_budget("total", 0.95, 79.19 * GIB, 14.99 * GIB, np.array([(17.12 - 14.99) * GIB])).item()
    assert total / GIB == pytest.approx(58.11, abs=0.02)


@pytest.mark.truth
def test_vllm_by_hand() -> None:
    # an engine of one's own counts the least total that a runtime was seen to count (79.11 GiB), and leaves 4 copies of the logits:
    # 4 · 4 · 128,256 · 300 + 4 · 2048 · 4096 B beside the experts it does not have; the forward pass keeps 2048 · (3·14,336 + 4·4096)·2
    mine = load_engine("vllm@0.20").model_copy(update={"sampler_copies": 4.0, "runtime_bytes": 1e9})
    m = memory("llama-3.1-8b", "h100", ctx=8191, batch=3, max_step_tokens=2048, max_num_seqs=300, engine=mine, memory_fraction=0.9)
    activations = max(4 * 4 * 128_256 * 300 + 4 * 2048 * 4096, 2048 * (3 * 14_336 + 4 * 4096) * 2)
    left = 0.9 * m.engine_memory_bytes - 2 * 8_030_261_248 - activations - 1e9
    blocks = left // (16 * 131_072)
    assert m.engine_memory_bytes == pytest.approx(79.11 * GIB)
    assert m.engine_activation_bytes == activations
    assert (m.kv_pool_tokens, m.kv_reserved_bytes) == (16 * blocks, blocks * 16 * 131_072)
    assert m.engine_max_batch == blocks // 512  # ⌈8191/16⌉ = 512 blocks each
    assert m.kv_wasted_bytes == 3 * 131_072  # one token of room in each last block
    assert 0 <= 0.9 * m.engine_memory_bytes - m.reserved_bytes < 16 * 131_072


@pytest.mark.truth
def test_llama_cpp_allocates_what_is_asked_padded() -> None:
    # GGML_PAD(5000, 256) = 5,120 cells for each of three sequences
    m = memory("llama-3.1-8b", "rtx-4090", ctx=5000, batch=3, engine="llama.cpp")
    assert (m.kv_pool_tokens, m.kv_reserved_bytes) == (15_360, 1920 * 2**20)
    assert m.kv_wasted_bytes == 3 * 120 * 131_072
    # a step of 512 tokens; the input table of 128,256 rows of 4,096 stays on the host
    assert m.engine_weight_bytes == 2 * (8_030_261_248 - 128_256 * 4096)
    room = m.engine_memory_bytes - m.engine_weight_bytes - 512 * 73_728
    assert m.engine_max_batch == room // (5_120 * 131_072)


@pytest.mark.truth
def test_a_step_reads_what_is_in_sight() -> None:
    assert memory("mistral-7b", ctx=32768, batch=2).kv_read_bytes == 2 * 4095 * 131_072  # a window of 4,096 holds the query itself
    assert memory("mistral-7b", ctx=100, batch=2).kv_read_bytes == 2 * 100 * 131_072
    assert memory("llama-3.1-8b", ctx=32768, kv_dtype="fp8").kv_read_bytes == 32768 * 65_536
    assert memory("llama-3.1-8b", ctx=0).kv_read_bytes == 0


@pytest.mark.law
@given(MODELS, st.integers(0, 200_000), st.integers(1, 300))
@settings(max_examples=40)
def test_read_and_written_are_what_the_floor_moves(model: str, ctx: int, batch: int) -> None:
    m = memory(model, ctx=ctx, batch=batch)
    moved = floor(model, "mi300x", ctx=[ctx], batch=batch, dtype="bf16").moved_kv_bytes[0]
    assert m.kv_read_bytes + batch * kv_bytes_per_token(model) == pytest.approx(moved, rel=1e-12)
    assert m.kv_read_bytes <= m.kv_bytes + m.state_bytes


@pytest.mark.law
@given(MODELS, ENGINES, st.integers(0, 100_000), st.integers(1, 64), st.sampled_from(["h100", "b200", "mi300x"]))
@settings(max_examples=100)
def test_blocks_are_whole_and_the_room_is_what_fits(model: str, engine: tuple[str, float | None], ctx: int, batch: int, gpu: str) -> None:
    name, fraction = engine
    m = memory(model, gpu, ctx=ctx, batch=batch, engine=name, memory_fraction=fraction)
    assert m.engine is not None
    assert m.kv_pool_tokens % m.engine.block_tokens == 0
    assert m.reserved_bytes == m.engine_weight_bytes + m.engine_activation_bytes + m.engine_own_bytes + m.kv_reserved_bytes
    assert 0 <= m.kv_wasted_bytes <= batch * m.engine.block_tokens * kv_bytes_per_token(model)
    each = (m.kv_bytes + m.kv_wasted_bytes + m.state_bytes) / batch
    room = m.kv_reserved_bytes
    if name == "llama.cpp":
        each, room = m.kv_reserved_bytes / batch, m.engine_memory_bytes - m.engine_weight_bytes - m.engine_activation_bytes
    assert m.engine_max_batch * each <= max(room, 0) * (1 + 1e-12)
    assert (m.engine_max_batch + 1) * each >= room * (1 - 1e-12)


@pytest.mark.law
@given(MODELS, st.sampled_from(["vllm", "sglang", "tensorrt-llm"]), st.floats(0.05, 0.95), st.floats(0.0, 0.05), st.integers(1, 50_000))
@settings(max_examples=60)
def test_a_larger_fraction_never_holds_less_and_never_more_than_there_is(
    model: str, engine: str, fraction: float, more: float, ctx: int
) -> None:
    some, all_of_it = (memory(model, "b200", ctx=ctx, engine=engine, memory_fraction=f) for f in (fraction, fraction + more))
    assert some.kv_pool_tokens <= all_of_it.kv_pool_tokens
    assert some.engine_max_batch <= all_of_it.engine_max_batch
    if some.kv_pool_tokens:
        assert some.reserved_bytes <= some.engine_memory_bytes + (
            some.engine_activation_bytes + some.engine_own_bytes if engine == "sglang" else 0.0
        )


@pytest.mark.law
@given(MODELS, ENGINES, st.integers(1, 100), st.integers(0, 50_000))
@settings(max_examples=40)
def test_a_sweep_cell_is_its_point(model: str, engine: tuple[str, float | None], batch: int, ctx: int) -> None:
    name, fraction = engine
    sweep = memory(model, "h200", ctx=[[ctx, ctx + 7]], batch=[[batch], [batch + 3]], engine=name, memory_fraction=fraction)
    one = memory(model, "h200", ctx=ctx + 7, batch=batch + 3, engine=name, memory_fraction=fraction)
    for field in (
        "kv_read_bytes",
        "reserved_bytes",
        "kv_reserved_bytes",
        "kv_pool_tokens",
        "kv_wasted_bytes",
        "engine_max_batch",
        "starts",
    ):
        assert getattr(sweep, field)[1, 1] == getattr(one, field), field


def test_an_engine_of_your_own() -> None:
    mine = Engine(id="mine", name="Mine", version="1", budget="total", block_tokens=64, memory_fraction=0.92)
    assert memory("llama-3.1-8b", "h100", ctx=100, engine=mine).kv_wasted_bytes == 28 * 131_072


def test_a_device_too_small_has_no_pool() -> None:
    m = memory("llama-3.1-70b", "rtx-4090", ctx=100, engine="vllm")
    assert (m.kv_pool_tokens, m.engine_max_batch) == (0, 0)
    assert not m.starts
    assert "does not start" in str(m)


@pytest.mark.parametrize("engine", engine_ids())
def test_faces(engine: str) -> None:
    asked = {"engine": engine, "memory_fraction": 0.8 if engine == "sglang" else None}
    point, sweep = (memory("mistral-7b", "4090", ctx=ctx, batch=[1, 1000] if sweep else 1, **asked) for ctx, sweep in ((32768, 0), (9, 1)))
    for m in (point, sweep):
        text = m.table().to_text(80)
        assert max(map(len, text.splitlines())) <= 80
        assert engine in text
        assert "per device" in text
        doc = json.loads(json.dumps(m.to_dict(), allow_nan=False))
        assert doc["inputs"]["engine"] == engine
        assert any(s["printed"] and "GGML_PAD" in s["printed"] for s in doc["sources"]) == (engine == "llama.cpp")
    assert "per device" in str(memory("mistral-7b", ctx=9))


def test_a_fraction_asked_for_is_not_cited_as_the_engines() -> None:
    own, asked = (memory("mistral-7b", "4090", ctx=9, engine="vllm", memory_fraction=f).to_dict()["sources"] for f in (None, 0.8))
    assert [any("0.92" in (s["printed"] or "") for s in sources) for sources in (own, asked)] == [True, False]


@pytest.mark.parametrize(
    ("asked", "error", "words"),
    [
        ({"engine": "tgi"}, UnknownName, "known: vllm, sglang, tensorrt-llm, llama.cpp"),
        ({"engine": "sglang"}, MissingSpec, "give memory_fraction"),
        ({"engine": "llama.cpp", "memory_fraction": 0.9}, InvalidInput, "has no memory fraction"),
        ({"engine": "vllm", "memory_fraction": 1.5}, InvalidInput, "at most 1"),
        ({"engine": "vllm", "memory_fraction": 0}, InvalidInput, "memory_fraction=0"),
        ({"engine": "vllm", "memory_fraction": [0.5, 0.6]}, InvalidInput, "one number"),
        ({"engine": "vllm", "memory_fraction": "lots"}, InvalidInput, "memory_fraction"),
        ({"engine": 7}, InvalidInput, "neither a name"),
        ({"engine": "vllm", "gpu": None}, InvalidInput, "give the gpu"),
        ({"engine": "vllm", "gpu": "epyc-9654"}, MissingSpec, "capacity"),
        ({"memory_fraction": 0.9}, InvalidInput, "give engine"),
        ({"max_num_seqs": 8}, InvalidInput, "give engine"),
        ({"engine": "vllm", "max_num_seqs": 0}, InvalidInput, "max_num_seqs"),
        ({"engine": "vllm@main"}, UnknownName, "vllm@0.16"),
    ],
)
def test_what_has_no_answer_is_one_line(asked: dict, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words) as refused:
        memory("qwen2.5-7b", asked.pop("gpu", "h100"), ctx=1, **asked)
    assert "\n" not in str(refused.value)
