"""A measured time against its floor: verdicts at their bands, parts that sum, published systems, what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
from answers.estimate.calibrated import EAGER, GRAPH, knows
from answers.question.sixteen import MODELS
from hypothesis import given, settings
from hypothesis import strategies as st

from sol import Comparison, InvalidInput, MissingSpec, UnknownName, compare, floor
from sol.answers.calibrate.accuracy import questions
from sol.answers.compare.compare import BANDS, compare_of, verdict
from sol.answers.compare.gap import EAGER_LAYER, GRAPH_LAUNCH
from sol.answers.compare.show import BESIDE
from sol.answers.floor.optimistic import narrowed, optimistic_s
from sol.answers.question.ask import ask
from sol.sources.database.measured import MeasuredRow, measured_rows

ROWS = {row.id: row for row in measured_rows()}
RANK = {word: i for i, (_, word) in enumerate(BANDS)}


def of(row: MeasuredRow) -> Comparison:
    return compare(
        row.model, row.gpu, measured_s=row.measured_s, ctx=row.ctx, batch=row.batch, phase=row.phase, new_tokens=row.new_tokens or 1.0,
        dtype=row.dtype, kv_dtype=row.kv_dtype, tp=row.tp, pp=row.pp, ep=row.ep, dp=row.dp,
    )  # fmt: skip


# What is published


@pytest.mark.truth
@pytest.mark.parametrize(
    ("row", "word", "percent"),
    [
        ("PAIG-0016", "broken", 25),  # eager transformers on an H100, 16.97 ms
        ("CALM-0001", "at the limit", 91),  # calm on an RTX 4090, 61 tok/s of Llama-3-8B in fp16
        ("LCPP-0071", "healthy", 82),  # llama.cpp there
        ("GPTF-0006", "healthy", 69),  # gpt-fast on an A100
        ("PAIG-0021", "healthy", 76),  # eager again, on an L4, whose bytes take longer than its host
    ],
)
def test_published_systems_get_the_verdict_they_are_known_for(row: str, word: str, percent: int) -> None:
    c = of(ROWS[row])
    assert (c.verdict, round(100 * c.fraction)) == (word, percent)


@pytest.mark.truth
@pytest.mark.parametrize(("ms", "dtype", "word"), [(59.36, "nf4", "broken"), (45.24, "w4a16", "slow"), (17.36, "w4a16", "at the limit")])
def test_four_bits_set_the_floor_and_the_kernel_the_speed(ms: float, dtype: str, word: str) -> None:
    """arXiv:2605.30571: one 7B on an L4 with bitsandbytes, AutoAWQ with Marlin, GPTQ with ExLlamaV2 (taken for Qwen2.5-7B at 2,048)."""
    c = compare("qwen2.5-7b", "l4", measured_s=ms * 1e-3, ctx=2048, dtype=dtype)
    assert c.verdict == word
    assert [s.kind for s in c.suspects][:1] == ([] if word == "at the limit" else ["dequantisation"])


@pytest.mark.truth
def test_eager_on_an_h100_is_broken_and_the_host_is_suspected_first() -> None:
    c = compare("qwen2.5-7b", "h100", measured_s=16.97e-3, ctx=2048)
    assert c.suspects[0].kind == "eager"
    assert "0.606 ms per layer × 28" in c.suspects[0].evidence
    assert c.to_text(120).splitlines()[0] == ("broken: 25 % of light. 16.97 ms measured, 4.26 ms floor, 12.71 ms above the floor")


@pytest.mark.truth
def test_the_fractions_by_hand() -> None:
    """Streamed parameters and the row of the input table in 16 bits, 2,049 tokens of cache, over 3.35 TB/s and 989.4 TFLOP/s."""
    c = compare("qwen2.5-7b", "h100", measured_s=16.97e-3, ctx=2048)
    moved = 7_070_619_136 * 2 + 7168 + 57_344 * 2049
    assert c.mbu == pytest.approx(moved / (16.97e-3 * 3.35e12), rel=1e-12)
    products = 28 * (3584 * (3584 + 2 * 512) + 3584 * 3584 + 3 * 3584 * 18944) + 152064 * 3584
    scores = 28 * 28 * (128 + 128) * 2049
    assert c.mfu == pytest.approx(2 * (products + scores) / (16.97e-3 * 989.4e12), rel=1e-9)
    assert (c.matters, c.gap_s) == ("mbu", pytest.approx(16.97e-3 - moved / 3.35e12, rel=1e-9))


@pytest.mark.truth
def test_a_fraction_is_of_the_floor_and_not_of_the_serial_floor() -> None:
    """Llama-3.1-8B, a prompt of 2,048 on an H100: 27.74 ms if everything overlaps, at 1,980 MHz; 30.32 one after the other."""
    assert round(compare("llama-3.1-8b", "h100", measured_s=0.1, ctx=2048, phase="prefill").fraction, 3) == 0.277


@pytest.mark.truth
def test_sixty_tokens_a_second_of_deepseek_v3_are_as_far_from_light_as_thirteen() -> None:
    """sglang#3196: 13 tok/s of one request on 8 H200, against 60 of an API: both broken by the bound of one step."""
    for rate in (13.0, 60.0):
        assert compare("deepseek-v3", "h200", measured_s=1 / rate, ctx=2048, tp=8).verdict == "broken"


@pytest.mark.truth
def test_three_milliseconds_are_impossible() -> None:
    """The bytes less all that a 50 MiB cache can hold, an 8-bit cache: (14,141,245,440 + 58,748,928 − 52,428,800) B at 3.35 TB/s."""
    c = compare("qwen2.5-7b", "h100", measured_s=3e-3, ctx=2048)
    assert c.verdict == "impossible"
    assert c.optimistic_s == pytest.approx((7_070_619_136 * 2 + 7168 + 28_672 * 2049 - 50 * 2**20) / 3.35e12, rel=1e-12)
    assert {"precision", "speculation"} <= {s.kind for s in c.suspects}
    assert c.gap == {"unexplained_s": c.gap_s}


@pytest.mark.truth
def test_nothing_published_is_impossible() -> None:
    """Whole requests too: the optimistic floors of their prefill and of every decode step add up to one of the whole."""
    wrong = [row.id for row in ROWS.values() if sum(float(np.sum(optimistic_s(q))) for q in questions(row)) > row.measured_s]
    assert not wrong


@pytest.mark.truth
@pytest.mark.parametrize(("name", "share", "row"), BESIDE)
def test_systems_shown_beside_are_the_measured_rows(name: str, share: float, row: str) -> None:
    assert round(of(ROWS[row]).fraction, 2) == share, name


@pytest.mark.truth
def test_stand_ins_are_what_was_published() -> None:
    assert EAGER_LAYER.value == pytest.approx(ROWS["PAIG-0016"].measured_s / 28, rel=1e-3)
    assert GRAPH_LAUNCH.value == pytest.approx(65_536 / 70e9, rel=5e-3)  # l40_graph.txt: 64 kB at 70 GB/s


# What must hold

GPUS = st.sampled_from(["b300", "h100", "mi300x", "rtx-4090", "l4", "orin@15w", "epyc-9654", "apple-m1-max"])
DTYPES = st.sampled_from([None, "fp16", "w8a16", "w4a16", "nf4", "mxfp4", "nvfp4", "q8_0", "q4_k_m"])
BATCH = st.one_of(st.integers(1, 512).map(float), st.floats(0.1, 512))
CTX = st.integers(1, 200_000).map(float)


@pytest.mark.law
@given(MODELS, GPUS, BATCH, CTX, DTYPES, st.sampled_from([None, "fp8", "int8"]), st.sampled_from(["min", "expected", "max"]),
       st.sampled_from(["decode", "prefill"]))  # fmt: skip
@settings(max_examples=400)
def test_the_optimistic_floor_is_never_above_the_floor(model, gpu, batch, ctx, dtype, kv_dtype, routing, phase) -> None:
    q = ask(model, gpu, ctx=ctx, batch=batch, dtype=dtype, kv_dtype=kv_dtype, routing=routing, phase=phase)
    bound = floor(model, gpu, ctx=ctx, batch=[batch], dtype=dtype, kv_dtype=kv_dtype, routing=routing, phase=phase).latency_s[0]
    assert 0.0 <= optimistic_s(q) <= bound


@pytest.mark.law
@pytest.mark.parametrize("split", [{"tp": 8}, {"dp": 8, "ep": 8}, {"tp": 4, "pp": 2}, {"tp": 8, "ep": 8, "imbalance": 2.0}])
@pytest.mark.parametrize("dtype", [None, "bf16", "w4a16"])
def test_nor_over_many_devices(split: dict[str, float], dtype: str | None) -> None:
    for batch in (1.0, 7.0, 512.0):
        q = ask("deepseek-v3", "h200", ctx=4096, batch=batch, dtype=dtype, **split)
        assert optimistic_s(q) <= floor("deepseek-v3", "h200", ctx=4096, batch=[batch], dtype=dtype, **split).latency_s[0]


@pytest.mark.law
@pytest.mark.parametrize("asked", [{"pp": 4}, {"tp": 2, "pp": 2}, {"tp": 8}])
@pytest.mark.parametrize("phase", ["decode", "prefill"])
def test_neither_fraction_passes_one_where_stages_work_side_by_side(asked: dict[str, int], phase: str) -> None:
    bound = floor("llama-3.1-70b", "h100", ctx=2048, phase=phase, **asked).latency_s
    c = compare("llama-3.1-70b", "h100", measured_s=bound, ctx=2048, phase=phase, **asked)
    mfu = c.mfu * 1830 / 1980  # of the ceiling: the peak holds at 1,830 MHz, the bound at the maximum
    assert max(c.mbu, mfu) <= 1.0 + 1e-9
    assert max(c.mbu, mfu) == pytest.approx(1.0, rel=0.05)
    assert c.optimistic_s <= bound


@pytest.mark.law
def test_everything_granted_lowers_the_optimistic_floor() -> None:
    """A cache, a routing, a narrow head, an 8-bit cache: each alone is seen."""
    asked = {"ctx": 2048, "batch": 16, "dtype": "w4a16"}
    q = ask("qwen3-30b-a3b", "h100", **asked)
    stated = ask("qwen3-30b-a3b", "h100", kv_dtype="bf16", **asked)
    assert optimistic_s(q) < optimistic_s(stated)
    storage = narrowed(q)
    assert storage.bytes_per_weight("lm_head", 2048) == storage.bytes_per_weight("q_proj", 2048) < 1
    least = floor("qwen3-30b-a3b", "h100", routing="min", kv_dtype="bf16", **asked)
    warm = (least.moved_bytes - 50 * 2**20) / 3.35e12
    assert optimistic_s(stated) < warm < least.latency_s


@pytest.mark.law
@pytest.mark.parametrize(("least", "word"), [(0.85, "at the limit"), (0.6, "healthy"), (0.3, "slow")])
@pytest.mark.parametrize("model", ["qwen2.5-7b", "llama-3.1-8b", "qwen3-30b-a3b"])
def test_a_band_ends_between_two_neighbouring_times(least: float, word: str, model: str) -> None:
    bound = floor(model, "h200", ctx=2048).latency_s
    longest = bound / least
    while bound / longest >= least:
        longest = math.nextafter(longest, math.inf)
    while bound / longest < least:
        longest = math.nextafter(longest, 0.0)  # the longest time of this band
    next_word = BANDS[RANK[word] + 1][1]
    assert longest == pytest.approx(bound / least, rel=1e-15)
    assert compare(model, "h200", measured_s=longest, ctx=2048).verdict == word
    assert compare(model, "h200", measured_s=math.nextafter(longest, math.inf), ctx=2048).verdict == next_word


@pytest.mark.law
def test_impossible_ends_at_the_optimistic_floor() -> None:
    c = compare("qwen2.5-7b", "h100", measured_s=4e-3, ctx=2048)
    assert compare("qwen2.5-7b", "h100", measured_s=c.optimistic_s, ctx=2048).verdict == "at the limit"
    assert compare("qwen2.5-7b", "h100", measured_s=math.nextafter(c.optimistic_s, 0.0), ctx=2048).verdict == "impossible"


@pytest.mark.law
@given(st.floats(1e-9, 1e3), st.floats(1.0, 10.0))
def test_a_faster_measurement_never_gets_a_worse_verdict(measured: float, slower: float) -> None:
    fast, slow = (verdict(1.0, t, 0.9) for t in (measured, measured * slower))
    assert fast == "impossible" or RANK[fast] <= RANK[slow]


@pytest.mark.law
@given(
    MODELS,
    st.sampled_from(["h100", "b300", "l4", "rtx-4090"]),
    BATCH,
    CTX,
    DTYPES,
    st.floats(0.3, 1e4),
    st.sampled_from([None, "eager", "fused"]),
)
@settings(max_examples=60)
def test_the_parts_sum_to_the_gap_without_a_calibration(model, gpu, batch, ctx, dtype, ratio, engine) -> None:
    q = ask(model, gpu, ctx=ctx, batch=batch, dtype=dtype)
    bound = floor(model, gpu, ctx=ctx, batch=[batch], dtype=dtype).latency_s[0]
    with pytest.MonkeyPatch.context() as patch:
        knows(patch)
        c = compare_of(q, bound * ratio, engine)
    assert math.fsum(c.gap.values()) == pytest.approx(c.gap_s, rel=1e-12, abs=1e-12 * c.floor_s)
    assert min(c.gap.values()) >= min(0.0, c.gap_s) - 1e-12 * c.floor_s  # what needs no calibration never exceeds the gap
    if ratio >= 1.0:
        assert 0.0 <= c.mbu <= 1.0 + 1e-12


@pytest.mark.law
@given(MODELS, BATCH, CTX, DTYPES, st.floats(1.0, 1e3), st.sampled_from(["ideal", "eager"]))
@settings(max_examples=60)
def test_the_parts_sum_to_the_gap_with_one(model, batch, ctx, dtype, ratio, fusion) -> None:
    q = ask(model, "h100", ctx=ctx, batch=batch, dtype=dtype, fusion=fusion)
    bound = floor(model, "h100", ctx=ctx, batch=[batch], dtype=dtype).latency_s[0]
    for calibration in (GRAPH, EAGER):
        c = compare_of(q, bound * ratio, calibration=calibration)
        assert c.estimate is not None
        scale = max(c.measured_s, c.estimate.latency_s)
        assert math.fsum(c.gap.values()) == pytest.approx(c.gap_s, abs=1e-12 * scale)
        if c.gap_s > 0.0:
            assert c.unexplained_s == pytest.approx(c.measured_s - c.estimate.latency_s, abs=1e-12 * scale)
            assert all(v >= -1e-12 * scale for k, v in c.gap.items() if k not in ("overlap_s", "unexplained_s"))


@pytest.mark.law
def test_a_measurement_at_the_estimate_is_explained_in_full() -> None:
    split = compare("llama-3.1-70b", "h100", measured_s=8e-3, ctx=2048, tp=8, calibration=GRAPH)
    assert split.estimate is not None
    c = compare("llama-3.1-70b", "h100", measured_s=split.estimate.latency_s, ctx=2048, tp=8, calibration=GRAPH)
    assert abs(c.unexplained_s) <= 1e-12 * c.measured_s
    assert c.gap["communication_s"] > 0
    assert (c.usual, c.suspects) == (True, ())


@pytest.mark.law
def test_where_links_bound_the_step_what_they_bound_is_no_part_of_the_gap() -> None:
    asked = {"ctx": 4096, "phase": "prefill", "batch": 4, "tp": 4}
    e = compare("qwen2.5-14b", "rtx-4090", measured_s=9.0, calibration=GRAPH, **asked).estimate
    assert e is not None
    c = compare("qwen2.5-14b", "rtx-4090", measured_s=e.latency_s, calibration=GRAPH, **asked)
    assert (c.floor.bound, c.matters) == ("network", "network")
    assert abs(c.unexplained_s) <= 1e-12 * c.measured_s
    sent = math.fsum(r["serial_s"] for r in c.floor.operators.to_dicts() if r["bound"] == "network")
    beyond = c.floor.network_s - max(c.floor.memory_s, c.floor.compute_s)
    assert c.gap["communication_s"] == pytest.approx(sent - beyond, rel=1e-9)


@pytest.mark.law
def test_slow_rates_of_narrow_weights_are_called_dequantisation() -> None:
    """Half the bandwidth instead of nine tenths, on the 4-bit weights alone: their bytes · (1/0.5 − 1/0.9)/B, the head apart."""
    c = compare("qwen2.5-7b", "h100", measured_s=5e-3, ctx=2048, dtype="w4a16", calibration=GRAPH)
    narrow = ("qkv_proj", "o_proj", "gate_up_proj", "down_proj")
    products = [r for r in c.estimate.floor.operators.to_dicts() if r["operator"] in narrow]
    moved = math.fsum(r["moved_weight_bytes"] + r["activation_bytes"] for r in products)
    assert c.gap["dequantisation_s"] == pytest.approx(moved / 3.35e12 * (1 / 0.5 - 1 / 0.9), rel=1e-9)
    assert "dequantisation_s" not in compare("qwen2.5-7b", "h100", measured_s=9e-3, ctx=2048, calibration=GRAPH).gap


@pytest.mark.law
def test_an_engines_class_stands_in_for_its_calibration(monkeypatch: pytest.MonkeyPatch) -> None:
    knows(monkeypatch)
    asked = {"measured_s": 16.97e-3, "ctx": 2048}
    eager, graph, fused = (compare("qwen2.5-7b", "h100", engine=e, **asked) for e in ("transformers", "vllm", "calm"))
    assert eager.gap["host_s"] == pytest.approx(28 * 0.606e-3 - eager.floor.serial_s, rel=1e-9)
    assert graph.gap["launch_s"] == pytest.approx(255 * 0.94e-6)
    assert list(fused.gap) == ["unexplained_s"]
    assert all("no calibration of" in c.warnings[-1] for c in (eager, graph, fused))
    knows(monkeypatch, EAGER)
    known = compare("qwen2.5-7b", "h100", engine="transformers", **asked)
    assert known.estimate is not None
    assert known.gap["host_s"] > 0
    assert not known.warnings


@pytest.mark.law
def test_an_unknown_context_can_only_raise_the_fraction() -> None:
    unknown = compare("llama-3.1-8b", "l4", measured_s=100e-3, ctx=None)
    known = [compare("llama-3.1-8b", "l4", measured_s=100e-3, ctx=ctx).fraction for ctx in (0, 2048, 65536)]
    assert unknown.fraction == known[0] < known[1] < known[2]
    assert "no context was given" in unknown.warnings[0]
    assert unknown.to_dict()["inputs"]["ctx"] is None
    assert "ctx" in {s.kind for s in unknown.suspects}


@pytest.mark.law
def test_a_floor_compares_itself() -> None:
    f = floor("qwen2.5-7b", "h100", ctx=2048, dtype="fp8")
    mine, ours = f.compare(measured_s=9e-3), compare("qwen2.5-7b", "h100", measured_s=9e-3, ctx=2048, dtype="fp8")
    assert mine.to_dict() == ours.to_dict()
    assert mine.floor_s == f.latency_s
    point = floor("qwen2.5-7b", "h100", ctx=[1024, 2048])[1].compare(measured_s=9e-3)
    assert point.floor_s == floor("qwen2.5-7b", "h100", ctx=2048).latency_s


# What is refused


@pytest.mark.parametrize(
    "measured", [0, 0.0, -1e-3, math.nan, math.inf, "16.97ms", None, True, [1e-3, 2e-3], np.array([1e-3]), 1e-30, 1e300, {}]
)
def test_what_is_no_time_is_refused(measured: object) -> None:
    with pytest.raises(InvalidInput) as error:
        compare("qwen2.5-7b", "h100", measured_s=measured, ctx=2048)  # type: ignore[arg-type]
    assert len(str(error.value).splitlines()) == 1
    assert "measured" in str(error.value)


def test_a_numpy_number_is_a_number() -> None:
    assert compare("qwen2.5-7b", "h100", measured_s=np.float64(0.01697), ctx=2048).verdict == "broken"


@pytest.mark.parametrize(
    ("asked", "error", "words"),
    [
        ({"engine": "tgi"}, MissingSpec, "no engine 'tgi' has a calibration; known"),
        ({"engine": 7}, InvalidInput, "engine 7 is not a name"),
        ({"engine": "vllm", "calibration": GRAPH}, InvalidInput, "both given"),
        ({"calibration": 7}, InvalidInput, "neither a Calibration nor the path"),
        ({"ctx": [1, 2]}, InvalidInput, "one measured time with one step"),
        ({"ctx": None, "phase": "prefill"}, InvalidInput, "the prompt is the work"),
        ({"dtype": "fp3"}, UnknownName, "fp3"),
        ({"tp": 3}, Exception, "tp=3"),
    ],
)
def test_a_mistake_is_one_line(asked: dict[str, object], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words) as raised:
        compare("qwen2.5-7b", "h100", **{"measured_s": 1e-2, "ctx": 2048, **asked})  # type: ignore[arg-type]
    assert len(str(raised.value).splitlines()) == 1


def test_a_sweep_is_refused_by_its_floor_too() -> None:
    with pytest.raises(InvalidInput, match="call it once a row"):
        floor("qwen2.5-7b", "h100", ctx=[1, 2]).compare(measured_s=1e-2)


def test_what_is_left_of_a_difference_of_equals_is_no_part() -> None:
    c = compare("mixtral-8x7b", "h100", measured_s=10e-3, ctx=2048, tp=4)
    assert all(abs(seconds) > 1e-12 for seconds in c.gap.values())
    assert sum(c.gap.values()) == pytest.approx(c.gap_s, rel=1e-12)
