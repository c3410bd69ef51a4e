"""Estimates: the ideal machine is the serial floor, nothing is faster than light, and every figure moves the answer its way."""

from __future__ import annotations

import math
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sol import Calibration, InvalidInput, MissingSpec, UnknownName, estimate, floor
from sol.errors import DoesNotFit
from sol.physics.time.estimate import rate_names
from sol.sources.database.calibrations import engine_classes, shipped
from sol.sources.database.database import format_ids, load_format

MODELS = ("qwen2.5-7b", "mixtral-8x7b", "gemma-2-9b", "deepseek-v3", "qwen3-next-80b-a3b")
fraction = st.floats(0.05, 1.0)
seconds = st.floats(0.0, 1e-2)


def made(**figures: Any) -> Calibration:
    return Calibration(gpu="h200-sxm", engine="mine", **figures)


@st.composite
def calibrations(draw: st.DrawFn) -> Calibration:
    rate = {"mbu": draw(fraction), "mfu": draw(fraction), "launch_s": draw(seconds), "passes": draw(st.none() | st.floats(1.0, 5.0))}
    kinds = draw(st.sets(st.sampled_from(["gemm", "attention", "experts", "other", "gemm.bf16", "attention.bf16"]), max_size=3))
    return made(
        fusion=draw(st.sampled_from(["ideal", "kernel", "eager"])), mbu=draw(fraction), mfu=draw(fraction), launch_s=draw(seconds),
        host_s=draw(seconds), step_s=draw(seconds), sequence_s=draw(seconds), overlap=draw(st.floats(0.0, 1.0)),
        rates=dict.fromkeys(kinds, rate), within_95=draw(st.none() | st.floats(0.01, 3.0)),
    )  # fmt: skip


@pytest.mark.law
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("asked", [{"ctx": 2048}, {"ctx": 2048, "batch": 64}, {"ctx": 1024, "phase": "prefill"}, {"ctx": 9, "tp": 4}])
def test_the_ideal_machine_gives_the_serial_floor(model: str, asked: dict[str, Any]) -> None:
    tp = {"tp": max(asked.get("tp", 1), {"deepseek-v3": 8, "qwen3-next-80b-a3b": 2}.get(model, 1))}
    ideal, bound = estimate(model, "h200", calibration=made(), **asked | tp), floor(model, "h200", **asked | tp)
    assert ideal.latency_s == bound.serial_s
    assert ideal.floor_s == bound.latency_s


@pytest.mark.law
@settings(max_examples=60, deadline=None)
@given(calibrations(), st.sampled_from(MODELS), st.sampled_from(["decode", "prefill"]), st.sampled_from([1, 3, 64]), st.integers(1, 9000))
def test_nothing_is_faster_than_light_and_parts_are_the_whole(c: Calibration, model: str, phase: str, batch: int, ctx: int) -> None:
    tp = 8 if model == "deepseek-v3" else 4
    e = estimate(model, "h200", ctx=[float(ctx), 2.0 * ctx], batch=float(batch), phase=phase, calibration=c, tp=tp)
    assert (e.floor_s <= e.latency_s).all()
    parts = e.parts
    whole = sum(parts[k] for k in ("serial_s", "below_peak_s", "launch_s", "host_s", "step_s")) - parts["overlapped_s"]
    np.testing.assert_allclose(whole, e.latency_s, rtol=1e-9)
    if c.within_95 is not None:
        assert (e.floor_s <= e.low_s).all()
        assert (e.low_s <= e.latency_s).all()
        assert (e.latency_s <= e.high_s).all()
    for i in range(2):
        if e.floor.fits[i]:
            one = estimate(model, "h200", ctx=float(ctx * (i + 1)), batch=float(batch), phase=phase, calibration=c, tp=tp)
            assert one.latency_s == e.latency_s[i]


@pytest.mark.law
def test_a_large_sweep_is_its_points_and_holds_no_operator_for_each() -> None:
    """A quarter million points, in blocks: what is kept is a few figures a point, not one for each of the operators."""
    c = made(fusion="kernel", mbu=0.8, mfu=0.5, launch_s=2e-6, sequence_s=1e-5, overlap=0.3, within_95=0.2)
    batch, ctx = np.linspace(1.0, 256.0, 500)[:, None], np.linspace(0.0, 131_072.0, 500)
    tracemalloc.start()
    e = estimate("mixtral-8x7b", "h200", ctx=ctx, batch=batch, calibration=c)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 18 * e.latency_s.nbytes
    few = estimate("mixtral-8x7b", "h200", ctx=ctx[::249], batch=batch[::249], calibration=c)
    for name in ("latency_s", "low_s", "high_s", "tokens_per_s"):
        assert (getattr(e, name)[::249, ::249] == getattr(few, name)).all()
        assert not getattr(e, name).flags.writeable
    assert all((e.parts[k][::249, ::249] == few.parts[k]).all() for k in few.parts)


@pytest.mark.law
@pytest.mark.parametrize(
    ("slower", "faster"),
    [
        ({"mbu": 0.5}, {"mbu": 0.9}),
        ({"mfu": 0.3}, {"mfu": 0.6}),
        ({"launch_s": 2e-6}, {"launch_s": 1e-6}),
        ({"host_s": 1e-1}, {"host_s": 5e-2}),
        ({"step_s": 2e-3}, {"step_s": 1e-3}),
        ({"sequence_s": 2e-5}, {"sequence_s": 1e-5}),
        ({"overlap": 0.0}, {"overlap": 0.5}),
        ({"rates": {"experts": {"mbu": 0.3}}}, {"rates": {"experts": {"mbu": 0.6}}}),
        ({"rates": {"attention": {"launch_s": 2e-5}}}, {"rates": {"attention": {"launch_s": 1e-5}}}),
        ({"rates": {"other": {"launch_s": 9e-6}}}, {"rates": {"other": {"launch_s": 1e-6}}}),
        ({"rates": {"gemm": {"mfu": 0.9, "passes": 4.0}}}, {"rates": {"gemm": {"mfu": 0.9, "passes": 2.0}}}),
    ],
)
def test_every_figure_moves_the_answer_its_way(slower: dict[str, Any], faster: dict[str, Any]) -> None:
    """A prompt of 200 tokens: experts are bound by memory, the rest by compute."""
    common: dict[str, Any] = {"fusion": "kernel", "mbu": 0.8, "mfu": 0.5}
    late, soon = (
        estimate("mixtral-8x7b", "h200", ctx=200, phase="prefill", calibration=made(**{**common, **f})).latency_s for f in (slower, faster)
    )
    assert late > soon


@pytest.mark.truth
def test_a_step_by_hand() -> None:
    """Qwen2.5-7B at ctx 2,048 on H100: 14,141,245,440 B of streamed weights (7,168 of the gathered row), 57,344·2,049 B of cache.

    At 0.8 of 3.35e12 B/s, 3 µs for each of one fused engine's kernels (28 layers of qkv, rope, attention, o, gate_up, activation, down and
    two norms, and outside embedding, norm and head), 1 ms per step and 50 µs a sequence. Activations are left to `ideal`.
    """
    c = Calibration(gpu="h100-sxm", engine="mine", mbu=0.8, step_s=1e-3, sequence_s=5e-5)
    moved = (7_070_619_136 * 2 + 7168 + 57_344 * 2049) / 3.35e12 / 0.8
    assert estimate("qwen2.5-7b", "h100", ctx=2048, calibration=c).latency_s == pytest.approx(moved + 1.05e-3, rel=1e-9)
    kernels = 28 * 9 + 3
    with_launches = c.model_copy(update={"launch_s": made(launch_s=3e-6).launch_s, "fusion": "kernel"})
    plain = c.model_copy(update={"fusion": "kernel"})
    late, soon = (estimate("qwen2.5-7b", "h100", ctx=2048, calibration=x).latency_s for x in (with_launches, plain))
    assert late - soon == pytest.approx(kernels * 3e-6, rel=1e-6)


@pytest.mark.truth
def test_the_host_counts_where_it_is_slower() -> None:
    """Eager decode costs time per layer, not per byte: 28 layers of 0.608 ms whatever the bytes, until the device is slower."""
    c = Calibration(gpu="h100-sxm", engine="mine", host_s=0.608e-3)
    assert estimate("qwen2.5-7b", "h100", ctx=2048, calibration=c).latency_s == pytest.approx(28 * 0.608e-3)
    assert estimate("qwen2.5-0.5b", "h100", ctx=2048, calibration=c).latency_s == pytest.approx(24 * 0.608e-3)
    far = estimate("qwen2.5-7b", "h100", ctx=65_536, batch=16, calibration=c)
    assert far.latency_s == far.serial_s > 28 * 0.608e-3


def test_an_interval_is_the_calibrations() -> None:
    e = estimate("qwen2.5-7b", "h200", ctx=2048, calibration=made(step_s=1e-2, within_95=0.2))
    assert e.high_s == pytest.approx(e.latency_s * math.exp(0.2))
    assert e.low_s == pytest.approx(e.latency_s * math.exp(-0.2))
    near = estimate("qwen2.5-7b", "h200", ctx=2048, calibration=made(within_95=0.2))
    assert near.low_s == near.floor_s  # never below the floor
    assert estimate("qwen2.5-7b", "h200", ctx=2048, calibration=made()).low_s is None


def test_a_format_is_found_by_its_own_name_or_its_familys() -> None:
    c = made(mbu=0.9, rates={"gemm.w4a16": {"mbu": 0.5}, "gemm.gptq-w4-g128": {"mbu": 0.4}, "gemm": {"launch_s": 1e-6}})
    found = {f: c.at("gemm", *rate_names(load_format(f))) for f in ("bf16", "w4a16", "gptq-w4-g128", "nf4")}
    assert [found[f].mbu for f in ("bf16", "w4a16", "gptq-w4-g128", "nf4")] == [0.9, 0.5, 0.4, 0.5]
    assert all(r.launch_s == 1e-6 for r in found.values())
    assert c.at("experts", "w4a16").mbu == 0.5
    assert c.at("attention", "bf16").mbu == 0.9


def test_a_format_nothing_is_known_of_is_no_ideal_one() -> None:
    """The rates of other formats stand in, their geometric mean, and that is said: √(0.8·0.45) = 0.6."""
    c = made(rates={"gemm.bf16": {"mbu": 0.8, "mfu": 0.5}, "gemm.fp8": {"mbu": 0.45}, "attention": {"mfu": 0.3}})
    assert c.at("gemm", "q8_0", "int8").mbu == pytest.approx(0.6)
    assert c.at("gemm", "q8_0", "int8").mfu == 0.5
    assert c.at("experts", "nvfp4", "fp4").mbu == pytest.approx(0.6)
    assert (c.at("gemm", "fp8").mbu, c.at("gemm", "fp8").mfu, c.at("attention", "bf16").mbu) == (0.45, 1.0, 1.0)
    unknown, known = (estimate("qwen2.5-7b", "h200", ctx=2048, dtype=d, calibration=c) for d in ("q8_0", "bf16"))
    assert unknown.warnings[-1] == (
        "this calibration has no rate for products of q8_0 weights: rates of bf16, fp8 are used, and the interval may not hold"
    )
    assert not known.warnings
    assert unknown.latency_s > 1.5 * unknown.floor_s


def test_no_shipped_calibration_takes_a_format_as_ideal() -> None:
    """Whatever the format, products reach less than the whole bandwidth: experts of two calibrations were fitted at it."""
    for c in shipped().values():
        for name in format_ids():
            assert c.at("gemm", *rate_names(load_format(name))).mbu < 1.0, (c.id, name)


def test_a_rate_of_flops_that_no_row_tells_is_said() -> None:
    """gpt-fast's rows on the A100 are decode steps of one sequence: they say nothing of prompts."""
    short, prompt = (estimate("llama-3.1-8b", "a100", ctx=2048, engine="gpt-fast", phase=p) for p in ("decode", "prefill"))
    assert not short.warnings
    assert any("this calibration does not say what fraction of the peak FLOPs products of bf16 weights reach" in w for w in prompt.warnings)


def test_what_a_calibration_cannot_be() -> None:
    for figures, words in (
        ({"mbu": 1.2}, "above 0 and is at most 1"), ({"mfu": 0.0}, "above 0"), ({"launch_s": -1.0}, "greater than or equal to 0"),
        ({"overlap": 1.5}, "at most 1"), ({"rates": {"matmul": {"mbu": 0.5}}}, "no kind of operator"),
        ({"rates": {"gemm": {"passes": 0.5}}}, "at least once"), ({"mbu": {"value": 0.5, "low": 0.6, "high": 0.7}}, "outside its interval"),
    ):  # fmt: skip
        with pytest.raises(InvalidInput, match=words) as refused:
            made(**figures)
        assert "\n" not in str(refused.value)


@pytest.mark.contract
@pytest.mark.parametrize(
    ("asked", "error", "words"),
    [
        ({"engine": "warp-drive"}, MissingSpec, "no engine 'warp-drive' has a calibration; known"),
        ({"engine": "vllm", "calibration": made()}, InvalidInput, "give only one of them"),
        ({"calibration": 3}, InvalidInput, "neither a Calibration nor the path"),
        ({"gpu": "trainium2"}, MissingSpec, "no calibration of any engine on trainium2"),
        ({"gpu": "trainium2", "engine": "vllm"}, MissingSpec, "no calibration of vllm on trainium2; vllm has"),
        ({"gpu": "h101"}, UnknownName, "no gpu 'h101'"),
        ({"model": "llama-3.1-70b"}, DoesNotFit, "does not fit"),
    ],
)
def test_what_cannot_be_estimated_says_what_can(asked: dict[str, Any], error: type[Exception], words: str) -> None:
    given_: dict[str, Any] = {"model": "qwen2.5-7b", "gpu": "h100", "ctx": 2048, **asked}
    with pytest.raises(error) as refused:
        estimate(given_.pop("model"), given_.pop("gpu"), **given_)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.contract
def test_every_shipped_calibration_answers_and_cites() -> None:
    for c in shipped().values():
        e = estimate("qwen2.5-0.5b", c.gpu, ctx=512, calibration=c)
        assert e.floor_s <= e.latency_s < 100 * e.floor_s + 1.0
        assert c.sources
        assert any(c.id in row[0] for row in e.sources().rows)
        assert c.engine in engine_classes()
    assert {c.engine for c in shipped().values() if c.gpu == "h100-sxm"} >= {"graph", "eager", "vllm", "tensorrt-llm"}
