"""What must hold for every model, device and step."""

from __future__ import annotations

import numpy as np
import pytest
from answers.question.sixteen import MODELS
from hypothesis import given, settings
from hypothesis import strategies as st

from sol import GPU, MLP, Attention, Model, MoE, floor, load_gpu, load_model
from sol.physics.time.roofline import BLOCK_POINTS

pytestmark = pytest.mark.law

GPUS = st.sampled_from(["b200", "b300", "h100", "mi300x", "rtx-4090", "v100", "orin@15w", "epyc-9654", "apple-m1-max"])
BATCH = st.one_of(st.integers(1, 512).map(float), st.floats(0.1, 512))
CTX = st.integers(0, 200_000).map(float)
DTYPES = st.sampled_from([None, "fp16", "w8a16", "w4a16", "nf4", "mxfp4", "nvfp4", "q8_0", "q4_k_m"])
CACHES = st.sampled_from([None, "fp8", "int8"])
FUSIONS = st.sampled_from(["ideal", "kernel", "eager"])
ROUTINGS = st.sampled_from(["min", "expected", "max"])


def at(model: str, gpu: str | GPU, **asked: object):
    """One point as a sweep of one, so that nothing is refused for its size."""
    return floor(model, gpu, **{**asked, "batch": [asked.get("batch", 1.0)]})[0]


@given(MODELS, GPUS, BATCH, CTX, st.sampled_from([1.0, 512.0]), DTYPES, CACHES, FUSIONS, ROUTINGS)
@settings(max_examples=400)
def test_floor_never_exceeds_the_serial_floor(model, gpu, batch, ctx, new_tokens, dtype, kv_dtype, fusion, routing) -> None:
    f = at(model, gpu, ctx=ctx, batch=batch, new_tokens=new_tokens, dtype=dtype, kv_dtype=kv_dtype, fusion=fusion, routing=routing)
    assert 0 < f.latency_s <= f.serial_s
    assert f.latency_s == max(f.memory_s, f.compute_s or 0.0)


@given(MODELS, GPUS, BATCH, CTX, DTYPES, FUSIONS)
@settings(max_examples=60)
def test_rows_sum_to_totals_exactly(model, gpu, batch, ctx, dtype, fusion) -> None:
    f = at(model, gpu, ctx=ctx, batch=batch, dtype=dtype, fusion=fusion)
    rows = f.operators
    for key in ("serial_s", "moved_weight_bytes", "moved_kv_bytes", "flops"):
        total = 0.0
        for value in rows[key]:
            total += value
        assert total == getattr(f, key)
    assert sum(rows["share"]) == pytest.approx(1.0)


def test_attention_over_an_int8_cache_is_not_slowed_by_weak_int8_units() -> None:
    # B300 cuts int8 to 154 TOPS; weights in Q8_0 and a cache in int8 may still be multiplied in 16 bits
    asked = {"ctx": 8192, "batch": 8, "new_tokens": 512}
    slow = floor("qwen2.5-7b", "b300-sxm", dtype="q8_0", kv_dtype="int8", **asked)
    assert slow.latency_s <= slow.serial_s
    assert slow.compute_s <= floor("qwen2.5-7b", "b300-sxm", **asked).compute_s


@given(MODELS, GPUS, BATCH, CTX, DTYPES)
@settings(max_examples=60)
def test_weight_only_formats_never_compute_slower_than_16_bits(model, gpu, batch, ctx, dtype) -> None:
    plain, narrow = (at(model, gpu, ctx=ctx, batch=batch, new_tokens=64.0, dtype=d) for d in ("fp16", dtype))
    if plain.compute_s is not None and narrow.compute_s is not None and dtype not in (None, "fp16"):
        assert narrow.compute_s <= plain.compute_s * (1 + 1e-12)


@given(MODELS, GPUS, BATCH, CTX, DTYPES)
@settings(max_examples=60)
def test_fusion_changes_the_serial_floor_upwards_and_never_the_floor(model, gpu, batch, ctx, dtype) -> None:
    ideal, kernel, eager = (at(model, gpu, ctx=ctx, batch=batch, dtype=dtype, fusion=s) for s in ("ideal", "kernel", "eager"))
    assert ideal.latency_s == kernel.latency_s == eager.latency_s
    assert ideal.serial_s < kernel.serial_s < eager.serial_s


@given(MODELS, GPUS, BATCH, CTX, st.floats(1.0, 100.0), st.integers(0, 50_000), DTYPES, ROUTINGS)
@settings(max_examples=100)
def test_more_work_is_never_faster(model, gpu, batch, ctx, times, more, dtype, routing) -> None:
    asked = {"ctx": ctx, "batch": batch, "dtype": dtype, "routing": routing}
    f = at(model, gpu, **asked)
    assert at(model, gpu, **{**asked, "batch": batch * times}).latency_s >= f.latency_s * (1 - 1e-12)
    assert at(model, gpu, **{**asked, "ctx": ctx + more}).latency_s >= f.latency_s
    assert at(model, gpu, **asked, new_tokens=1 + times).latency_s >= f.latency_s * (1 - 1e-12)


@given(MODELS, BATCH, CTX, st.floats(1.0, 8.0))
@settings(max_examples=60)
def test_rates_times_k_are_times_over_k_and_a_better_part_is_never_slower(model, batch, ctx, k) -> None:
    h100 = load_gpu("h100")

    def scaled(memory: float, compute: float) -> GPU:
        rates = {c: r * compute for c, r in h100.flops_per_s.items()}
        return GPU(
            id="scaled",
            name="scaled",
            memory_bytes=1e15,
            memory_bytes_per_s=h100.memory_bytes_per_s * memory,
            flops_per_s=rates,
            source="law",
        )

    asked = {"ctx": ctx, "batch": batch}
    plain = at(model, scaled(1, 1), **asked)
    assert at(model, scaled(k, k), **asked).latency_s == pytest.approx(plain.latency_s / k, rel=1e-12)
    assert at(model, scaled(k, 1), **asked).latency_s <= plain.latency_s
    assert at(model, scaled(1, k), **asked).latency_s <= plain.latency_s


@given(MODELS, st.integers(1, 64), st.integers(0, 4000), st.integers(1, 8))
@settings(max_examples=40)
def test_prefill_has_the_flops_of_as_many_decode_steps(model, new, past, batch) -> None:
    prefill = floor(model, "mi300x", phase="prefill", ctx=float(past + new), cached_tokens=[float(past)], batch=batch, logits="all")
    steps = floor(model, "mi300x", ctx=past + np.arange(float(new)), batch=batch)
    assert prefill.flops.sum() == pytest.approx(steps.flops.sum(), rel=1e-12)


@given(MODELS, st.integers(1, 64), st.integers(0, 4000))
@settings(max_examples=30)
def test_a_cached_chunk_is_a_decode_step_of_as_many_new_tokens(model, new, past) -> None:
    chunk = floor(model, "mi300x", phase="prefill", ctx=[float(past + new)], cached_tokens=float(past), logits="all")
    verify = floor(model, "mi300x", ctx=[float(past)], new_tokens=float(new))
    assert chunk.latency_s[0] == verify.latency_s[0]
    assert chunk.flops[0] == verify.flops[0]


def only(model: str, *kinds: type) -> bool:
    """Whether every block of a model is of these kinds."""
    return all(isinstance(b, kinds) for g in load_model(model).groups for b in g.blocks)


@given(MODELS.filter(lambda m: only(m, Attention, MLP, MoE)), GPUS, CTX, BATCH)
@settings(max_examples=40)
def test_mha_is_gqa_with_as_many_kv_heads(model, gpu, ctx, batch) -> None:
    m = load_model(model)
    mha = m.as_mha()
    attention = m.groups[0].blocks[0]
    ratio = attention.heads / attention.kv_heads
    a, b = at(model, gpu, ctx=ctx, batch=batch), at(mha, gpu, ctx=ctx, batch=batch)
    assert b.moved_kv_bytes == pytest.approx(ratio * a.moved_kv_bytes, rel=1e-12)
    assert b.latency_s >= a.latency_s


@given(
    MODELS,
    st.sampled_from(["h100", "rtx-4090", "epyc-9654"]),
    DTYPES,
    FUSIONS,
    ROUTINGS,
    st.integers(1, 5),
    st.integers(1, 5),
    st.randoms(use_true_random=False),
)
@settings(max_examples=40)
def test_a_sweep_cell_equals_its_scalar_exactly(model, gpu, dtype, fusion, routing, rows, columns, random) -> None:
    batch = np.array([random.uniform(0.1, 600) for _ in range(rows)])[:, None]
    ctx = np.array([random.randrange(200_000) for _ in range(columns)], dtype=float)[None, :]
    asked = {"dtype": dtype, "fusion": fusion, "routing": routing}
    grid = floor(model, gpu, ctx=ctx, batch=batch, **asked)
    for i in range(rows):
        for j in range(columns):
            one = at(model, gpu, ctx=ctx[0, j].item(), batch=batch[i, 0].item(), **asked)
            for field in (
                "latency_s",
                "serial_s",
                "memory_s",
                "moved_bytes",
                "moved_kv_bytes",
                "flops",
                "resident_bytes",
                "tokens_per_s",
                "intensity",
            ):
                assert getattr(grid, field)[i, j].item() == getattr(one, field), field
            assert grid.bound[i, j] == one.bound


@pytest.mark.parametrize("shape", [(3, BLOCK_POINTS), (BLOCK_POINTS, 3), (2 * BLOCK_POINTS + 7,)])
def test_a_large_sweep_in_blocks_equals_its_scalars(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(3)
    batch, ctx = rng.uniform(1, 64, shape), rng.integers(0, 9000, shape).astype(float)
    grid = floor("qwen3-30b-a3b", "h200", ctx=ctx, batch=batch)
    for index in [tuple(int(rng.integers(0, n)) for n in shape) for _ in range(25)]:
        one = at("qwen3-30b-a3b", "h200", ctx=ctx[index].item(), batch=batch[index].item())
        assert (grid.latency_s[index].item(), grid.serial_s[index].item(), grid.flops[index].item()) == (
            one.latency_s,
            one.serial_s,
            one.flops,
        )


@given(MODELS, CTX, BATCH)
@settings(max_examples=40)
def test_narrower_weights_and_caches_never_move_more(model, ctx, batch) -> None:
    moved = [at(model, "h100", ctx=ctx, batch=batch, dtype=d).moved_bytes for d in ("bf16", "fp8", "w4a16")]
    assert moved[0] > moved[1] > moved[2]
    wide, narrow = (at(model, "h100", ctx=ctx, batch=batch, kv_dtype=d).moved_kv_bytes for d in (None, "fp8"))
    assert narrow * 2 == wide or (narrow * 2 > wide > narrow and not only(model, Attention, MLP, MoE))  # a state keeps its width


@given(MODELS, BATCH, CTX)
@settings(max_examples=40)
def test_every_logits_choice_costs_what_it_reads(model, batch, ctx) -> None:
    none, last, all_ = (at(model, "h100", ctx=ctx, batch=batch, new_tokens=4.0, logits=x) for x in ("none", "last", "all"))
    m: Model = load_model(model)
    assert none.flops < last.flops < all_.flops
    assert last.moved_bytes == all_.moved_bytes
    head = m.lm_head_elements * 2
    gathered = min(4.0 * batch, m.vocab) * m.hidden * 2 if m.tied_embeddings else 0.0
    assert last.moved_bytes - none.moved_bytes == pytest.approx(head - gathered, rel=1e-9)


def test_results_are_read_only() -> None:
    f = floor("qwen2.5-7b", "h100", ctx=np.array([1.0, 2.0]), batch=np.array([1.0, 2.0]))
    for field in ("latency_s", "serial_s", "moved_bytes", "flops", "tokens_per_s", "intensity", "resident_bytes", "fits", "is_bound"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(f, field)[0] = 0
