"""Public reports of measured speeds, each with the verdict and the cause that its own thread came to."""

from __future__ import annotations

import pytest

from sol import GPU, Comparison, NumberFormat, UnknownName, compare, floor, load_gpu, load_model
from sol.answers.question.formats import resolve_formats
from sol.physics.memory.capacity import resident_weight_bytes

pytestmark = pytest.mark.truth


def at(rate: float, model: str, gpu: str, **asked: object) -> Comparison:
    """A rate of all sequences [token/s], as an engine prints it."""
    tokens = asked["ctx"] if asked.get("phase") == "prefill" else asked.get("batch", 1.0)
    return compare(model, gpu, measured_s=tokens / rate, told="rate", **asked)  # type: ignore[arg-type, operator]


def kinds(c: Comparison) -> list[str]:
    return [s.kind for s in c.suspects]


def percent(c: Comparison) -> int:
    return round(100 * c.fraction)


def test_a_rate_of_eight_streams_is_no_rate_of_one() -> None:
    """NVIDIA/TensorRT-Edge-LLM#80: 226.42 tok/s advertised for Qwen3-30B-A3B on a Thor, some 50 seen with one sequence."""
    asked = {"dtype": "gptq-w4-g128", "ctx": 1024}
    c = at(226.42, "qwen3-30b-a3b", "thor", **asked)
    assert (c.verdict, kinds(c)[0]) == ("impossible", "aggregate")
    assert c.suspects[0].change == {"batch": 8.0}
    eight = floor("qwen3-30b-a3b", "thor", batch=8, **asked).latency_s
    assert c.suspects[0].limit_s == pytest.approx(eight)
    # four sequences together cannot have so much, eight can
    assert 4 / floor("qwen3-30b-a3b", "thor", batch=4, **asked).latency_s < 226.42 < 8 / eight
    assert at(50, "qwen3-30b-a3b", "thor", **asked).verdict == "slow"


def test_a_head_in_nvfp4_takes_the_limit_from_95_to_118() -> None:
    """NVIDIA/TensorRT-Edge-LLM#95: Qwen3-4B-Instruct-2507 in NVFP4, head included: 90.2 tok/s published, some 55 reproduced."""
    asked = {"ctx": 364}
    limit = 1 / floor("qwen3-4b-2507", "thor", dtype="nvfp4-head", **asked).latency_s
    assert limit == pytest.approx(118, abs=0.5)
    for rate, share in ((55, 47), (90.2, 77)):
        assert percent(at(rate, "qwen3-4b-2507", "thor", dtype="nvfp4-head", **asked)) == share
    near = at(90.2, "qwen3-4b-2507", "thor", dtype="nvfp4", **asked)
    assert (near.verdict, percent(near), kinds(near)) == ("at the limit", 95, ["precision"])
    assert near.suspects[0].change == {"dtype": "nvfp4-head"}


def test_tensors_beside_the_experts_and_no_fewer_experts_on_a_spark() -> None:
    """spark-arena/recipe-registry#17, eugr/spark-vllm-docker#345: gpt-oss-120b at 59.5 tok/s; one token touches exactly four experts."""
    c = at(59.5, "gpt-oss-120b", "dgx-spark", ctx=None)
    assert c.verdict == "at the limit"
    assert "routing" not in kinds(c)
    assert kinds(c)[0] == "precision"
    assert percent(at(59.5, "gpt-oss-120b", "dgx-spark", ctx=None, dtype="mxfp4-moe")) < 85


def test_a_gguf_of_gpt_oss_is_q8_0_beside_its_experts() -> None:
    """lhl/strix-halo-testing#33: "gpt-oss 120B MXFP4 MoE, 59.02 GiB, 116.83 B, tg32 47.41": 3.59 GB a token, two thirds of light."""
    m = load_model("gpt-oss-120b")
    stored = resident_weight_bytes(m, resolve_formats(m, load_gpu("strix-halo"), "mxfp4-moe", None)[0])
    assert stored / 2**30 == pytest.approx(59.02, abs=0.005)
    c = at(47.41, "gpt-oss-120b", "strix-halo", ctx=16, dtype="mxfp4-moe")
    assert c.floor.moved_weight_bytes == pytest.approx(3.59e9, rel=2e-3)
    assert (c.verdict, percent(c)) == ("healthy", 67)
    wide = at(47.41, "gpt-oss-120b", "strix-halo", ctx=16)
    assert (wide.verdict, percent(wide), wide.suspects[0].change) == ("at the limit", 93, {"dtype": "mxfp4-moe"})


def test_a_model_that_is_not_known_says_how_to_give_it() -> None:
    """kyuz0/amd-strix-halo-toolboxes#76: gemma-4-31b in Q4_K_M at 11 tok/s on a Strix Halo."""
    with pytest.raises(UnknownName, match=r"gemma-4-31b.*give the path of its config.json"):
        at(11, "gemma-4-31b", "strix-halo", ctx=None, dtype="q4_k_m")


QWQ = {2: 5.50 / 200, 4: 3.91 / 200, 8: 3.15 / 200}
"""Seconds a step by tensor-parallel size: 200 steps of QwQ-32B at batch 1, prompt of one token."""


def test_time_that_is_the_same_at_every_tp_is_the_hosts() -> None:
    """vllm-project/vllm#16300: 8 A100 of 80 GB, vLLM 0.7.2: tp=8 is hardly faster than tp=4."""
    found = {tp: compare("qwq-32b", "a100", measured_s=t, ctx=101, tp=tp, engine="vllm-0.6") for tp, t in QWQ.items()}
    gaps = [c.gap_s * 1e3 for c in found.values()]
    assert all(11.65 < gap < 11.9 for gap in gaps)
    for tp, c in found.items():
        assert "split" not in kinds(c)  # a step twice as long at tp=2 is what the host takes
        assert ("host" in kinds(c)) == (not c.usual)
        assert "host's time per step" in c.to_text(160) or "host time per step" in c.to_text(160), tp
    assert (found[8].usual, kinds(found[8])[0]) == (False, "host")
    assert all(compare("qwq-32b", "a100", measured_s=t, ctx=101, tp=tp).usual for tp, t in QWQ.items())  # a wider interval holds all three


def test_what_an_estimate_explains_is_not_suspected() -> None:
    """vllm-project/vllm#22331: gpt-oss-120b on A100, 90 tok/s on one (88 of another user), 77 on two."""
    one = at(90, "gpt-oss-120b", "a100", ctx=None)
    assert (one.usual, kinds(one)) == (True, [])
    two = at(77, "gpt-oss-120b", "a100", ctx=None, tp=2)
    assert "cpu" not in kinds(two)
    assert kinds(two)[:1] == ["host"]


def test_a_prompt_over_two_cards_waits_for_pcie() -> None:
    """turboderp-org/exllamav2#734: Llama-3.3-70B at 4.5 bits, 2 RTX 3090, batches of 2,048: 1,045.8 tok/s by layers, 378.87 by tensors."""
    exl2 = NumberFormat(id="exl2-4.5", name="EXL2, 4.5 bits", bits=4.5, covers=("linear",), compute="16-bit", source="the report")
    asked = {"ctx": 2048, "phase": "prefill", "dtype": exl2, "kv_dtype": "int8", "engine": "vllm"}  # no calibration of any but llama.cpp
    layers = at(1045.8, "llama-3.3-70b", "3090", pp=2, **asked)
    assert "power" not in kinds(layers)
    tensors = at(378.87, "llama-3.3-70b", "3090", tp=2, **asked)
    assert kinds(tensors)[0] == "collectives"
    assert "160 all-reduces of 33.6 MB" in tensors.suspects[0].evidence  # two a layer, 2,048 · 8,192 · 2 B


def test_all_reduces_of_half_a_millisecond() -> None:
    """meta-pytorch/gpt-fast#111: Llama-2-7B, 29 tok/s on one V100 and 17 on two, 500 µs an all-reduce in Nsight Systems."""
    c = at(17, "llama-2-7b", "v100", ctx=100, dtype="fp16", tp=2)
    assert kinds(c) == ["collectives"]
    assert "64 all-reduces" in c.suspects[0].evidence
    assert c.suspects[0].limit_s == pytest.approx(c.floor_s + 64 * 500e-6, rel=0.01)
    assert "batch" not in kinds(at(29, "llama-2-7b", "v100", ctx=100, dtype="fp16"))


def test_four_drafts_of_a_27b() -> None:
    """sudoingX/qwen38-mtp#33: Qwen3.8-27B (taken for Qwen3.5-27B) in Q4_K_M on an RTX 5090: 76.3 tok/s, 171.7 with MTP-4."""
    asked = {"ctx": 300, "dtype": "q4_k_m"}
    plain, drafted = (at(rate, "qwen3.5-27b", "5090", **asked) for rate in (76.3, 171.7))
    assert plain.verdict == "healthy"
    assert (drafted.verdict, kinds(drafted)[0]) == ("impossible", "speculation")
    assert drafted.suspects[0].evidence.startswith("1.50 tokens or more")
    step = floor("qwen3.5-27b", "5090", new_tokens=5, **asked).latency_s  # four drafts and one of its own
    assert 5 / step > 171.7


def test_concurrent_requests_are_not_all_decoding() -> None:
    """ai-dynamo/aiconfigurator#1396: Kimi-K2.5-NVFP4 on 8 B200, 8k/1k, 384 at once: 192.44 tok/s/GPU at 44.59 a user, so 34.5 decode."""
    asked = {"ctx": 8704, "dtype": "nvfp4-experts", "tp": 8}
    decoding = 192.44 * 8 / 44.59
    assert decoding == pytest.approx(34.5, abs=0.1)
    all_of_them = at(192.44 * 8, "kimi-k2.5", "b200", batch=384, **asked)
    assert (all_of_them.verdict, kinds(all_of_them)) == ("broken", ["memory"])  # 384 of 8k do not even fit at tp=8
    asked |= {"measured_s": 1 / 44.59, "batch": decoding, "told": "rate/user"}
    some = compare("kimi-k2.5", "b200", engine="vllm", **asked)  # the engine is not said: vLLM's interval holds it
    assert (some.verdict, some.usual, kinds(some)) == ("slow", True, [])
    beside = compare("kimi-k2.5", "b200", **asked)  # the class's misses by 4 %: its steps hold no prompts, the server's do
    assert (beside.verdict, beside.usual) == ("slow", False)


def test_a_step_that_equals_its_estimate() -> None:
    """tenstorrent/tt-inference-server#340: Qwen3-30B-A3B on an A100, 128 in and 128 out: 9.6 ms a token, the estimate is 9.61."""
    c = compare("qwen3-30b-a3b", "a100", measured_s=9.6e-3, ctx=192)
    assert (c.usual, kinds(c)) == (True, [])
    assert "equals the 9.608 ms expected" in c.to_text(160)


def test_an_m4_pro_is_slower_than_an_m3_max_by_its_bandwidth() -> None:
    """ml-explore/mlx-examples#1029: Llama-3.1-8B in 4 bits behind 32,159 tokens: 33 tok/s on an M3 Max, 23.146 on an M4 Pro."""
    four = NumberFormat(id="mlx-4bit", name="MLX, 4 bits in groups of 64", bits=4, group=64, scale_bits=16, zero_bits=16,
                        covers=("linear", "lm_head", "embedding"), compute="16-bit", source="mlx-community config.json")  # fmt: skip
    m4_pro = GPU(id="apple-m4-pro", name="Apple M4 Pro", kind="soc", memory_bytes=64e9, memory_bytes_per_s=273e9, unified_memory=True,
                 source="Apple, Mac mini (2024) technical specifications: 273GB/s memory bandwidth")  # fmt: skip
    asked = {"ctx": 32_159 + 500, "dtype": four}
    with pytest.raises(UnknownName, match="m4-pro"):
        at(23.146, "llama-3.1-8b", "m4-pro", **asked)
    older, newer = at(33, "llama-3.1-8b", "m3-max", **asked), at(23.146, "llama-3.1-8b", m4_pro, **asked)  # type: ignore[arg-type]
    assert older.verdict == newer.verdict == "healthy"
    assert older.fraction == pytest.approx(newer.fraction, abs=0.03)  # the same share of unlike bandwidths
    assert not older.suspects + newer.suspects
