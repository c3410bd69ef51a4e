"""The floor against numbers worked out by hand from published architectures and datasheets.

Every expected value is (bytes that must move)/(bandwidth) or FLOPs/(dense peak), computed outside the
library; a tolerance of half the last printed digit.
"""

from __future__ import annotations

import numpy as np
import pytest

from sol import GPU, floor, load_gpu
from sol.units import KIB

pytestmark = pytest.mark.truth


def ms(value: float, printed: str) -> None:
    """`value` [s] rounds to the printed milliseconds."""
    digits = len(printed.partition(".")[2])
    assert f"{value * 1e3:.{digits}f}" == printed


@pytest.mark.parametrize(("gpu", "printed"), [("h100", "4.256"), ("a100", "6.993"), ("l40s", "16.503"), ("l4", "47.53")])
def test_qwen_7b_at_2048(gpu: str, printed: str) -> None:
    f = floor("qwen2.5-7b", gpu, ctx=2048)
    ms(f.latency_s, printed)
    assert f.bound == "memory"
    assert f.is_bound


def test_qwen_7b_byte_by_byte() -> None:
    f = floor("qwen2.5-7b", "h100", ctx=2048)
    gathered_row = 3584 * 2
    assert f.moved_weight_bytes == 7_070_619_136 * 2 + gathered_row
    assert f.moved_kv_bytes == 57_344 * (2048 + 1)  # read past, write the new token's


def test_llama_8b() -> None:
    ms(floor("llama-3.1-8b", "h100", ctx=2048).latency_s, "4.561")
    ms(floor("llama-3.1-8b", "h100", ctx=2048, batch=64).latency_s, "9.61")
    ms(floor("llama-3.1-8b", "a100", ctx=2048).latency_s, "7.493")


def test_llama_8b_prefill_counts_the_causal_half() -> None:
    f = floor("llama-3.1-8b", "h100", phase="prefill", ctx=2048)
    assert f.latency_s * 1e3 == pytest.approx(30.01 * 1830 / 1980, abs=0.01)  # 30.01 at the peaks; the device runs to 1,980 MHz
    ms(f.serial_s, "30.32")
    layers = 2048 * 2 * (8_030_261_248 - 2 * 128_256 * 4096 - 65 * 4096)  # matrices: neither tables nor norms
    scores = 4 * 32 * 128 * 32 * (2048 * 2049 // 2)
    assert f.flops == layers + scores + 2 * 128_256 * 4096  # logits of the last token only


def test_llama_8b_prefill_on_an_a100() -> None:
    ms(floor("llama-3.1-8b", "a100", phase="prefill", ctx=2048).latency_s, "95.2")


def test_mixtral_on_a_card_that_would_hold_it() -> None:
    a100 = load_gpu("a100")
    roomy = GPU(id="a100-roomy", name="A100 with 200 GB", memory_bytes=200e9, memory_bytes_per_s=a100.memory_bytes_per_s,
                flops_per_s=a100.flops_per_s, last_level_cache_bytes=a100.last_level_cache_bytes,
                source="the A100's own rates, capacity set aside")  # fmt: skip
    ms(floor("mixtral-8x7b", roomy, ctx=2048).latency_s, "12.64")
    at64 = floor("mixtral-8x7b", roomy, ctx=2048, batch=64)
    ms(at64.latency_s, "54.1")
    assert not at64.is_bound
    assert floor("mixtral-8x7b", roomy, ctx=2048, batch=64, routing="min").is_bound


def test_qwen3_moe_at_batch_16_with_expected_routing() -> None:
    # 12.84 ms on H100 by independent arithmetic; a capacity-only peer prints 19.05
    ms(floor("qwen3-30b-a3b", "h100", ctx=2048, batch=16).latency_s, "12.84")


def test_mistral_on_a_4090() -> None:
    ms(floor("mistral-7b", "rtx-4090", ctx=1, dtype="fp16").latency_s, "14.1")
    ms(floor("mistral-7b", "rtx-4090", ctx=1, dtype="fp8").latency_s, "7.18")  # a 16-bit head


def test_weights_alone_at_the_textbook_rate() -> None:
    # 140 GB at 3e12 B/s is 46.7 ms, about 21 tok/s: Llama-3.1-70B has 141.1 GB of which the table's 2.1 is not read
    box = GPU(id="box", name="box", memory_bytes=400e9, memory_bytes_per_s=3e12, flops_per_s={"bf16": 1e15}, source="textbook")
    assert floor("llama-3.1-70b", box, ctx=0).latency_s == pytest.approx(46.7e-3, rel=0.01)


def test_narrow_weights_move_the_bytes_the_formats_say() -> None:
    f = floor("qwen2.5-7b", "h100", ctx=0, dtype="w4a16")
    assert f.moved_weight_bytes / 1e9 == pytest.approx(4.48, abs=0.005)


def test_a_4090_prefill_is_bound_by_the_ceiling_and_its_serial_floor_by_the_peak() -> None:
    f = floor("mistral-7b", "rtx-4090", phase="prefill", ctx=4096, dtype="fp16")
    assert f.compute_s == pytest.approx(f.flops / 330.3e12 * 2520 / 3150, rel=1e-3)  # fp16 accumulation, at the maximum clock
    assert f.serial_s >= f.flops / 165.2e12


def test_compute_bound_steps_gain_nothing_from_narrow_storage() -> None:
    wide, narrow = (floor("llama-3.1-8b", "h100", phase="prefill", ctx=8 * KIB, dtype=d) for d in ("bf16", "w4a16"))
    assert wide.bound == narrow.bound == "compute"
    assert wide.latency_s == narrow.latency_s
    assert floor("llama-3.1-8b", "h100", phase="prefill", ctx=8 * KIB, dtype="fp8").latency_s < 0.6 * wide.latency_s


def test_the_batch_where_weights_stop_being_the_bottleneck() -> None:
    # B* = W·P/(F·H − K·P) for Qwen2.5-7B on H100: 295.7 at ctx 0 and 738 at 512 at the clock of the peaks, 1,830 MHz;
    # with P at 1,980 MHz, the bound: 320.0, 915, and none from 788 on
    batch = np.arange(1, 3000)

    def first_compute_bound(ctx: int) -> int | None:
        bound = floor("qwen2.5-7b", "h100", ctx=ctx, batch=batch).bound == "compute"
        return int(batch[bound.argmax()]) if bound.any() else None

    assert first_compute_bound(0) == pytest.approx(320, abs=1)
    assert first_compute_bound(512) == pytest.approx(915, abs=6)
    assert first_compute_bound(900) is None


def test_ridge_points() -> None:
    assert floor("qwen2.5-7b", "h100", ctx=1).ridge == pytest.approx(295, abs=0.5)
    assert floor("qwen2.5-7b", "h200", ctx=1).ridge == pytest.approx(201, abs=0.5)  # 206 at the rounded 4.8 TB/s


def test_attention_intensity_is_the_group_size() -> None:
    rows = {r["operator"]: r for r in floor("llama-3.1-70b", "mi300x", ctx=100_000).operators.to_dicts()}
    attention = rows["attention"]
    assert attention["flops"] / attention["moved_kv_bytes"] == pytest.approx(64 / 8, rel=1e-4)  # h/k at 16 bits


def rows_of(*args: object, **asked: object) -> dict[str, dict]:
    return {r["operator"]: r for r in floor(*args, **asked).operators.to_dicts()}  # type: ignore[arg-type]


def test_experts_and_router_flops_by_hand() -> None:
    # Qwen3-30B-A3B: 48 layers, 2,048 wide, 8 of 128 experts of 768; router 2·d·E, experts 2·8·3·d·f a token
    rows = rows_of("qwen3-30b-a3b", "h200", ctx=1000, phase="prefill")
    assert rows["router"]["flops"] == 1000 * 48 * 2 * 2048 * 128
    assert rows["experts"]["flops"] == 1000 * 48 * 2 * 8 * 3 * 2048 * 768
    assert rows["lm_head"]["flops"] == 2 * 2048 * 151_936


def test_fp8_runs_the_covered_matrices_twice_as_fast_and_leaves_attention_and_head() -> None:
    wide, narrow = (rows_of("llama-3.1-8b", "h100", ctx=4096, phase="prefill", logits="all", dtype=d) for d in ("bf16", "fp8"))
    for name in ("qkv_proj", "o_proj", "gate_up_proj", "down_proj"):
        assert wide[name]["serial_s"] == pytest.approx(wide[name]["flops"] / 989.4e12)
        assert narrow[name]["serial_s"] == pytest.approx(narrow[name]["flops"] / 1978.9e12)
    for name in ("attention", "lm_head"):
        assert narrow[name]["serial_s"] == wide[name]["serial_s"]
    cached = floor("llama-3.1-8b", "h100", ctx=4096, phase="prefill", dtype="fp8", kv_dtype="fp8")
    plain = floor("llama-3.1-8b", "h100", ctx=4096, phase="prefill", dtype="fp8")
    saved = (
        wide["attention"]["flops"] * (1 / 989.4e12 - 1 / 1978.9e12) * 1830 / 1980
    )  # an fp8 cache lets the floor, not the serial one, assume fp8
    assert plain.compute_s - cached.compute_s == pytest.approx(saved, rel=1e-9)


def test_activations_through_memory_by_hand() -> None:
    # Llama-2-7B, one token: d 4096, h·dk 4096, k·(dk+dv) 8192, f 11008, V 32000, 32 layers, 2 B each
    rows = rows_of("llama-2-7b", "h100", ctx=100, fusion="kernel")
    layer = {
        "qkv_proj": 4096 + 4096 + 8192, "rope": 2 * 4096 + 8192, "attention": 2 * 4096 + 8192, "o_proj": 4096 + 4096,
        "gate_up_proj": 4096 + 2 * 11008, "activation": 3 * 11008, "down_proj": 11008 + 4096, "norms": 8 * 4096,
    }  # fmt: skip
    for name, elements in layer.items():
        assert rows[name]["activation_bytes"] == 32 * 2 * elements, name
    assert rows["lm_head"]["activation_bytes"] == 2 * (4096 + 32000)
    assert sum(r["kernels"] for r in rows.values()) == 9 * 32 + 3


def test_eager_scores_and_norms_by_hand() -> None:
    # one token after 100: scores h·1·101 of 24 B, four passes over q; MHA repeats no cache; the cache is read and written anew
    rows = rows_of("llama-2-7b", "h100", ctx=100, fusion="eager")
    assert rows["attention"]["activation_bytes"] == 32 * (32 * 101 * 24 + 4 * 4096 * 2)
    assert rows["rope"]["activation_bytes"] == 32 * (2 * 8192 * 101 * 2 + (4096 + 4096) * 10 * 2)
    assert rows["norms"]["activation_bytes"] == 32 * (2 * 4096 * 36 + 2 * 4096 * 6)
    grouped = rows_of("llama-3.1-8b", "h100", ctx=100, fusion="eager")  # eight KV heads repeated to 32: written and read
    assert grouped["attention"]["activation_bytes"] == 32 * (32 * 101 * 24 + 4 * 4096 * 2 + 4 * 4096 * 2 * 101)


def test_what_binds_a_row_is_what_makes_its_time() -> None:
    rows = rows_of("mistral-7b", "rtx-4090", ctx=1, batch=200, dtype="fp16")
    gate_up = rows["gate_up_proj"]
    assert gate_up["serial_s"] == pytest.approx(gate_up["flops"] / 165.2e12)
    assert gate_up["bound"] == "compute"
    spilled = rows_of("llama-3.1-8b", "h100", ctx=4096, phase="prefill", fusion="eager")["attention"]
    assert spilled["bound"] == "memory"


def test_eager_kernels_per_layer_as_counted_in_transformers() -> None:
    # 48 non-view operations per layer with eager attention (64 with q/k norms), and 23 outside the layers
    for name, per_layer in (("llama-3.1-8b", 48), ("qwen2.5-7b", 48), ("qwen3-8b", 64)):
        f = floor(name, "h200", ctx=100, fusion="eager")
        assert sum(f.operators["kernels"]) == per_layer * f.question.model.layers + 23


def test_power_mode_slows_compute() -> None:
    full, slow = (floor("qwen2.5-0.5b", g, phase="prefill", ctx=4096) for g in ("orin", "orin@30w"))
    # 30 W runs 4 of 8 TPCs at 612 of 1301 MHz: 0.235 of the rate
    assert full.compute_s / slow.compute_s == pytest.approx(4 * 612 / (8 * 1301), rel=0.01)
