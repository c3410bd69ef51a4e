"""Does it fit: bytes to the byte, inverses that invert, limits that are limits."""

from __future__ import annotations

import json

import numpy as np
import pytest
from answers.question.sixteen import MODELS
from hypothesis import given, settings
from hypothesis import strategies as st

from sol import GPU, MLP, Attention, InvalidInput, LayerGroup, Model, UnknownName, floor, kv_bytes_per_token, load_model, memory


@pytest.mark.truth
def test_llama_70b_as_the_literature_counts_it() -> None:
    m = memory("llama-3.1-70b", ctx=2048, batch=64)
    assert m.kv_bytes == 40 * 2**30
    assert m.kv_bytes_as_mha == 8 * m.kv_bytes
    assert m.weight_bytes == 2 * 70_553_706_496
    assert memory("llama-3.1-70b", "h100", ctx=2048, batch=64).min_devices == 3  # 140 GB of weights and 43 GB of cache: not on 2×80 GB


@pytest.mark.truth
def test_bytes_per_token() -> None:
    assert kv_bytes_per_token("qwen2.5-7b") == 57_344
    assert kv_bytes_per_token("qwen2.5-7b", "fp8") == 28_672
    assert kv_bytes_per_token("llama-3.1-70b") == 327_680


@pytest.mark.truth
def test_activations_by_hand() -> None:
    # Qwen2.5-7B, one chunk of 2,048 tokens: (2·3584 + 2·18944)·2 B per token, and 152,064 logits of 4 B
    assert memory("qwen2.5-7b", ctx=1).activation_bytes == 2048 * (2 * 3584 + 2 * 18944) * 2 + 152_064 * 4
    assert memory("qwen2.5-7b", ctx=1, max_step_tokens=1).activation_bytes == (2 * 3584 + 2 * 18944) * 2 + 152_064 * 4


@pytest.mark.law
@given(
    MODELS,
    st.sampled_from(["h100", "l4", "mi300x"]),
    st.integers(1, 64),
    st.sampled_from(["bf16", "fp8", "w4a16"]),
    st.integers(0, 100_000),
)
@settings(max_examples=80)
def test_limits_are_limits(model: str, gpu: str, batch: int, dtype: str, ctx: int) -> None:
    m = memory(model, gpu, ctx=ctx, batch=batch, dtype=dtype)
    assert m.fits == (m.resident_bytes <= m.capacity_bytes)
    assert m.headroom_bytes == m.capacity_bytes - m.resident_bytes
    if np.isfinite(m.max_ctx) and m.max_ctx > 0:
        assert memory(model, gpu, ctx=m.max_ctx, batch=batch, dtype=dtype).fits
        assert not memory(model, gpu, ctx=m.max_ctx + 1, batch=batch, dtype=dtype).fits
    elif m.max_ctx > 0:
        assert memory(model, gpu, ctx=10**9, batch=batch, dtype=dtype).fits
    if m.max_batch > 0:
        assert memory(model, gpu, ctx=ctx, batch=m.max_batch, dtype=dtype).fits
    assert not memory(model, gpu, ctx=ctx, batch=m.max_batch + 1, dtype=dtype).fits
    assert (m.min_devices == 1) == m.fits


@pytest.mark.law
@given(st.lists(st.tuples(st.integers(1, 5), st.one_of(st.none(), st.integers(1, 50))), min_size=1, max_size=4), st.integers(0, 10**5))
def test_the_longest_context_inverts_a_piecewise_affine_cache(groups: list[tuple[int, int | None]], budget: int) -> None:
    layers = tuple(LayerGroup(count=n, blocks=(Attention(heads=2, kv_heads=1, head_dim=4, window=w), MLP(ffn=8))) for n, w in groups)
    tiny = Model(id="tiny", hidden=8, vocab=10, groups=layers)
    fixed = memory(tiny, ctx=0)
    box = GPU(id="box", name="box", memory_bytes=fixed.resident_bytes + budget + 1e-6, memory_bytes_per_s=1.0, source="law")
    longest = memory(tiny, box, ctx=0).max_ctx

    def cache(ctx: float) -> float:
        return sum(n * 8 * 2 * min(ctx, w or ctx) for n, w in groups)

    if np.isfinite(longest):
        assert cache(longest) <= budget < cache(longest + 1)
    else:
        assert cache(10**9) <= budget


@pytest.mark.law
@given(MODELS, st.integers(1, 100), st.integers(0, 50_000))
@settings(max_examples=30)
def test_a_sweep_cell_is_its_point_and_the_floor_needs_the_same(model: str, batch: int, ctx: int) -> None:
    sweep = memory(model, "h200", ctx=[ctx, ctx + 7], batch=[batch, batch + 3])
    one = memory(model, "h200", ctx=ctx + 7, batch=batch + 3)
    for field in ("weight_bytes", "kv_bytes", "activation_bytes", "resident_bytes", "fits", "max_batch", "max_ctx", "min_devices"):
        assert getattr(sweep, field)[1] == getattr(one, field)
    step = floor(model, "h200", ctx=[ctx], batch=batch)
    assert step.resident_bytes[0] - memory(model, ctx=ctx + 1, batch=batch, max_step_tokens=1).resident_bytes == pytest.approx(0, abs=1)


def test_a_format_says_what_is_held_even_where_it_cannot_compute() -> None:
    assert memory("qwen2.5-7b", "a100", ctx=1, dtype="fp8").weight_bytes == memory("qwen2.5-7b", ctx=1, dtype="fp8").weight_bytes


def test_faces() -> None:
    m = memory("mistral-7b", "4090", ctx=32768)
    assert "any length" in str(m)
    assert json.loads(json.dumps(m.to_dict(), allow_nan=False))["outputs"]["max_ctx"] is None
    assert "fits" in repr(m)
    assert "2 points" in repr(memory("mistral-7b", ctx=[1, 2]))
    for text in (str(m), m.table().to_text(80), memory("mistral-7b", "4090", ctx=[1, 2]).table().to_text(80)):
        assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize(
    "asked", [{"ctx": -1}, {"ctx": 1, "batch": 0}, {"ctx": 1, "max_step_tokens": 0}, {"ctx": [1, 2], "batch": [1, 2, 3]}, {"ctx": "x"}]
)
def test_bad_input_is_one_line(asked: dict) -> None:
    with pytest.raises(InvalidInput) as error:
        memory("qwen2.5-7b", "h100", **asked)
    assert "\n" not in str(error.value)


def test_unknown_names() -> None:
    with pytest.raises(UnknownName):
        memory("nope", ctx=1)
    with pytest.raises(InvalidInput):
        kv_bytes_per_token("qwen2.5-7b", "w4a16")
    assert load_model("qwen2.5-7b").id == "qwen2.5-7b"


@pytest.mark.truth
def test_adapters_are_held_beside_the_weights() -> None:
    """Rank 8 on q, k, v, o and the three matrices of the block: 32 layers of (4·8,192 + 3·15,104)·8 elements in Llama-2-7B."""
    plain, one, four = (memory("llama-2-7b", "rtx-4090", ctx=100, lora_rank=r, lora_adapters=n) for r, n in ((None, 1), (8, 1), (8, 4)))
    assert one.adapter_bytes == 32 * (4 * 8192 + 3 * 15_104) * 8 * 2
    assert four.resident_bytes - plain.resident_bytes == four.adapter_bytes == 4 * one.adapter_bytes
    assert four.max_batch <= plain.max_batch
    assert "lora adapters" in str(four)
    for bad in (0, -1, 1.5, True, 2**40):
        with pytest.raises(InvalidInput, match="lora_rank"):
            memory("llama-2-7b", ctx=1, lora_rank=bad)


@pytest.mark.truth
def test_states_are_held_whatever_the_length() -> None:
    """Qwen3-Next-80B-A3B: 77,266,944 B per sequence beside 24,576 B per token."""
    short, long = (memory("qwen3-next-80b-a3b", ctx=c, batch=3) for c in (1, 1000))
    assert short.state_bytes == long.state_bytes == 3 * 77_266_944
    assert (short.kv_bytes, long.kv_bytes) == (3 * 24_576, 3 * 24_576_000)
    assert "states" in str(long)


@pytest.mark.law
@pytest.mark.parametrize(("name", "split"), [
    ("llama-3.1-70b", {"tp": 8}), ("llama-3.1-70b", {"tp": 2, "pp": 4}), ("mixtral-8x7b", {"tp": 4, "ep": 4}),
    ("qwen3-235b-a22b", {"dp": 8, "ep": 8}), ("nemotron-h-56b", {"tp": 4}),
])  # fmt: skip
def test_a_split_holds_what_its_floor_says_and_all_devices_hold_the_whole(name: str, split: dict[str, int]) -> None:
    """Per device, and over all of them: never less than one device would hold."""
    m, whole = memory(name, "h200", ctx=4097, batch=64, max_step_tokens=1, **split), memory(name, "h200", ctx=4097, batch=64)
    step = floor(name, "h200", ctx=[4096], batch=64, **split)
    assert step.resident_bytes[0] == pytest.approx(m.resident_bytes, rel=1e-12)
    for field in ("weight_bytes", "kv_bytes", "state_bytes"):
        assert getattr(m, field) * m.devices >= getattr(whole, field) * (1 - 1e-12)
        assert getattr(m, field) <= getattr(whole, field)
    assert m.max_batch >= whole.max_batch
    fits, beyond = (
        memory(name, "h200", ctx=4097, batch=m.max_batch + extra, max_step_tokens=1, **split).fits for extra in (0, m.devices * 64)
    )
    assert fits
    assert not beyond
    assert f"all {m.devices} devices" in str(m)


def test_an_engine_of_a_split_model_has_a_pool() -> None:
    assert memory("llama-3.1-70b", "h100", ctx=8192, tp=8, engine="vllm").kv_pool_tokens > 0


@pytest.mark.truth
def test_a_device_of_a_split_reads_the_caches_of_its_own_sequences() -> None:
    """DeepSeek-V3 keeps 70,272 B per token; of 8 sequences of 2,048 tokens each of 4 copies reads 2."""
    split = memory("deepseek-v3", "h200", ctx=2048, batch=8, dp=4, ep=4, dtype="fp8")
    assert split.kv_read_bytes == split.kv_bytes == 2 * 2048 * 70_272


@pytest.mark.law
def test_what_fills_a_device_to_the_last_byte_takes_one() -> None:
    asked = memory("qwen2.5-7b", ctx=2048)
    for spare, devices in ((0.0, 1), (-1.0, 2)):
        box = GPU(id="box", name="box", memory_bytes=asked.resident_bytes + spare, memory_bytes_per_s=1e12, source="law")
        assert memory("qwen2.5-7b", box, ctx=2048).min_devices == devices
