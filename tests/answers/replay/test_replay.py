"""Replays: recorded runs that nothing was fitted to, limits worked out by hand, laws, and what is refused."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sol import DoesNotFit, InvalidInput, MissingSpec, Replay, arrivals, estimate, load_engine, memory, replay
from sol.answers.replay.load import Trace

TRACES = Path(__file__).parents[2] / "fixtures" / "traces"
PRO: dict[str, Any] = {"gpu": "rtx-pro-6000-server", "max_batch": 128, "max_batch_tokens": 2048}
HOUR = 3600.0
"""Between requests that never meet [s]."""


def recorded(name: str) -> dict[str, np.ndarray]:
    with (TRACES / f"{name}.csv").open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    return {
        k: np.array([float(r[k]) for r in rows]) for k in ("arrival_s", "prompt_tokens", "output_tokens", "first_token_s", "last_token_s")
    }


def alike(n: int = 20, rate: float = 4.0, prompt: int = 512, output: int = 64, **columns: Any) -> dict[str, Any]:
    return {"arrival_s": arrivals(n, request_rate=rate), "prompt_tokens": prompt, "output_tokens": output} | columns


@pytest.mark.truth
def test_a_recorded_overload_of_an_rtx_4090_within_four_percent() -> None:
    """vLLM 0.19 with a pool of 41,408 tokens: 300 requests at 10 a second. Step times are llama.cpp's on this device: vLLM has none."""
    r = replay(recorded("rtx-4090_llama-3.1-8b"), "llama-3.1-8b", "rtx-4090", engine="vllm@0.19", kv_tokens=41_408)
    assert r.policy.max_num_seqs == 256
    assert r.policy.max_num_batched_tokens == 2048
    assert r.errors is not None
    assert r.errors.keys() == {"ttft_s", "tpot_s", "e2e_s"}
    assert max(map(abs, r.errors.values())) < 0.04
    assert 150 < r.preemptions < 250  # the source's own simulation has 194
    assert r.served.steps.cached_tokens.max() <= 41_408
    assert "no calibration of vllm on rtx-4090" in r.warnings[0]


@pytest.mark.truth
@pytest.mark.parametrize(
    ("name", "model", "options"),
    [
        ("rtx-4090_llama-3.1-8b", "llama-3.1-8b", {"gpu": "rtx-4090", "kv_tokens": 41_408}),
        ("rtx-pro-6000-server_llama-3.1-8b", "llama-3.1-8b", PRO),
        ("rtx-pro-6000-server_tp2_qwen3-32b", "qwen3-32b", PRO | {"tp": 2}),
    ],
)  # fmt: skip
def test_no_recorded_run_is_faster_than_the_floor_of_its_trace(name: str, model: str, options: dict[str, Any]) -> None:
    trace = recorded(name)
    bound = replay(trace, model, engine="vllm@0.19", on="floor", **options)
    expected = replay(trace, model, engine="vllm@0.19", **options)
    assert bound.errors is not None
    assert max(bound.errors.values()) < 0.0
    assert bound.makespan_s < float(trace["last_token_s"].max())
    assert bound.makespan_s <= expected.makespan_s
    assert bound.calibration is None


@pytest.mark.truth
@pytest.mark.parametrize("engine", ["vllm", "sglang", "tensorrt-llm"])
def test_requests_that_never_meet_have_the_times_of_their_own_steps(engine: str) -> None:
    """One prompt in its chunks and one decode after another, whatever the scheduler, and the constant outside the steps."""
    budget, prompt, output = 1024, 1000, 5
    given = {"arrival_s": HOUR * np.arange(3.0), "prompt_tokens": prompt, "output_tokens": output}
    limits: dict[str, Any] = {"memory_fraction": 0.85} if engine == "sglang" else {}
    r = replay(given, "llama-3.1-8b", "h100", engine=engine, max_batch_tokens=budget, **limits)
    used = r.calibration
    assert used is not None
    one = {"calibration": used}
    ttft = estimate("llama-3.1-8b", "h100", ctx=prompt, phase="prefill", **one).latency_s + used.first_token_s.value
    tpot = np.mean([estimate("llama-3.1-8b", "h100", ctx=prompt + i, **one).latency_s for i in range(output - 1)])
    assert r.ttft_s == pytest.approx([ttft] * 3, rel=1e-9)
    assert r.tpot_s == pytest.approx([tpot] * 3, rel=1e-9)
    assert r.e2e_s == pytest.approx(r.ttft_s + (output - 1) * r.tpot_s, rel=1e-9)
    assert r.queue_s.tolist() == [0.0] * 3
    chunked = replay(given | {"cached_tokens": 0}, "llama-3.1-8b", "h100", engine="vllm", max_batch_tokens=256)
    pieces = ((0, "none"), (256, "none"), (512, "none"), (768, "last"))
    of = {"phase": "prefill", "calibration": chunked.calibration}
    times = [estimate("llama-3.1-8b", "h100", ctx=min(c + 256, prompt), cached_tokens=c, logits=last, **of).latency_s for c, last in pieces]
    assert chunked.ttft_s[0] == pytest.approx(sum(times) + chunked.calibration.first_token_s.value, rel=1e-9)


@pytest.mark.truth
def test_the_constant_outside_the_steps_is_in_every_request() -> None:
    r = replay(alike(5), "llama-3.1-8b", "h100")
    assert r.calibration is not None
    slower = r.calibration.model_copy(update={"first_token_s": r.calibration.step_s.model_copy(update={"value": 0.5})})
    later = replay(alike(5), "llama-3.1-8b", "h100", calibration=slower)
    assert later.ttft_s == pytest.approx(r.ttft_s + 0.5 - r.first_token_constant_s)
    assert later.e2e_s == pytest.approx(r.e2e_s + 0.5 - r.first_token_constant_s)
    assert later.tpot_s == pytest.approx(r.tpot_s)


@pytest.mark.truth
def test_limits_are_the_engines_own() -> None:
    r = replay(alike(3), "llama-3.1-8b", "h100", engine="vllm@0.19")
    m = memory("llama-3.1-8b", "h100", ctx=575, engine="vllm@0.19")
    assert r.policy.kv_blocks * 16 == m.kv_pool_tokens
    assert r.policy.max_num_batched_tokens == m.profiled_tokens
    assert (r.policy.admission, r.policy.ahead, r.policy.keeps_freed) == ("prompt", True, True)
    older = replay(alike(3), "llama-3.1-8b", "h100", engine="vllm@0.13")
    assert (older.policy.admission, older.policy.ahead) == ("chunk", False)
    german = replay(alike(3), "llama-3.1-8b", "h100", engine="tensorrt-llm")
    assert (german.policy.admission, german.policy.chunked, german.policy.mixed) == ("whole", False, True)
    lang = replay(alike(3), "llama-3.1-8b", "h100", engine="sglang", memory_fraction=0.8)
    assert (lang.policy.max_num_batched_tokens, lang.policy.mixed, lang.policy.ratio) == (8192, False, 0.7)
    assert lang.policy.least_ratio == pytest.approx(0.098)


@pytest.mark.truth
def test_layers_with_windows_take_less_of_the_pool() -> None:
    """Half of Gemma 2's layers keep 4,096 tokens: at 8,000 a sequence takes three quarters of its blocks and a little more."""
    r = replay(alike(2, prompt=7000, output=1000), "gemma-2-9b", "h100", engine="vllm", kv_tokens=100_000)
    cost = r.policy.cost
    assert cost is not None
    assert cost[4096 // 16] == 4096 // 16
    assert cost[8000 // 16] == np.ceil((8000 + 4096) / 2 / 16)
    assert replay(alike(2), "llama-3.1-8b", "h100").policy.cost is None


@pytest.mark.law
def test_the_floor_is_never_slower_and_less_load_waits_less() -> None:
    for engine in ("vllm", "tensorrt-llm"):
        bound, expected = (replay(alike(60, 40.0), "llama-3.1-8b", "h100", engine=engine, on=on) for on in ("floor", "estimate"))
        assert bound.makespan_s <= expected.makespan_s
        assert bound.ttft_s.mean() <= expected.ttft_s.mean()
    waits = [float(replay(alike(80, rate), "llama-3.1-8b", "h100", max_batch=8).queue_s.mean()) for rate in (1.0, 20.0, 100.0)]
    assert waits == sorted(waits)
    assert waits[-1] > 10 * waits[0]


@pytest.mark.law
def test_more_memory_larger_steps_and_fewer_tokens_are_no_slower() -> None:
    def makespan(load: dict[str, Any] | None = None, **limits: Any) -> float:
        return replay(load or alike(100, 100.0, 700, 150), "llama-3.1-8b", "h100", **limits).makespan_s

    by_pool = [makespan(kv_tokens=n) for n in (5_000, 20_000, 80_000)]
    by_step = [makespan(max_batch_tokens=n) for n in (256, 1024, 8192)]
    by_length = [makespan(alike(100, 100.0, 700, n)) for n in (150, 50, 10)]
    for ends in (by_pool, by_step, by_length):
        assert ends == sorted(ends, reverse=True)


@pytest.mark.law
def test_a_hundred_thousand_requests_take_few_rounds() -> None:
    """Counted, not timed: a round is a step that differs from the one before, and there are a few for each request."""
    n = 4_000
    rng = np.random.default_rng(1)
    given = {
        "arrival_s": arrivals(n, request_rate=8.0),
        "prompt_tokens": rng.integers(20, 1500, n),
        "output_tokens": rng.integers(1, 500, n),
    }
    r = replay(given, "llama-3.1-8b", "h100")
    assert r.served.rounds <= 4 * n
    assert r.served.steps.seconds.size > 2 * r.served.rounds


def test_what_a_replay_says() -> None:
    r = replay(recorded("rtx-4090_llama-3.1-8b"), "llama-3.1-8b", "rtx-4090", kv_tokens=41_408)
    assert isinstance(r, Replay)
    assert len(r.requests) == 300
    assert [c.key for c in r.requests.columns][:8] == [
        "arrival_s", "prompt_tokens", "output_tokens", "ttft_s", "tpot_s", "e2e_s", "queue_s", "preemptions",
    ]  # fmt: skip
    assert r.requests["measured_ttft_s"][0] == pytest.approx(0.69, abs=0.01)
    assert sum(r.shares.values()) == pytest.approx(1.0)
    assert sum(r.spent["share"]) == pytest.approx(1.0)
    assert len(r.steps) == r.served.steps.seconds.size
    found = dict(zip(r.summary["metric"], r.summary.rows, strict=True))
    assert found["TTFT"][1] == pytest.approx(r.ttft_s.mean())
    assert found["ITL"][1] == pytest.approx(float((r.tpot_s * (r.trace.load.output - 1)).sum() / (r.trace.load.output - 1).sum()), rel=1e-9)
    document = json.loads(r.to_json())
    assert document["kind"] == "replay"
    assert document["outputs"]["errors"].keys() == {"ttft_s", "tpot_s", "e2e_s"}
    assert len(document["outputs"]["requests"]) == 300
    assert len(r.to_csv().splitlines()) == 301
    assert "scheduler.admission" in " ".join(r.sources()["fact"])
    for width in (60, 80, 120):
        assert max(map(len, r.to_text(width).splitlines())) <= width


def test_one_output_token_has_no_time_between_tokens() -> None:
    r = replay(alike(4, output=1), "llama-3.1-8b", "h100")
    assert np.isnan(r.tpot_s).all()
    assert r.requests["tpot_s"] == [None] * 4
    assert r.summary.rows[1][1:] == (None,) * 4
    assert r.e2e_s == pytest.approx(r.ttft_s)


def test_a_trace_may_start_at_any_time() -> None:
    early, late = (replay(alike(6, arrival_s=t + arrivals(6, request_rate=9.0)), "llama-3.1-8b", "h100") for t in (0.0, 1024.0))
    assert late.ttft_s == pytest.approx(early.ttft_s, rel=1e-6)
    assert late.requests["arrival_s"][0] == 1024.0


@pytest.mark.truth
def test_arrivals() -> None:
    assert arrivals(3, request_rate=4.0, kind="constant").tolist() == [0.0, 0.25, 0.5]
    assert arrivals(3, kind="burst").tolist() == [0.0, 0.0, 0.0]
    many = np.diff(arrivals(20_000, request_rate=5.0, seed=3))
    assert many.mean() == pytest.approx(0.2, rel=0.03)  # a mean of 20,000 exponentials is this close in 4 standard errors
    assert many.std() == pytest.approx(0.2, rel=0.05)
    assert arrivals(9, request_rate=1.0, seed=1).tolist() == arrivals(9, request_rate=1.0, seed=1).tolist()
    assert arrivals(9, request_rate=1.0, seed=1).tolist() != arrivals(9, request_rate=1.0, seed=2).tolist()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"prompt_tokens": 0}, "request 1: prompt_tokens 0 is not a whole number of tokens, 1 or more"),
        ({"output_tokens": [2, -1, 3]}, "request 2: output_tokens -1 is not"),
        ({"output_tokens": [2, 1.5, 3]}, "request 2: output_tokens 1.5 is not"),
        ({"arrival_s": [0.0, float("nan"), 1.0]}, "request 2: arrival_s nan is missing or not finite"),
        ({"arrival_s": [0.0, 2.0, 1.0]}, "request 3: arrival_s 1 is before the one above it; sort the requests by arrival"),
        ({"cached_tokens": [0, 512, 0]}, "request 2: cached_tokens 512 is not below the tokens of the prompt"),
        ({"output_tokens": [2, 131_072, 3]}, "request 2: has 131,584 tokens, and llama-3.1-8b supports 131,072"),
        ({"first_token_s": [1.0, 0.5, 3.0], "arrival_s": [0.0, 1.0, 2.0]}, "request 2: ttft_s -0.5 is below 0"),
    ],
)
def test_what_a_request_cannot_be(changed: dict[str, Any], said: str) -> None:
    given = {"arrival_s": [0.0, 1.0, 2.0], "prompt_tokens": 512, "output_tokens": 64} | changed
    with pytest.raises(InvalidInput) as error:
        replay(given, "llama-3.1-8b", "h100")
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        ({"kv_tokens": 512}, DoesNotFit, "request 1: needs 575 tokens of cache, and the pool of vllm holds 512"),
        ({"engine": "llama.cpp"}, MissingSpec, "the scheduler of llama.cpp"),
        ({"engine": "vllm@0.6"}, MissingSpec, "the scheduler of vllm@0.6"),
        ({"engine": "sglang"}, MissingSpec, "sglang has no fixed memory fraction"),
        ({"engine": "tensorrt-llm", "max_batch_tokens": 256}, InvalidInput, "request 1: has 512 prompt tokens, and a step takes 256"),
        ({"on": "light"}, InvalidInput, "on='light' is not one of estimate, floor"),
        ({"admission": "all"}, InvalidInput, "admission='all' is not one of"),
        ({"max_batch": 0}, InvalidInput, "max_batch=0"),
        ({"kv_tokens": 9_000, "memory_fraction": 0.5}, InvalidInput, "memory_fraction and kv_tokens are both given"),
        ({"batch": 3}, InvalidInput, "batch: is not an option of replay"),
    ],
)
def test_what_a_server_cannot_be(options: dict[str, Any], kind: type[Exception], said: str) -> None:
    with pytest.raises(kind) as error:
        replay(alike(3), "llama-3.1-8b", "h100", **options)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_what_is_no_trace() -> None:
    for requests in (3, None, [1, 2]):
        with pytest.raises(InvalidInput, match="neither a path nor columns"):
            replay(requests, "llama-3.1-8b", "h100")
    with pytest.raises(InvalidInput, match="needs a rate"):
        arrivals(3)
    with pytest.raises(InvalidInput, match="arrives all at once"):
        arrivals(3, request_rate=1.0, kind="burst")
    with pytest.raises(InvalidInput, match="is not a number of requests"):
        arrivals(0, request_rate=1.0)


@pytest.mark.parametrize("engine", ["vllm", "sglang", "tensorrt-llm", "vllm@0.15"])
def test_every_rule_of_a_scheduler_has_its_source(engine: str) -> None:
    scheduler = load_engine(engine).scheduler
    assert scheduler is not None
    for name in ("mixed", "chunked", "ahead", "admission"):
        cite = scheduler.cites[f"scheduler.{name}"]
        assert cite.printed
        assert cite.source.url


def test_a_trace_is_kept_as_it_was_given() -> None:
    r = replay(alike(3), "llama-3.1-8b", "h100")
    assert isinstance(r.trace, Trace)
    with pytest.raises(ValueError, match="read-only"):
        r.trace.load.arrival_s[0] = 1.0
