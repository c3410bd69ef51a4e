"""Bad input: one line that says what was asked, what is true, what to do."""

from __future__ import annotations

import numpy as np
import pytest

from sol import GPU, DoesNotFit, InvalidInput, MissingSpec, SolError, UnknownName, floor

GOOD = {"model": "qwen2.5-7b", "gpu": "h100", "ctx": 2048}


@pytest.mark.parametrize(
    ("asked", "kind", "words"),
    [
        ({"dtype": "fp7"}, UnknownName, "bf16, fp16, fp8"),
        ({"gpu": "a100", "dtype": "fp8"}, MissingSpec, "w8a16"),
        ({"gpu": "apple-m2-ultra", "dtype": "fp8"}, MissingSpec, "fp8"),
        ({"kv_dtype": "w4a16"}, InvalidInput, "kv_dtype"),
        ({"dtype": []}, InvalidInput, "neither a name"),
        ({"dtype": "f32"}, InvalidInput, "stores only norm"),
        ({"phase": np.array(["decode", "prefill"])}, InvalidInput, "phase="),
        ({"ctx": 0, "phase": "prefill"}, InvalidInput, "ctx=0"),
        ({"ctx": 10, "phase": "prefill", "cached_tokens": 10}, InvalidInput, "cached_tokens=10 is not below ctx=10"),
        ({"cached_tokens": 5}, InvalidInput, "cached_tokens=5"),
        ({"phase": "prefill", "new_tokens": 3}, InvalidInput, "new_tokens=3"),
        ({"new_tokens": 0}, InvalidInput, "new_tokens=0"),
        ({"phase": "train"}, InvalidInput, "phase='train' is not one of decode, prefill"),
        ({"routing": "best"}, InvalidInput, "routing='best'"),
        ({"fusion": "magic"}, InvalidInput, "fusion='magic'"),
        ({"logits": "some"}, InvalidInput, "logits='some'"),
    ],
)
def test_one_line_that_names_the_thing(asked: dict, kind: type[SolError], words: str) -> None:
    with pytest.raises(kind) as error:
        floor(**{**GOOD, **asked})
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_ctx_zero_is_an_empty_cache_in_decode() -> None:
    f = floor(**{**GOOD, "ctx": 0})
    assert f.moved_kv_bytes == 57_344  # only the new token's own is written


def test_what_does_not_fit_is_an_error_for_a_point_and_a_mask_in_a_sweep() -> None:
    with pytest.raises(
        DoesNotFit, match=r"does not fit: 141\.\d GB needed \(weights 141\.1, kv 0\.\d, activations 0\.\d\), 85\.5 GB on 1×h100-sxm"
    ) as error:
        floor("llama-3.1-70b", "h100", ctx=2048)
    assert "use 2 devices, a narrower dtype" in str(error.value)
    sweep = floor("qwen2.5-7b", "l4", ctx=2048, batch=[1, 64, 4096])
    assert sweep.fits.tolist() == [True, True, False]


def test_a_device_without_bf16_computes_in_fp16_and_says_so() -> None:
    old = GPU(
        id="old",
        name="old",
        memory_bytes=32e9,
        memory_bytes_per_s=900e9,
        flops_per_s={"fp16": 1.25e14},
        lacks=frozenset({"bf16"}),
        source="x",
    )
    f = floor("qwen2.5-7b", old, ctx=10)
    assert f.question.storage.weights.id == "fp16"
    assert any("no bf16" in a for a in f.assumptions)
    with pytest.raises(MissingSpec, match="no bf16 units"):
        floor("qwen2.5-7b", old, ctx=10, dtype="bf16")


def test_an_unsourced_peak_gives_a_memory_only_floor_that_says_so() -> None:
    f = floor("qwen2.5-7b", "epyc-9654", ctx=2048)
    assert f.compute_s is None
    assert f.bound == "memory"
    assert f.ridge is None
    assert f.fits is None
    assert "memory only" in f.warnings[0]
    assert f.latency_s == f.memory_s == f.serial_s


def test_a_sourced_fp16_stands_in_for_an_unsourced_bf16() -> None:
    f = floor("qwen2.5-7b", "apple-m1-max", ctx=2048)
    assert f.question.storage.weights.id == "fp16"
    assert f.compute_s is not None
    assert any("no source gives apple-m1-max a bf16 rate" in a for a in f.assumptions)


def test_a_cache_that_could_hold_the_model_makes_no_bound() -> None:
    f = floor("qwen2.5-0.5b", "epyc-9654", ctx=10, dtype="q4_0")  # 348 MB read, 403 MB of L3
    assert not f.is_bound
    assert "a warm cache" in f.to_text(100)
    assert floor("qwen2.5-7b", "epyc-9654", ctx=10).is_bound


def test_a_context_beyond_the_models_own_is_a_warning() -> None:
    assert "4,096 positions" in floor("llama-2-7b", "mi300x", ctx=100_000).warnings[0]
    assert floor("llama-2-7b", "mi300x", ctx=4096).warnings == ()


def test_rates_per_user_and_per_gpu() -> None:
    f = floor("qwen2.5-7b", "h100", ctx=100, batch=8, new_tokens=3)
    assert f.tokens_per_s == pytest.approx(24 / f.latency_s)
    assert f.tokens_per_s_per_user == pytest.approx(3 / f.latency_s)
    assert f.tokens_per_s_per_gpu == f.tokens_per_s


def test_assumptions_name_the_formats_and_where_they_came_from() -> None:
    text = " ".join(floor("qwen3-30b-a3b", "h100", ctx=1, dtype="fp8", batch=4).assumptions)
    for word in ("weights fp8 (as asked)", "lm_head", "kv cache bf16", "cold cache", "routing expected", "speculation"):
        assert word in text


def test_one_point_of_a_sweep() -> None:
    sweep = floor("qwen3-30b-a3b", "h100", ctx=[[128, 256]], batch=[[1], [8]])
    point = sweep[1, 0]
    assert point.is_point
    assert point.latency_s == floor("qwen3-30b-a3b", "h100", ctx=128, batch=8).latency_s
    with pytest.raises(InvalidInput, match="already one point"):
        point[0]
    for index in (0, slice(0, 1), ..., (0, 0, 0), "a", (9, 9)):
        with pytest.raises(InvalidInput, match="does not choose one point"):
            sweep[index]
    with pytest.raises(InvalidInput, match="index the sweep"):
        sweep.explain()
