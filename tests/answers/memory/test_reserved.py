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

from sol import Engine, InvalidInput, MissingSpec, UnknownName, floor, kv_bytes_per_token, memory
from sol.answers.memory.memory import Memory
from sol.physics.memory.reservation import cache_budget
from sol.sources.database.engines import engine_ids

LOGGED = list(csv.DictReader((Path(__file__).parents[2] / "fixtures" / "kv_pools.csv").read_text(encoding="utf-8").splitlines()))
GIB = 2**30
ENGINES = st.sampled_from([("vllm", None), ("vllm", 0.5), ("sglang", 0.85), ("tensorrt-llm", None), ("trt-llm", 0.3), ("llama.cpp", None)])


def of_log(row: dict[str, str]) -> Memory:
    asked = {name: float(row[name]) for name in ("batch", "max_step_tokens") if row[name]}
    return memory(
        row["model"], row["gpu"], ctx=2048, dtype=row["dtype"], kv_dtype=row["kv_dtype"] or None, engine=row["engine"],
        memory_fraction=float(row["memory_fraction"]), **asked,
    )  # fmt: skip


@pytest.mark.truth
@pytest.mark.parametrize("row", LOGGED, ids=[f"{r['model']} {r['dtype']} {r['kv_dtype']}".strip() for r in LOGGED])
def test_a_pool_is_never_below_what_the_engine_logged_and_above_it_by_little(row: dict[str, str]) -> None:
    # what is left out (the runtime's own memory, what a forward pass keeps beyond our count) only makes the engine's pool smaller
    m, logged = of_log(row), float(row["tokens"])
    assert logged <= m.kv_pool_tokens
    excess = (m.kv_pool_tokens - logged) * kv_bytes_per_token(row["model"], row["kv_dtype"] or "bf16")
    assert excess <= 0.035 * m.capacity_bytes, f"{row['printed']}, and {excess / GIB:.2f} GiB more here"


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
    # 0.9 · 85,520,809,984 − 2 · 8,030,261,248 − (2048 · 73,728 + 128,256 · 4) = 60,756,698,521 B = 28,970.99 blocks of 16 · 131,072 B
    m = memory("llama-3.1-8b", "h100", ctx=8191, batch=3, max_step_tokens=2048, engine="vllm", memory_fraction=0.9)
    blocks = (0.9 * 85_520_809_984 - 2 * 8_030_261_248 - (2048 * 73_728 + 3 * 128_256 * 4)) // (16 * 131_072)
    assert (m.kv_pool_tokens, m.kv_reserved_bytes) == (16 * blocks, blocks * 16 * 131_072)
    assert m.engine_max_batch == blocks // 512  # ⌈8191/16⌉ = 512 blocks each
    assert m.kv_wasted_bytes == 3 * 131_072  # one token of room in each last block
    assert m.reserved_bytes == m.weight_bytes + m.activation_bytes + m.kv_reserved_bytes
    assert 0 <= 0.9 * m.capacity_bytes - m.reserved_bytes < 16 * 131_072


@pytest.mark.truth
def test_llama_cpp_allocates_what_is_asked_padded() -> None:
    # GGML_PAD(5000, 256) = 5,120 cells for each of three sequences
    m = memory("llama-3.1-8b", "rtx-4090", ctx=5000, batch=3, engine="llama.cpp")
    assert (m.kv_pool_tokens, m.kv_reserved_bytes) == (15_360, 1920 * 2**20)
    assert m.kv_wasted_bytes == 3 * 120 * 131_072
    room = m.capacity_bytes - m.weight_bytes - m.activation_bytes
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
    assert m.reserved_bytes == m.weight_bytes + m.activation_bytes + m.kv_reserved_bytes
    assert 0 <= m.kv_wasted_bytes <= batch * m.engine.block_tokens * kv_bytes_per_token(model)
    each = (m.kv_bytes + m.kv_wasted_bytes + m.state_bytes) / batch
    room = m.capacity_bytes - m.weight_bytes - m.activation_bytes if name == "llama.cpp" else m.kv_reserved_bytes
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
        assert some.reserved_bytes <= some.capacity_bytes + (some.activation_bytes if engine == "sglang" else 0.0)


@pytest.mark.law
@given(MODELS, ENGINES, st.integers(1, 100), st.integers(0, 50_000))
@settings(max_examples=40)
def test_a_sweep_cell_is_its_point(model: str, engine: tuple[str, float | None], batch: int, ctx: int) -> None:
    name, fraction = engine
    sweep = memory(model, "h200", ctx=[[ctx, ctx + 7]], batch=[[batch], [batch + 3]], engine=name, memory_fraction=fraction)
    one = memory(model, "h200", ctx=ctx + 7, batch=batch + 3, engine=name, memory_fraction=fraction)
    for field in ("kv_read_bytes", "reserved_bytes", "kv_reserved_bytes", "kv_pool_tokens", "kv_wasted_bytes", "engine_max_batch"):
        assert getattr(sweep, field)[1, 1] == getattr(one, field), field


def test_an_engine_of_your_own() -> None:
    mine = Engine(id="mine", name="Mine", version="1", budget="total", block_tokens=64, memory_fraction=0.92)
    assert memory("llama-3.1-8b", "h100", ctx=100, engine=mine).kv_wasted_bytes == 28 * 131_072


def test_a_device_too_small_has_no_pool() -> None:
    m = memory("llama-3.1-70b", "rtx-4090", ctx=100, engine="vllm")
    assert (m.kv_pool_tokens, m.engine_max_batch) == (0, 0)
    assert "would not start" in str(m)


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
        assert any(s["printed"] and "256" in s["printed"] for s in doc["sources"]) == (engine == "llama.cpp")
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
    ],
)
def test_what_has_no_answer_is_one_line(asked: dict, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words) as refused:
        memory("qwen2.5-7b", asked.pop("gpu", "h100"), ctx=1, **asked)
    assert "\n" not in str(refused.value)
