"""Formats: bits with their scales, and whole models in GGUF mixes to the byte."""

from __future__ import annotations

import pytest

from sol import BadFile, InvalidInput, MissingSpec, NumberFormat, floor, load_format, load_gpu, load_model
from sol.answers.question.formats import resolve_formats
from sol.physics.memory.capacity import resident_weight_bytes
from sol.specs.record import Source


def stored(model: str, dtype: str) -> float:
    m = load_model(model)
    return resident_weight_bytes(m, resolve_formats(m, load_gpu("h100"), dtype, None)[0])


@pytest.mark.truth
@pytest.mark.parametrize(
    ("name", "bits"),
    [
        ("bf16", 16), ("fp16", 16), ("fp8", 8), ("fp8-block128", 8 + 32 / 16384), ("int8", 8), ("w8a16", 8),
        ("w4a16", 4 + 16 / 128 + 4 / 128), ("gptq-w4-g128", 4 + 16 / 128), ("gptq-w8-g128", 8 + 16 / 128),
        ("w8a16-head", 8), ("w4a16-g32", 4 + (16 + 16) / 32), ("e5m2-all", 8), ("gf4", 32 / 8),
        ("nf4", 4.5), ("nf4-dq", 4.126953125), ("mxfp4", 4.25), ("nvfp4", 4.5), ("q8_0", 34 * 8 / 32), ("q6_k", 210 * 8 / 256),
        ("q5_k", 176 * 8 / 256), ("q4_k", 144 * 8 / 256), ("q3_k", 110 * 8 / 256), ("q2_k", 84 * 8 / 256), ("q4_0", 18 * 8 / 32),
        ("q5_0", 22 * 8 / 32), ("q5_1", 24 * 8 / 32), ("iq4_nl", 18 * 8 / 32),
    ],
)  # fmt: skip
def test_bits_are_the_bytes_of_a_block(name: str, bits: float) -> None:
    assert load_format(name).bits_per_weight == bits


@pytest.mark.truth
def test_gguf_mixes_to_the_byte() -> None:
    # "size" as llama.cpp prints it. Llama-3.1-8B: README of its server, with 64 fp32 rope factors that are no parameters of ours.
    assert stored("llama-3.1-8b", "q4_k_m") == 4_912_898_304 - 64 * 4
    assert stored("qwen2.5-14b", "q4_k_m") == 8_982_142_976  # "Q4_K - Medium" of Qwen2.5-Coder-14B, a llama-server log


@pytest.mark.truth
def test_checkpoint_sizes_in_16_bits_are_two_bytes_a_parameter() -> None:
    for name in ("qwen2.5-7b", "mixtral-8x7b", "qwen3-30b-a3b", "qwen2.5-0.5b"):
        assert stored(name, "bf16") == 2 * load_model(name).parameters


@pytest.mark.law
def test_mixes_lie_between_their_parts() -> None:
    for name in ("llama-2-7b", "mixtral-8x7b", "llama-3.1-70b", "qwen2.5-0.5b"):
        sizes = [stored(name, f) for f in ("q4_0", "q4_k_m", "q5_k_m", "q6_k", "q8_0", "bf16")]
        assert sizes == sorted(sizes)


def test_rows_that_are_not_whole_groups_take_the_fallback() -> None:
    q4 = load_format("q4_k")
    assert q4.fitted(1024) is q4
    assert q4.fitted(896).id == "q5_0"  # Qwen2.5-0.5B is 896 wide: 3.5 super-blocks
    assert load_format("q6_k").fitted(896).id == "q8_0"


def test_gguf_computes_in_int8_where_there_is_a_rate_and_says_what_it_does_elsewhere() -> None:
    prefill = {"ctx": 4096, "phase": "prefill"}
    f = floor("llama-3.1-8b", "h100", dtype="q4_k_m", **prefill)
    assert f.question.rates.formats["weights"] == "int8"
    assert f.latency_s < floor("llama-3.1-8b", "h100", dtype="w4a16", **prefill).latency_s
    mac = floor("llama-3.1-8b", "apple-m2-ultra", dtype="q4_k_m", ctx=1)
    assert mac.compute_s is None  # neither int8 nor bf16 has a sourced rate: memory only, still a bound
    hopper = floor("llama-3.1-8b", "h100", dtype="nvfp4", **prefill)
    assert hopper.question.rates.formats["weights"] == "bf16"
    assert any("no fp4 units" in a for a in hopper.assumptions)
    blackwell = floor("llama-3.1-8b", "b200", dtype="nvfp4", **prefill)
    assert blackwell.question.rates.formats["weights"] == "fp4"


def test_a_format_of_your_own() -> None:
    mine = NumberFormat(id="w3", name="3-bit", bits=3, group=64, scale_bits=16, covers=("linear", "lm_head"), compute="16-bit",
                        source=Source(title="my kernel", kind="user"))  # fmt: skip
    f = floor("qwen2.5-7b", "h100", ctx=0, dtype=mine)
    narrow = 6_525_288_448 + 544_997_376  # linear weights and the head
    small = 7_070_619_136 - narrow
    assert f.moved_weight_bytes == pytest.approx(narrow * 3.25 / 8 + small * 2 + 7168, rel=1e-12)
    for bad in (
        {"fallback": "q8_0"},
        {"mix": {"linear": {"default": "q8_0"}}},
        {"source": None},
        {"bits": 0},
        {"bits": "x"},
        {"group": None},
        {"covers": ("everything",)},
        {"colour": 1},
    ):
        with pytest.raises((InvalidInput, BadFile)) as error:
            NumberFormat(**{"id": "w3", "name": "n", "bits": 3, "group": 64, "scale_bits": 16, "compute": "16-bit",
                            "source": Source(title="t", kind="user"), **bad})  # fmt: skip
        assert "\n" not in str(error.value)


def test_a_part_without_a_format_names_what_it_has() -> None:
    with pytest.raises(MissingSpec, match=r"no fp8 units; it has: .*bf16.*; w8a16"):
        floor("qwen2.5-7b", "a100", ctx=1, dtype="fp8")
