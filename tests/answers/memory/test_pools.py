"""The pool that `memory` gives an engine, against what engines logged: rows that were fitted to, rows kept unseen, named cases."""

from __future__ import annotations

import json
from statistics import median

import numpy as np
import pytest

from sol import MLP, Attention, LayerGroup, Model, kv_bytes_per_token, load_engine, memory
from sol.answers.memory.memory import Memory
from sol.sources.database.pools import PoolRow, pool_rows
from sol.specs.engines import Engine

GIB = 2**30

# Versions of rows that do not print theirs, from their notes: the date of the log, or what the page that quotes it deploys.
VERSIONS = {
    "POOL-001": "0.6", "POOL-002": "0.6", "POOL-003": "0.9", "POOL-005": "0.10", "POOL-006": "0.11", "POOL-009": "0.7",
    **{f"POOL-{n:03d}": "0.11" for n in range(33, 40)},
}  # fmt: skip
OTHER_RANK = {"POOL-009"}  # the GiB of one device and the tokens of the other, which has less room: ours are of that one
NOT_TOLD = {"POOL-064": "weights in 32 bits, which no weight format here is"}


def said(m: Memory) -> str:
    """The text of an answer on one line."""
    return " ".join(str(m).split())


def comparable(use: str) -> list[PoolRow]:
    """Rows of a known model, device and weight format."""
    return [r for r in pool_rows() if r.use == use and r.model and r.gpu and r.dtype and r.id not in NOT_TOLD]


def engine_of(row: PoolRow) -> Engine:
    """The engine at the row's version, with what the row says of its sampler and its kernels."""
    version = row.version or VERSIONS.get(row.id, "")
    engine = load_engine(f"{row.engine}@{version}" if version else row.engine)
    if "FlashInfer is installed" in row.note:  # its sampler does not sort, as that of later versions
        engine = engine.model_copy(update={"sampler_copies": load_engine("vllm").sampler_copies})
    if row.id == "POOL-034":  # 64.38 GiB of weights: not Marlin's (65.97), but the Triton kernels, which round f up to 64 alone
        engine = engine.model_copy(update={"pad_ffn": 64.0})
    return engine


def predicted(row: PoolRow) -> Memory:
    split = {way: getattr(row, way) for way in ("tp", "pp", "dp", "ep")}
    kv = row.kv_dtype if row.kv_dtype not in ("", "bf16", "fp16", "f32") else None
    return memory(
        row.model, row.gpu, ctx=row.max_model_len or 2048, dtype=row.dtype, kv_dtype=kv,
        engine=engine_of(row), memory_fraction=row.utilization, max_step_tokens=row.max_batched_tokens,
        max_num_seqs=row.max_seqs, **split,
    )  # fmt: skip


def error(row: PoolRow) -> float:
    """(Predicted − logged) / logged, of the pool in bytes where the log prints it, of its tokens where not [1]."""
    m = predicted(row)
    in_tokens = row.kv_gib is None or row.id in OTHER_RANK
    found, logged = (m.kv_pool_tokens, row.kv_tokens) if in_tokens else (m.kv_budget_bytes / GIB, row.kv_gib)
    return (found - logged) / abs(logged)


@pytest.mark.truth
@pytest.mark.parametrize("row", comparable("fit"), ids=lambda r: f"{r.id} {r.engine} {r.model}")
def test_a_pool_that_constants_were_fitted_to_is_within_a_tenth(row: PoolRow) -> None:
    assert abs(error(row)) <= 0.10, row.printed


@pytest.mark.truth
def test_half_of_them_are_within_a_hundredth() -> None:
    errors = [abs(error(row)) for row in comparable("fit")]
    assert len(errors) >= 40
    assert median(errors) <= 0.01  # the aim is 0.05


@pytest.mark.truth
@pytest.mark.parametrize("row", comparable("held_out"), ids=lambda r: f"{r.id} {r.engine} {r.model}")
def test_a_pool_kept_unseen_is_within_a_tenth(row: PoolRow) -> None:
    """Scored once, when all constants stood.

    A 17th, POOL-009, missed by a third: the oldest version had the newest one's memory for peers. That was mended, so that
    row counts as fitted now.
    """
    assert abs(error(row)) <= 0.10, row.printed


@pytest.mark.truth
def test_half_of_the_unseen_are_within_a_hundredth() -> None:
    errors = [abs(error(row)) for row in comparable("held_out")]
    assert len(errors) >= 16
    assert median(errors) <= 0.01  # the aim is 0.05


@pytest.mark.truth
@pytest.mark.parametrize("row", [r for r in comparable("fit") + comparable("held_out") if r.max_model_len], ids=lambda r: r.id)
def test_it_starts_where_the_engine_did(row: PoolRow) -> None:
    assert predicted(row).starts == (row.starts == "yes")


@pytest.mark.truth
@pytest.mark.parametrize(("ctx", "tokens", "starts"), [(20_000, 31_232, True), (29_000, 23_648, False)])
def test_an_8b_on_a_3090_by_the_context_it_profiles(ctx: int, tokens: int, starts: bool) -> None:
    """vLLM issue 10517: the first context starts; the second refuses, as it is larger than the cache."""
    for asked in ({}, {"max_step_tokens": ctx}):
        m = memory("llama-3.1-8b", "rtx-3090", ctx=ctx, engine="vllm@0.6", memory_fraction=0.9, **asked)
        assert m.kv_pool_tokens == pytest.approx(tokens, rel=0.01)
        assert m.starts is starts
        assert ("does not start" in said(m)) is not starts


@pytest.mark.truth
def test_a_235b_on_four_h100_in_two_engines() -> None:
    """vLLM issue 21348: 178,880 tokens of vLLM at 0.9, 367,404 of SGLang at 0.93.

    A known miss of 11 %: that vLLM ran with a connector of LMCache, which holds memory of its own on the device.
    """
    asked = {"ctx": 2048, "tp": 4, "dtype": "fp8-block128"}
    vllm = memory("qwen3-235b-a22b", "h100", engine="vllm@0.9", memory_fraction=0.9, **asked)
    sglang = memory("qwen3-235b-a22b", "h100", engine="sglang", memory_fraction=0.93, **asked)
    assert vllm.kv_pool_tokens == pytest.approx(178_880, rel=0.12)
    assert sglang.kv_pool_tokens == pytest.approx(367_404, rel=0.01)


@pytest.mark.truth
def test_a_120b_of_mxfp4_on_one_h100_does_not_start() -> None:
    """vLLM issue 23278: 65.97 GiB of weights as Marlin pads them, −2.14 GiB for the cache."""
    m = memory("gpt-oss-120b", "h100", ctx=8192, engine="vllm@0.10", memory_fraction=0.9)
    assert m.fits  # the bytes it needs would fit
    assert m.engine_weight_bytes / GIB == pytest.approx(65.97, rel=0.005)
    assert m.kv_budget_bytes / GIB == pytest.approx(-2.14, abs=0.15)
    assert not m.starts
    assert "does not start: 2." in said(m)
    assert json.loads(m.to_json())["outputs"]["starts"] is False


@pytest.mark.truth
def test_padded_experts_by_hand() -> None:
    """At tp=4 each expert's part of 720 becomes 768 wide and its 2,880 inputs 3,072: 17.22 GiB a device, where 15.23 are stored."""
    m = memory("gpt-oss-120b", "h100", ctx=8192, tp=4, engine="vllm@0.19", memory_fraction=0.9)
    added = 36 * 128 * 3 * (768 * 3072 - 720 * 2880) * 4.25 / 8
    assert m.engine_weight_bytes - m.weight_bytes == pytest.approx(added, rel=1e-9)
    assert m.engine_weight_bytes / GIB == pytest.approx(17.22, rel=0.01)


@pytest.mark.truth
def test_a_30b_on_an_mi355x() -> None:
    """SGLang pull request 18263 at 0.911."""
    m = memory("qwen3-30b-a3b-2507", "mi355x", ctx=2048, engine="sglang", memory_fraction=0.911)
    assert m.kv_budget_bytes / GIB == pytest.approx(204.63, rel=0.005)


GEMMA_4_31B = Model(  # the widths that llama.cpp prints in kyuz0/amd-strix-halo-toolboxes issue 89
    id="gemma-4-31b", hidden=5376, vocab=262_144, tied_embeddings=True,
    groups=(
        LayerGroup(count=50, blocks=(Attention(heads=32, kv_heads=16, head_dim=256, window=1024), MLP(ffn=21_504))),
        LayerGroup(count=10, blocks=(Attention(heads=32, kv_heads=4, head_dim=512), MLP(ffn=21_504))),
    ),
)  # fmt: skip


@pytest.mark.truth
def test_a_gemma_of_windows_on_two_3090s_in_llama_cpp() -> None:
    """LM Studio issue 1740: 7.39 GB of cache at 80,000 tokens. A window of 1,024 has 1,536 cells: 512 of a step on top."""
    m = memory(GEMMA_4_31B, "rtx-3090", ctx=80_000, engine="llama.cpp", pp=2, dtype="q4_k_m")
    assert 2 * m.kv_reserved_bytes == (1536 * 50 * 16 * 256 + 80_128 * 10 * 4 * 512) * 2 * 2
    assert 2 * m.kv_reserved_bytes / 1e9 == pytest.approx(7.39, rel=0.10)
    assert m.starts
    assert m.kv_next_token_bytes == 10 * 4 * 512 * 2 * 2  # the next token costs what the full layers keep, 81,920 B
    assert "one more adds 81,920 B" in said(m)
    assert kv_bytes_per_token(GEMMA_4_31B) == 901_120  # what the first one costs


@pytest.mark.truth
def test_windows_hold_the_step_as_well() -> None:
    """Ollama issue 16480: 2 sequences of 131,072 in steps of 1,024: 9,216 MiB, and 90 MiB of 1,280 cells for a window of 128."""
    m = memory("gpt-oss-120b", "mi300x", ctx=131_072, batch=2, max_step_tokens=1024, engine="llama.cpp")
    assert m.kv_reserved_bytes == (9216 + 90) * 2**20


@pytest.mark.truth
def test_a_27b_with_an_8_bit_cache_in_llama_cpp() -> None:
    """lilbee pull request 721: 17.6 GiB allocated for a Q4_K_M of Qwen3.6-27B (the architecture of 3.5) at 65,536 tokens of q8_0."""
    m = memory("qwen3.5-27b", "a40", ctx=65_536, dtype="q4_k_m", kv_dtype="q8_0", engine="llama.cpp")
    assert (m.engine_weight_bytes + m.kv_reserved_bytes) / GIB == pytest.approx(17.6, rel=0.03)
    assert m.weight_bytes - m.engine_weight_bytes > 0.6 * GIB  # the input table stays on the host


@pytest.mark.truth
@pytest.mark.parametrize(("kv_dtype", "bits"), [("q8_0", 8.5), ("q4_0", 4.5), ("int4", 4), ("nvfp4", 4.5), ("fp8", 8)])
def test_caches_in_fewer_bits(kv_dtype: str, bits: float) -> None:
    assert kv_bytes_per_token("llama-3.1-8b", kv_dtype) == 32 * 2 * 8 * 128 * bits / 8


@pytest.mark.truth
def test_blocks_of_states_by_the_pool_that_was_logged() -> None:
    """vLLM 0.20 of a Qwen3.6-27B (the architecture of 3.5) on an RTX PRO 6000 at 0.9 logs 29.47 GiB, and 615 blocks of states."""
    m = memory("qwen3.5-27b", "rtx-pro-6000", ctx=8192, engine="vllm@0.20.2", memory_fraction=0.9, dtype="bf16")
    assert m.kv_budget_bytes / GIB == pytest.approx(29.47, rel=0.03)
    assert m.state_blocks == pytest.approx(615, rel=0.03)
    assert 29.47 * GIB * m.state_blocks / m.kv_budget_bytes == pytest.approx(615, rel=0.002)
    assert not m.starts
    assert f"use --max-num-seqs {m.state_blocks:.0f}" in said(m)
    assert memory("qwen3.5-27b", "rtx-pro-6000", ctx=8192, engine="vllm@0.20.2", memory_fraction=0.9, dtype="bf16", max_num_seqs=512).starts


@pytest.mark.truth
def test_blocks_of_states_on_an_h100() -> None:
    """vLLM recipes pull request 551: Qwen3.6-27B-FP8 at 0.95, 856 blocks, fewer than the 1,024 sequences by default."""
    m = memory("qwen3.5-27b", "h100", ctx=8192, engine="vllm", memory_fraction=0.95, dtype="fp8-block128")
    assert m.state_blocks == pytest.approx(856, rel=0.02)
    assert not m.starts


@pytest.mark.truth
def test_a_known_miss_of_state_blocks() -> None:
    """vLLM recipes pull request 831, a build of its own for Qwen3.8-27B, logs 939 blocks on an RTX PRO 6000 in FP8.

    With the sampler of PyTorch, which sorts, there are as many to a tenth; with the one that the engine has by default a fifth more.
    Which one that build ran is not printed.
    """
    asked = {"ctx": 8192, "dtype": "fp8-block128"}
    sorting = load_engine("vllm").model_copy(update={"sampler_copies": load_engine("vllm@0.16").sampler_copies})
    assert memory("qwen3.5-27b", "rtx-pro-6000", engine=sorting, **asked).state_blocks == pytest.approx(939, rel=0.10)
    assert memory("qwen3.5-27b", "rtx-pro-6000", engine="vllm", **asked).state_blocks == pytest.approx(939, rel=0.20)


@pytest.mark.truth
def test_stages_by_hand() -> None:
    """32 layers on 4 stages: 8 each; the last has the head and samples, and has the fewest tokens. POOL-066 logs 2,257,264."""
    m = memory("llama-3.1-8b", "h100", ctx=8192, pp=4, engine="vllm@0.19", memory_fraction=0.95)
    layers = 2 * (8_030_261_248 - 2 * 128_256 * 4096 - 4096) / 4
    assert m.engine_weight_bytes == pytest.approx(layers + 2 * (128_256 * 4096 + 4096), rel=1e-9)
    assert m.kv_pool_tokens == pytest.approx(2_257_264, rel=0.005)
    assert memory("llama-3.1-8b", "h100", ctx=8192, pp=1, engine="vllm@0.19", memory_fraction=0.95).kv_pool_tokens < m.kv_pool_tokens / 4


@pytest.mark.law
def test_a_sweep_over_stages_is_its_points() -> None:
    ways = [1, 2, 3, 4, 8]
    for engine in ("vllm", "tensorrt-llm", "llama.cpp"):
        sweep = memory("llama-3.1-8b", "h100", ctx=9000, batch=3, pp=np.array(ways), engine=engine)
        for i, pp in enumerate(ways):
            one = memory("llama-3.1-8b", "h100", ctx=9000, batch=3, pp=pp, engine=engine)
            for field in (
                "kv_pool_tokens",
                "kv_reserved_bytes",
                "engine_weight_bytes",
                "engine_activation_bytes",
                "engine_max_batch",
                "starts",
            ):
                assert getattr(sweep, field)[i] == getattr(one, field), (engine, pp, field)


@pytest.mark.law
@pytest.mark.parametrize("name", ["llama-3.1-8b", "qwen3-30b-a3b", "gemma-3-27b", "qwen3.5-27b"])
def test_what_is_needed_does_not_depend_on_an_engine(name: str) -> None:
    plain = memory(name, "h100", ctx=5000, batch=3)
    for engine in ("vllm", "vllm@0.7", "tensorrt-llm", "llama.cpp"):
        m = memory(name, "h100", ctx=5000, batch=3, engine=engine)
        for field in ("weight_bytes", "kv_bytes", "state_bytes", "activation_bytes", "resident_bytes", "max_batch", "max_ctx", "fits"):
            assert getattr(m, field) == getattr(plain, field)


def test_a_version_nobody_read_says_as_which_it_is_taken() -> None:
    texts = [said(memory("llama-3.1-8b", "h100", ctx=9, engine=f"vllm@{v}")) for v in ("0.40", "0.16")]
    assert ["0.40 was not read: as 0.33.0" in text for text in texts] == [True, False]
