"""`serve` against `replay`: the formulas of a steady state and of a run against the scheduler, step by step, on the same step times."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from sol import Replay, Serving, arrivals, replay, serve
from sol.sources.database import calibrations

CACHES = (calibrations.shipped, calibrations.by_device, calibrations.ages_by_device)


@pytest.fixture
def no_time_outside(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Calibrations without a time outside the steps: users come at the very end of a step."""
    monkeypatch.setattr(calibrations, "prompt_times", lambda: ({}, {}))
    for cached in CACHES:
        cached.cache_clear()
    yield
    for cached in CACHES:
        cached.cache_clear()


pytestmark = pytest.mark.usefixtures("no_time_outside")
SHORT, LONG, TINY = (1024, 256), (8192, 1024), (128, 128)
EIGHT, GEMMA = ("llama-3.1-8b", "h100"), ("gemma-2-9b", "h100")
FRACTION: dict[str, Any] = {"memory_fraction": 0.85}
"""SGLang has no fixed one."""


def lengths(longest: tuple[int, int], n: int) -> dict[str, np.ndarray]:
    """Uniform in 0.8 to 1 of the longest, as InferenceX."""
    rng = np.random.default_rng(0)
    return {
        name: rng.integers(int(0.8 * most), most + 1, n) for name, most in zip(("prompt_tokens", "output_tokens"), longest, strict=True)
    }


def means(longest: tuple[int, int]) -> dict[str, float]:
    return {name: (int(0.8 * most) + most) / 2 for name, most in zip(("prompt_tokens", "output_tokens"), longest, strict=True)}


def error(found: float, truth: Any) -> float:
    return abs(found / float(np.mean(truth)) - 1.0)


@pytest.mark.truth
@pytest.mark.parametrize(
    ("of", "longest", "engine", "users", "options"),
    [
        (EIGHT, SHORT, "vllm", 4, {}),
        (EIGHT, SHORT, "vllm", 64, {}),
        (EIGHT, SHORT, "vllm@0.11", 16, {}),
        (EIGHT, SHORT, "sglang", 64, FRACTION),
        (EIGHT, SHORT, "tensorrt-llm", 64, {}),
        (EIGHT, LONG, "vllm", 16, {}),
        (GEMMA, SHORT, "vllm", 16, {}),
    ],
)
def test_a_closed_loop_in_steady_state(of: Any, longest: tuple[int, int], engine: str, users: int, options: dict[str, Any]) -> None:
    """After half of sixty turns, when users who started together are out of step."""
    n = 60 * users
    r = replay(lengths(longest, n), *of, engine=engine, concurrency=users, **options)
    s = serve(*of, **means(longest), engine=engine, concurrency=users, **options)
    steady = slice(n // 2, n - 2 * users)
    assert error(s.tpot_s, r.tpot_s[steady]) < 0.01
    assert error(s.ttft_s, r.ttft_s[steady]) < 0.03
    assert error(s.e2e_s, r.e2e_s[steady]) < 0.015
    assert error(s.requests_per_s, users / r.e2e_s[steady].mean()) < 0.015


@pytest.mark.slow
@pytest.mark.truth
@pytest.mark.parametrize(
    ("longest", "engine", "options"), [(SHORT, "vllm", {}), (SHORT, "sglang", FRACTION), (LONG, "vllm", {}), (TINY, "vllm", {})]
)
def test_an_open_loop_to_seventy_percent_of_the_largest_rate(longest: tuple[int, int], engine: str, options: dict[str, Any]) -> None:
    asked: dict[str, Any] = means(longest) | options | {"engine": engine}
    most = serve(*EIGHT, **asked, request_rate=1e-3).most_requests_per_s
    n = 5000
    for share in (0.1, 0.7):
        rate = share * most
        at = arrivals(n, request_rate=rate)
        at *= (n - 1) / rate / at[-1]  # the mean rate is the one asked
        r = replay(lengths(longest, n) | {"arrival_s": at}, *EIGHT, engine=engine, **options)
        s = serve(*EIGHT, **asked, request_rate=rate)
        steady = slice(n // 10, None)
        assert error(s.tpot_s, r.tpot_s[steady]) < 0.02, share
        assert error(s.ttft_s, r.ttft_s[steady]) < 0.05, share


@pytest.mark.truth
@pytest.mark.parametrize(("users", "engine", "options"), [(4, "vllm", {}), (64, "vllm", {}), (64, "sglang", FRACTION)])
def test_a_run_of_ten_requests_a_user(users: int, engine: str, options: dict[str, Any]) -> None:
    n = 10 * users
    r: Replay = replay(lengths(SHORT, n), *EIGHT, engine=engine, concurrency=users, **options)
    s: Any = serve(*EIGHT, **means(SHORT), engine=engine, concurrency=users, requests=n, range_ratio=0.8, **options)
    assert error(s.tpot_s, r.tpot_s) < 0.02
    assert error(s.ttft_s, r.ttft_s) < 0.03
    assert error(s.requests_per_s, r.requests_per_s) < 0.02


@pytest.mark.truth
@pytest.mark.parametrize(("longest", "of"), [(SHORT, EIGHT), (SHORT, GEMMA), ((1024, 1024), EIGHT)])
def test_the_largest_rate_is_what_a_server_that_never_idles_serves(longest: tuple[int, int], of: Any) -> None:
    """More users than the pool holds, at vLLM, which preempts: where 1,024 tokens follow 1,024, every second request."""
    s: Serving[float, bool, str] = serve(*of, **means(longest), engine="vllm", request_rate=1.0)
    users = int(1.3 * s.server.scheduling.slots)
    r = replay(lengths(longest, 8 * users), *of, engine="vllm", concurrency=users)
    ends = np.sort(r.served.last_s)
    assert r.preemptions > 0.05 * len(ends)
    assert s.most_requests_per_s == pytest.approx(3 * users / (ends[6 * users] - ends[3 * users]), rel=0.06)
