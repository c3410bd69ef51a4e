"""Weight formats side by side: what each buys, and the batch from which it buys nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sol import GPU, InvalidInput, MissingSpec, NumberFormat, UnknownName, floor, load_gpu, load_model, memory, table
from sol.answers.table.break_even import first_batch
from sol.sources.database.database import model_ids

H, P, P8 = 3.35e12, 989.4e12, 1978.9e12  # H100 SXM: B/s, dense FLOP/s in 16 bits and in fp8, as its data sheets have them
CEILING = P * 1980 / 1830  # the peaks hold at 1,830 MHz, and the device runs to 1,980
STREAMED = 7_070_619_136  # Qwen2.5-7B without its input table; of these, in weight matrices of the layers and in the head:
LINEAR = 28 * (3584 * (28 * 128 + 2 * 4 * 128) + 28 * 128 * 3584 + 3 * 3584 * 18944)
HEAD = 152_064 * 3584
ROW = 3584 * 2  # one row of the input table
VOCAB = 152_064


def kv(ctx: int) -> int:
    """Bytes of one sequence's step: the cache read, the new token's written."""
    return 57_344 * (ctx + 1)


def flops(ctx: int) -> int:
    """FLOPs of one sequence's step: two a weight, and 4·h·dk a query-key pair and layer."""
    return 2 * (LINEAR + HEAD) + 28 * 4 * 28 * 128 * (ctx + 1)


def compute_bound_batch(ctx: int, peak: float = P, bandwidth: float = H) -> float:
    """B* = W·P/(F·H − K·P), the batch where Qwen2.5-7B in 16 bits turns compute-bound."""
    return 2 * STREAMED * peak / (flops(ctx) * bandwidth - (kv(ctx) + ROW) * peak)


@pytest.mark.truth
def test_what_four_bit_weights_buy_a_7b_on_an_h100() -> None:
    t = table("qwen2.5-7b", "h100", dtype=["bf16", "fp8", "w4a16"], ctx=0)
    assert t["format"] == ["bf16", "fp8", "w4a16"]
    assert t["bits_per_weight"] == [16, 8, 4 + 16 / 128 + 4 / 128]
    streamed = t["latency_s"][2] * H - kv(0) - ROW
    assert streamed / 1e9 == pytest.approx(4.48, abs=0.005)  # with a 16-bit head
    assert t["weight_bytes"][2] == pytest.approx(streamed + 2 * HEAD, rel=1e-12)  # and the input table, held but not read
    assert t["speedup"] == pytest.approx([1, 14.1413 / 7.6158, 14.1413 / 4.4806], abs=1e-3)
    assert t["fits"] == [True, True, True]


@pytest.mark.truth
def test_the_gain_of_four_bits_ends_where_sixteen_turn_compute_bound() -> None:
    assert compute_bound_batch(0) == pytest.approx(295.7, abs=0.05)  # as published
    assert compute_bound_batch(512) == pytest.approx(738, abs=0.5)
    for ctx in (0, 100, 512, 700):  # the bound is at the maximum clock: until there four bits may gain
        ends = math.ceil(compute_bound_batch(ctx, CEILING))
        assert table(gpus="h100", dtype=["bf16", "w4a16"], ctx=ctx)["gain_ends_batch"] == [None, ends]
    # 787 tokens, where the cache all but keeps up: past the vocabulary no further row of the table is gathered
    last = (2 * STREAMED + ROW * VOCAB) * CEILING / (flops(787) * H - kv(787) * CEILING)
    (ends,) = table(gpus="h100", dtype=["w4a16"], ctx=787)["gain_ends_batch"]
    assert ends == pytest.approx(last, rel=1e-6)
    for ctx in (789, 2048, 100_000):
        t = table(gpus="h100", dtype=["w4a16"], ctx=ctx)
        assert t["gain_ends_batch"] == [None]
        assert "stays memory-bound" in t["note"][0]
    # nor where the cache is so large that the bytes saved drown in the rounding of its sum
    assert table("qwen2.5-0.5b", "h100", dtype=["w4a16"], ctx=10**9)["gain_ends_batch"] == [None]


@pytest.mark.truth
def test_a_fading_gain_says_where_it_is_below_five_percent() -> None:
    # (W + K·B)/(w + K·B) = 1.05 at B = (W − 1.05·w)/(0.05·K), w 8 bits in the layers and 16 in the head, norms and biases
    narrow = 2 * STREAMED - LINEAR
    small = (2 * STREAMED - 1.05 * narrow) / (0.05 * (kv(2048) + ROW))
    (note,) = table(gpus="h100", dtype=["fp8"], ctx=2048)["note"]
    assert note.endswith(f"below 5 % from batch {math.ceil(small):,}")


@pytest.mark.truth
def test_faster_arithmetic_never_stops_paying_and_slower_stops_early() -> None:
    t = table(gpus="h100", dtype=["bf16", "fp8"], ctx=0)
    assert t["gain_ends_batch"] == [None, None]
    pairs = 28 * 4 * 28 * 128
    left = flops(0) / P / (2 * LINEAR / P8 + (2 * HEAD + pairs) / P)
    assert t["note"][1].endswith(f"also computed faster than bf16; at large batches {left:.2f}×")
    weak = GPU(
        id="weak", name="weak int8 units", memory_bytes=1e12, memory_bytes_per_s=H, flops_per_s={"bf16": P, "int8": P / 4}, source="law"
    )
    (ends,) = table(gpus=weak, dtype=["int8"], ctx=0)["gain_ends_batch"]
    # from where int8 takes as long over its FLOPs as the 16-bit step over its bytes: W + K·B = H·(4·layers + rest)·B/P
    assert ends == math.ceil(2 * STREAMED / (H * (4 * 2 * LINEAR + 2 * HEAD + pairs) / P - kv(0) - ROW))
    assert (
        table(gpus=weak, dtype=["int8"], ctx=0, batch=ends)["speedup"][0]
        < 1
        < table(gpus=weak, dtype=["int8"], ctx=0, batch=ends - 1)["speedup"][0]
    )


@pytest.mark.truth
def test_a_mixture_of_experts_pays_for_longer() -> None:
    # Qwen3-30B-A3B reads all 128 experts long before it is compute-bound, and computes 8 of them
    asked = {"ctx": 0, "routing": "max"}
    f = floor("qwen3-30b-a3b", "h100", batch=[1, 16, 10**6], **asked)
    weights = f.moved_weight_bytes[1] - 16 * 2 * 2048
    per_sequence = f.moved_kv_bytes[0] + 2 * 2048
    ends = weights * CEILING / (f.flops[0] * H - per_sequence * CEILING)
    assert table("qwen3-30b-a3b", "h100", dtype=["w4a16"], **asked)["gain_ends_batch"] == [math.ceil(ends)]
    assert ends > 2500


@pytest.mark.law
@given(
    st.sampled_from(model_ids()),
    st.sampled_from(["h100", "b300", "mi300x", "a100", "rtx-4090", "v100"]),
    st.sampled_from(["w8a16", "w4a16", "nf4", "int8", "fp8", "q8_0", "q4_k_m", "nvfp4"]),
    st.one_of(st.integers(0, 1000), st.integers(0, 200_000)),
    st.sampled_from(["min", "expected", "max"]),
    st.sampled_from(["decode", "prefill"]),
)
@settings(max_examples=150)
def test_a_gain_lasts_until_its_end_and_no_longer(model: str, gpu: str, dtype: str, ctx: int, routing: str, phase: str) -> None:
    asked = {"ctx": ctx + 1, "routing": routing, "phase": phase}
    try:
        t = table(model, gpu, dtype=["fp16", dtype], **asked)
    except MissingSpec:
        return
    ends, note = t["gain_ends_batch"][1], t["note"][1]
    if t["latency_s"][1] is None:
        assert "units" in note or "rate" in note
        return
    top = ends or 1e6
    batch = np.unique(np.concatenate([np.geomspace(1, 1e9, 80).round(), [max(1.0, top - 1), top, top + 1]]))
    wide, narrow = (floor(model, gpu, dtype=d, **{**asked, "batch": batch}).latency_s for d in ("fp16", dtype))
    ratio = wide / narrow
    if ends is None:
        assert (ratio > 1).all()
        assert note
    else:
        assert (ratio[batch < ends] > 1).all()
        assert (ratio[batch >= ends] <= 1 + 1e-9).all()
        if dtype in ("w8a16", "w4a16", "nf4"):  # the same arithmetic, so never slower either
            assert (ratio[batch >= ends] >= 1 - 1e-9).all()
    if "below 5 %" in note:
        faded = float(note.rpartition(" ")[2].replace(",", ""))
        assert (ratio[batch >= faded] < 1.05).all()


@pytest.mark.law
@given(st.integers(1, 2**49))
@settings(max_examples=200)
def test_the_first_batch_is_found_exactly(wanted: int) -> None:
    assert first_batch(lambda batch: batch >= wanted) == wanted
    assert first_batch(lambda batch: (batch >= wanted) | (batch == 1)) == (1 if wanted <= 2 else wanted)


def test_a_condition_that_never_holds_has_no_first_batch() -> None:
    assert first_batch(lambda batch: batch < 0) is None


@pytest.mark.parametrize("phase", ["decode", "prefill"])
def test_rows_are_the_floors_and_the_memory_of_each_format(phase: str) -> None:
    asked = {"ctx": 4096, "batch": 8, "kv_dtype": "fp8", "phase": phase}
    t = table("llama-3.1-8b", "h100", dtype="fp8,bf16,gptq,w4a16", **asked)
    assert t["format"] == ["fp8", "bf16", "w4a16"]  # an alias is its format; each once, as given
    for row in t.to_dicts():
        f = floor("llama-3.1-8b", "h100", dtype=row["format"], **asked)
        assert (row["latency_s"], row["tokens_per_s"], row["bound"], row["fits"]) == (f.latency_s, f.tokens_per_s, f.bound, f.fits)
        assert row["resident_bytes"] == f.resident_bytes
        assert row["weight_bytes"] == memory("llama-3.1-8b", ctx=1, dtype=row["format"]).weight_bytes
        assert row["speedup"] == floor("llama-3.1-8b", "h100", dtype="bf16", **asked).latency_s / f.latency_s
    assert "kv fp8" in t.title
    assert t.meta["sources"]


def test_the_gain_is_against_sixteen_bits_asked_for_or_not() -> None:
    whole, narrow = (table(gpus="h100", dtype=d, ctx=0) for d in (["w4a16", "bf16"], ["w4a16"]))
    assert whole.rows[0] == narrow.rows[0]
    assert "× bf16" in str(narrow)
    assert "bf16: 4.22 ms, memory-bound" in str(narrow)
    assert "× fp16" in str(table(gpus="v100", dtype=["w4a16"], ctx=0))  # a device without bf16
    assert table(gpus="h100", dtype=["fp16", "bf16"])["gain_ends_batch"] == [None, 1]


def test_a_format_the_device_lacks_is_a_note_in_its_row() -> None:
    t = table(gpus="a100", dtype=["bf16", "fp8", "w4a16"])
    assert t["latency_s"][1] is None
    assert t["note"][1] == "a100-sxm-80gb has no fp8 units"
    assert t["weight_bytes"][1] == memory("qwen2.5-7b", ctx=1, dtype="fp8").weight_bytes
    assert "fp8: a100-sxm-80gb has no fp8 units" in str(t)
    with pytest.raises(MissingSpec, match="no fp8 units"):
        table(gpus="a100", dtype=["fp8"])
    old = table(gpus="t4", dtype=["bf16", "w4a16"])
    assert old["note"][0] == "t4 has no bf16 units"
    assert old["weight_bytes"][0] == 2 * load_model("qwen2.5-7b").parameters
    assert "× fp16" in str(old)


def test_what_no_source_says_and_what_does_not_fit_are_said() -> None:
    t = table(gpus="epyc-9654", dtype=["bf16", "q4_k_m"])
    assert (t["gain_ends_batch"], t["fits"]) == ([None, None], [None, None])
    assert "only memory is counted" in t["note"][1]
    big = table("llama-3.1-70b", "h100", dtype=["bf16", "w4a16"])
    assert big["fits"] == [False, True]
    bare = GPU(
        id="bare",
        name="no 16-bit units",
        memory_bytes_per_s=1e12,
        flops_per_s={"int8": 1e14},
        lacks=frozenset({"bf16", "fp16"}),
        source="law",
    )
    assert "× q8_0" in str(table(gpus=bare, dtype=["q8_0", "q4_0"]))


def test_a_format_of_your_own_stands_in_the_table() -> None:
    mine = NumberFormat(id="w5", name="five bits", bits=5, group=64, scale_bits=16, covers=("linear",), compute="16-bit", source="a kernel")
    assert table(gpus="h100", dtype=["bf16", mine], ctx=0)["gain_ends_batch"] == [None, math.ceil(compute_bound_batch(0, CEILING))]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"gpus": "all"}, "90; name one device, or one dtype"),
        ({"gpus": "h100,l4"}, "names 2"),
        ({"gpus": [load_gpu("h100"), "l4"]}, "names 2"),
        ({"model": "qwen2.5-7b,llama-3.1-8b", "gpus": "h100"}, "name one model, or one dtype"),
        ({"model": ["qwen2.5-7b", load_model("llama-3.1-8b")], "gpus": "h100"}, "name one model, or one dtype"),
        ({"gpus": "h100", "ctx": [1, 2]}, "one ctx"),
        ({"gpus": "h100", "dtype": []}, "no format"),
        ({"gpus": "h100", "dtype": ","}, "no format"),
        ({"gpus": "h100", "dtype": ["bf16", None]}, "neither a name"),
        ({"gpus": "h100", "dtype": ["bf16", "f32"]}, "choose a weight format"),
        ({"gpus": "h100", "kv_dtype": "w4a16"}, "is a weight format"),
    ],
)
def test_what_does_not_compare_is_one_line(asked: dict, words: str) -> None:
    with pytest.raises(InvalidInput, match=words) as error:
        table(**{"dtype": ["bf16", "fp8"], **asked})
    assert "\n" not in str(error.value)


def test_an_unknown_format_is_named() -> None:
    with pytest.raises(UnknownName, match="w4a15"):
        table(gpus="h100", dtype="bf16,w4a15")
