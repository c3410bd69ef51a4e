"""Rows of servers under load: times per output token are steps with prompts beside them; a request alone tells the first token."""

from __future__ import annotations

import math

import pytest

from sol import BadMeasurement, Calibration, Measurement, calibrate, estimate, serve
from sol.answers.calibrate.fit_inputs import parts
from sol.specs.measurement import Aggregate, Measurements

MODELS = ("qwen2.5-1.5b", "qwen2.5-7b", "qwen2.5-14b", "llama-3.1-8b")
TRUTH = Calibration(gpu="h100-sxm", engine="vllm", fusion="kernel", mbu=0.8, mfu=0.6, step_s=1.5e-3, sequence_s=3e-5, first_token_s=0.02)
LOADS = ((1, 512, 256), (8, 1024, 1024), (32, 1024, 512), (64, 2048, 256), (128, 512, 512))


def tpot(model: str, concurrency: float, prompt: float, output: float) -> float:
    """By hand: x prompts begin in a step, and 1 − e^−x of the steps have one or more beside the sequences that decode [s]."""
    x = (concurrency - 1.0) / (output - 1.0)
    ctx = prompt + (output - 2.0) / 2.0
    alone = estimate(model, "h100", ctx=ctx, batch=concurrency, calibration=TRUTH).latency_s
    if not x:
        return alone
    share = 1.0 - math.exp(-x)
    beside = estimate(model, "h100", groups=[(concurrency, 1, ctx), (x / share, prompt, 0)], calibration=TRUTH).latency_s
    return (1.0 - share) * alone + share * beside


def served(model: str, concurrency: float, prompt: float, output: float, seconds: float, metric: str = "tpot") -> Aggregate:
    return Aggregate(model=model, gpu="h100-sxm", engine="vllm", metric=metric, concurrency=concurrency, prompt_tokens=prompt,
                     output_tokens=output, measured_s=seconds)  # fmt: skip


ROWS = [served(m, *load, tpot(m, *load)) for m in MODELS for load in LOADS]


@pytest.mark.law
def test_times_per_output_token_give_back_the_machine_that_made_them() -> None:
    c = calibrate(ROWS)
    assert isinstance(c, Calibration)
    assert c.n == len(ROWS)
    assert c.mbu.value == pytest.approx(0.8, rel=0.01)
    assert c.step_s.value == pytest.approx(1.5e-3, rel=0.05)
    assert c.sequence_s.value == pytest.approx(3e-5, rel=0.05)
    assert max(abs(r.estimated_s / r.measured_s - 1) for r in c.residuals) < 0.01
    assert all(r.floor_s is not None and r.floor_s < r.measured_s for r in c.residuals)
    assert any("8 at once · 1,024 + 1,024 tokens" in r.where for r in c.residuals)
    steps = [Measurement(model=m, gpu="h100-sxm", phase="decode", engine="vllm", ctx=c_, batch=b,
                         measured_s=estimate(m, "h100", ctx=c_, batch=b, calibration=TRUTH).latency_s)
             for m in MODELS for c_, b in ((512, 1), (2048, 16))]  # fmt: skip
    both = calibrate([*steps, *ROWS])
    assert isinstance(both, Calibration)
    assert both.n == len(ROWS) + len(steps)
    assert both.step_s.value == pytest.approx(1.5e-3, rel=0.05)


@pytest.mark.law
def test_prompts_beside_decoding_count() -> None:
    """Left out, as in a row that calls them decode steps, they would count as slower kernels or longer steps."""
    as_steps = [
        Measurement(model=r.model, gpu=r.gpu, phase="decode", engine="vllm", measured_s=r.measured_s, batch=r.concurrency,
                    ctx=r.prompt_tokens + (r.output_tokens - 2) / 2) for r in ROWS if r.concurrency and r.prompt_tokens and r.output_tokens
    ]  # fmt: skip
    with_prompts, without = calibrate(ROWS), calibrate(as_steps)
    assert isinstance(with_prompts, Calibration)
    assert isinstance(without, Calibration)
    worst = [max(abs(r.estimated_s / r.measured_s - 1) for r in c.residuals) for c in (with_prompts, without)]
    assert worst[1] > 10 * worst[0]


@pytest.mark.law
def test_what_serve_expects_is_fitted_back() -> None:
    """`serve` solves for the batch that a concurrency leaves; a row takes the concurrency for it, and is a little high."""
    rows = [
        served(m, c, p, o, serve(m, "h100", prompt_tokens=p, output_tokens=o, concurrency=c, calibration=TRUTH).tpot_s)
        for m in MODELS for c, p, o in LOADS
    ]  # fmt: skip
    c = calibrate(rows, mfu=0.6)
    assert isinstance(c, Calibration)
    for r in c.residuals:
        assert r.estimated_s == pytest.approx(r.measured_s, rel=0.08)
    assert c.mbu.value == pytest.approx(0.8, rel=0.1)


@pytest.mark.law
def test_a_request_alone_tells_the_first_token() -> None:
    alone = [
        served("qwen2.5-7b", 1, p, 128, 0.02 + estimate("qwen2.5-7b", "h100", ctx=p, phase="prefill", calibration=TRUTH).latency_s, "ttft")
        for p in (512, 2048, 8000)
    ]  # fmt: skip
    c = calibrate([*ROWS, *alone], mbu=0.8, mfu=0.6)
    assert isinstance(c, Calibration)
    assert c.first_token_s.value == pytest.approx(0.02, rel=0.05)
    assert "3 rows" in c.first_token_s.note
    assert calibrate(ROWS, mbu=0.8, mfu=0.6).first_token_s.value == 0.0
    with pytest.raises(BadMeasurement, match=r"^no rows of steps \(3 of averages\); what is needed are"):
        calibrate(alone)


@pytest.mark.contract
def test_averages_whose_load_is_not_known_are_kept_out() -> None:
    unknown = [
        ROWS[0].model_copy(update={"concurrency": None}), ROWS[0].model_copy(update={"metric": "request"}),
        ROWS[0].model_copy(update={"output_tokens": 1.0}), ROWS[0].model_copy(update={"metric": "ttft", "concurrency": 8.0}),
    ]  # fmt: skip
    with pytest.raises(BadMeasurement, match=r"^no rows of steps \(4 of averages\)"):
        calibrate(Measurements(path="runs.csv", tool="own", rows=(), aggregates=tuple(unknown)))
    (part,) = parts(Measurements(path="runs.csv", tool="own", rows=(), aggregates=(*unknown, *ROWS)))
    assert len(part.priced().rows) == len(ROWS)


@pytest.mark.law
def test_a_row_faster_than_one_sequence_alone_is_refused() -> None:
    with pytest.raises(BadMeasurement, match="faster than the optimistic floor"):
        calibrate([*ROWS, ROWS[0].model_copy(update={"measured_s": 1e-5})])
