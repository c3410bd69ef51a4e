"""Floors that legitimate systems beat say so, each kind with its published case; and nothing expressible beats a strict one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sol import GPU, SolError, compare, floor, load_gpu
from sol.answers.floor.optimistic import optimistic_s
from sol.answers.question.ask import ask
from sol.sources.database.database import gpu_ids, model_ids


def reasons(model: str, gpu: Any, **asked: Any) -> set[str]:
    f = floor(model, gpu, **asked)
    assert f.is_bound is (not any(f.loosened.values()))
    assert f.to_dict()["outputs"]["loosened"] == [kind for kind, holds in f.loosened.items() if holds]
    return {kind for kind, holds in f.loosened.items() if holds}


@pytest.mark.truth
def test_a_cache_that_several_devices_hold_alike_can_be_divided() -> None:
    """DeepSeek-V3 on 8 H200s, 16 sequences of 32k: 8.86 ms where all read all, 2.15 ms with context parallelism (SGLang, vLLM).

    Llama-405B on 16, 8 sequences of 131k: 24.7 and 17.7 ms.
    """
    asked: dict[str, Any] = {"ctx": 32768, "batch": 16, "routing": "min", "tp": 8}
    h200 = load_gpu("h200").model_copy(update={"memory_bytes_per_s": 4.8e12})
    assert reasons("deepseek-v3", h200, **asked) == {"copies"}
    assert floor("deepseek-v3", h200, **asked).latency_s == pytest.approx(8.864e-3, rel=1e-3)
    assert floor("deepseek-v3", h200, cp=8, **asked).latency_s == pytest.approx(2.148e-3, rel=1e-3)
    assert reasons("deepseek-v3", h200, cp=8, **asked) == set()
    wide: dict[str, Any] = {"ctx": 131_072, "batch": 8, "tp": 16, "network": "infiniband-ndr"}
    assert floor("llama-3.1-405b", h200, **wide).latency_s == pytest.approx(24.7e-3, rel=2e-3)
    assert floor("llama-3.1-405b", h200, cp=2, **wide).latency_s == pytest.approx(17.7e-3, rel=2e-3)
    for model, cp, question in (("deepseek-v3", 8, asked), ("llama-3.1-405b", 2, wide)):
        q = ask(model, h200, kv_dtype="bf16", **question)
        assert optimistic_s(q) <= floor(model, h200, kv_dtype="bf16", cp=cp, **question).latency_s


@pytest.mark.truth
def test_activations_may_be_sent_in_8_bits() -> None:
    """8 L40S over PCIe, a prompt of 2,048 into a 70B: 294 ms in 16 bits, 147 in 8 (TensorRT-LLM); no time between is impossible."""
    asked: dict[str, Any] = {"ctx": 2048, "tp": 8, "phase": "prefill"}
    assert reasons("llama-3.1-70b", "l40s", **asked) == {"wire"}
    assert floor("llama-3.1-70b", "l40s", **asked).latency_s == pytest.approx(294e-3, rel=2e-3)
    assert optimistic_s(ask("llama-3.1-70b", "l40s", **asked)) == pytest.approx(147e-3, rel=2e-3)
    assert compare("llama-3.1-70b", "l40s", measured_s=0.2, **asked).verdict != "impossible"


@pytest.mark.truth
def test_recurrent_states_may_be_kept_in_16_bits() -> None:
    """Codestral-Mamba, 256 sequences: 17.5 ms with 32-bit states, 10.2 with 16 (on an H200 of 4.8 TB/s)."""
    h200 = load_gpu("h200").model_copy(update={"memory_bytes_per_s": 4.8e12})
    assert reasons("mamba-codestral-7b", h200, ctx=100, batch=256) == {"states"}
    assert floor("mamba-codestral-7b", h200, ctx=100, batch=256).latency_s == pytest.approx(17.5e-3, rel=5e-3)
    assert optimistic_s(ask("mamba-codestral-7b", h200, ctx=100, batch=256)) == pytest.approx(10.2e-3, rel=1.5e-2)


@pytest.mark.truth
def test_a_warm_cache_can_hold_a_part_and_an_unknown_one_cannot_be_told() -> None:
    """SmolLM-135M reads 272 MB, an MI300X caches 268 MB: 51 µs is no bound. 5 % of what is read is let pass."""
    assert reasons("smollm2-135m", "mi300x", ctx=10) == {"cache"}
    assert optimistic_s(ask("smollm2-135m", "mi300x", ctx=10)) < 1e-6
    assert reasons("llama-3.1-8b", "h100", ctx=10) == set()  # 50 MB of 16 GB
    assert reasons("smollm2-1.7b", "h100", ctx=10) == set()  # 50 MB of 3.4 GB
    assert reasons("qwen2.5-0.5b", "h100", ctx=10) == {"cache"}  # 50 MB of 0.99 GB
    known = load_gpu("h100")
    dark = GPU(id="dark", name="no cache known", memory_bytes=known.memory_bytes, memory_bytes_per_s=known.memory_bytes_per_s,
               flops_per_s=known.flops_per_s, source="an H100 whose cache nobody states")  # fmt: skip
    assert reasons("llama-3.1-8b", dark, ctx=10) == {"unknown_cache"}
    assert "so it cannot be told how much a warm cache would save" in " ".join(floor("llama-3.1-8b", dark, ctx=10).to_text().split())
    assert reasons("llama-3.1-8b", dark, ctx=4096, phase="prefill") == set()  # compute sets this time, and no cache shortens it


@pytest.mark.law
def test_every_reason_has_its_sentence_and_a_sweep_has_its_points() -> None:
    cases: list[tuple[str, dict[str, Any]]] = [
        ("mixtral-8x7b", {"ctx": 100, "batch": [1, 4, 64], "dtype": "fp8"}),
        ("deepseek-v3", {"ctx": 32768, "batch": 16, "tp": [8], "cp": [1, 2, 8]}),
        ("llama-3.1-70b", {"ctx": [10, 100_000], "tp": [8], "phase": "prefill"}), ("mamba-codestral-7b", {"ctx": 10, "batch": [1, 256]}),
    ]  # fmt: skip
    for model, asked in cases:
        swept = floor(model, "h200", **asked)
        for i in range(swept.latency_s.size):
            one = swept[i]
            assert one.is_bound == swept.is_bound[i]
            text = one.to_text()
            assert ("not a strict bound" in text) == (not one.is_bound)


MODELS = st.sampled_from(model_ids())
GPUS = st.sampled_from(gpu_ids())


@pytest.mark.law
@pytest.mark.slow
@given(
    MODELS, GPUS, st.integers(1, 512), st.integers(1, 100_000), st.sampled_from([1, 2, 4, 8, 16]), st.sampled_from(["decode", "prefill"]),
    st.sampled_from([None, "bf16", "fp8", "int8", "w4a16", "q4_k_m", "nvfp4"]), st.sampled_from([None, "bf16", "fp8", "int8"]),
    st.sampled_from([1, 2, 4, 8, 16]), st.sampled_from(["min", "expected"]), st.sampled_from([1.0, 1.5]),
)  # fmt: skip
@settings(max_examples=1500, deadline=None, derandomize=True)
def test_nothing_that_can_be_asked_beats_a_strict_floor(
    model: str,
    gpu: str,
    batch: int,
    ctx: int,
    tp: int,
    phase: str,
    dtype: str | None,
    kv_dtype: str | None,
    cp: int,
    routing: str,
    skew: float,
) -> None:
    """Neither a division of the cache, a routing, a placement of the experts nor a number on the links: within what is let pass (5 %)."""
    asked: dict[str, Any] = {"ctx": ctx, "batch": [batch], "phase": phase, "dtype": dtype, "kv_dtype": kv_dtype, "tp": tp}
    asked |= {"network": "infiniband-ndr"} if tp > 1 else {}
    try:
        f = floor(model, gpu, **asked)
        q = ask(model, gpu, **asked)
    except SolError:
        return
    least = np.asarray(optimistic_s(q)).item()
    assert least <= f.latency_s.item() * (1 + 1e-12)
    changes: list[dict[str, Any]] = [{"cp": cp}, {"routing": routing}, {"imbalance": skew}, {"cp": cp, "routing": "min"}]
    changes += [{"ep": tp}, {"ep": tp, "routing": "min"}]
    for other in changes:
        try:
            g = floor(model, gpu, **{**asked, **other})
        except SolError:
            continue
        assert least <= g.latency_s.item() * (1 + 1e-12), other
        if f.is_bound.all():
            assert g.latency_s.item() >= f.latency_s.item() * 0.95, other
        assert g.latency_s.item() <= g.serial_s.item()
