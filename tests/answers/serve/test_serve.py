"""A server in steady state: Little's law, its limits, its bound, and a request alone as the smallest load."""

import numpy as np
import pytest

from sol import DoesNotFit, InvalidInput, request, serve

LOAD = {"prompt_tokens": 1024, "output_tokens": 256}
MODELS = [("llama-3.1-8b", "h100", {}), ("qwen3-30b-a3b", "h200", {}), ("llama-3.1-70b", "h100", {"tp": 4}), ("gemma-2-9b", "h100", {})]
USERS = np.array([1.0, 2.0, 8.0, 33.0, 128.0, 600.0, 5000.0])


@pytest.mark.law
@pytest.mark.parametrize(("model", "gpu", "split"), MODELS)
def test_littles_law(model, gpu, split):
    s = serve(model, gpu, concurrency=USERS, engine="vllm", **LOAD, **split)
    assert s.requests_per_s * s.e2e_s == pytest.approx(USERS, rel=0.02)
    assert s.running + s.waiting == pytest.approx(USERS)
    rates = np.array([0.1, 1.0, 2.0])
    o = serve(model, gpu, request_rate=rates, engine="vllm", **LOAD, **split)
    assert o.running == pytest.approx(rates * o.e2e_s)


@pytest.mark.law
@pytest.mark.parametrize(("model", "gpu", "split"), MODELS)
def test_one_user_is_a_request_alone(model, gpu, split):
    one = serve(model, gpu, concurrency=1, engine="vllm", **LOAD, **split)
    alone = request(model, gpu, engine="vllm", **LOAD, **split)
    assert one.tpot_s == pytest.approx(alone.expected.tpot_s, rel=0.02)
    assert one.ttft_s == pytest.approx(alone.expected.ttft_s, rel=0.02)
    assert one.bound.tpot_s == pytest.approx(alone.tpot_s, rel=1e-6)
    assert one.bound.ttft_s == pytest.approx(alone.ttft_s, rel=1e-6)
    rare = serve(model, gpu, request_rate=1e-6, engine="vllm", **LOAD, **split)
    assert rare.tpot_s == pytest.approx(one.tpot_s, rel=1e-4)
    assert rare.ttft_s == pytest.approx(one.ttft_s, rel=1e-4)


@pytest.mark.law
@pytest.mark.parametrize(("model", "gpu", "split"), MODELS)
def test_nothing_is_above_its_bound(model, gpu, split):
    s = serve(model, gpu, concurrency=USERS, engine="vllm", **LOAD, **split)
    assert (s.requests_per_s <= s.bound.requests_per_s).all()
    for name in ("tpot_s", "ttft_s", "e2e_s"):
        assert (getattr(s, name) >= getattr(s.bound, name)).all(), name
        assert (getattr(s, f"low_{name}") <= getattr(s, name)).all()
        assert (getattr(s, f"high_{name}") >= getattr(s, name)).all()


@pytest.mark.law
@pytest.mark.parametrize("prompt", [1024, 5000, 100_000])
def test_a_closed_loop_is_never_used_beyond_what_it_carries(prompt):
    """With 70B in 16 bits on two devices the pool holds few sequences of 1k, one of 5k, and on four devices few of 100k."""
    ways = 4 if prompt > 5000 else 2
    s = serve("llama-3.1-70b", "h100", tp=ways, concurrency=USERS, engine="vllm", prompt_tokens=prompt, output_tokens=256)
    assert (s.utilization <= 1 + 1e-3).all()
    assert s.utilization[-1] > 0.95  # full of waiting requests
    assert s.utilization == pytest.approx(s.requests_per_s / s.most_requests_per_s)


@pytest.mark.law
def test_more_users_are_served_more_and_wait_longer():
    s = serve("llama-3.1-8b", "h100", concurrency=USERS, engine="vllm", **LOAD)
    assert (np.diff(s.requests_per_s) >= -1e-9 * s.requests_per_s[1:]).all()
    assert (np.diff(s.tpot_s) >= 0).all()
    assert (np.diff(s.e2e_s) > 0).all()
    assert (np.diff(s.bound.requests_per_s) >= 0).all()


@pytest.mark.law
def test_more_cache_and_fewer_tokens_are_never_slower():
    plain = serve("llama-3.1-8b", "h100", concurrency=USERS, engine="vllm", **LOAD)
    hits = serve("llama-3.1-8b", "h100", concurrency=USERS, engine="vllm", cached_share=0.9, **LOAD)
    shorter = serve("llama-3.1-8b", "h100", concurrency=USERS, engine="vllm", prompt_tokens=512, output_tokens=256)
    for other in (hits, shorter):
        assert (other.e2e_s <= plain.e2e_s * (1 + 1e-9)).all()
        assert (other.requests_per_s >= plain.requests_per_s * (1 - 1e-9)).all()
    small = serve("llama-3.1-8b", "h100", concurrency=USERS, engine="vllm", memory_fraction=0.4, **LOAD)
    assert (small.requests_per_s <= plain.requests_per_s * (1 + 1e-4)).all()  # each reads the load off a table of its own


@pytest.mark.law
def test_a_cell_equals_its_scalar():
    swept = serve("llama-3.1-8b", "h100", concurrency=USERS.reshape(7, 1), engine="vllm", **LOAD)
    for i, users in enumerate(USERS.tolist()):
        alone = serve("llama-3.1-8b", "h100", concurrency=users, engine="vllm", **LOAD)
        for name in ("tpot_s", "ttft_s", "e2e_s", "requests_per_s", "low_ttft_s", "high_e2e_s", "waiting"):
            assert getattr(swept, name)[i, 0] == getattr(alone, name), name
        assert swept.bound.e2e_s[i, 0] == alone.bound.e2e_s


@pytest.mark.law
def test_past_the_largest_rate_there_are_no_latencies():
    most = serve("llama-3.1-8b", "h100", request_rate=1, engine="vllm", **LOAD).most_requests_per_s
    s = serve("llama-3.1-8b", "h100", request_rate=[0.5 * most, 0.95 * most, 1.01 * most], engine="vllm", **LOAD)
    assert s.overloaded.tolist() == [False, False, True]
    assert np.isnan(s.tpot_s).tolist() == [False, False, True]
    assert np.isnan(s.ttft_s).tolist() == [False, True, True]  # beyond 90 % it depends on the arrivals
    assert any("overloaded" in w for w in s.warnings)
    assert s.requests_per_s[2] == most


@pytest.mark.law
def test_limits_are_kept_at_the_largest_rate_and_not_above():
    s = serve("llama-3.1-8b", "h100", tpot_s=0.02, ttft_s=0.5, engine="vllm", **LOAD)
    assert s.meets
    assert s.limited_by == "tpot_s"
    assert s.tpot_s == pytest.approx(0.02, rel=0.01)
    above = serve("llama-3.1-8b", "h100", request_rate=s.requests_per_s * 1.05, tpot_s=0.02, engine="vllm", **LOAD)
    assert not above.meets


@pytest.mark.law
def test_a_pool_that_is_full_makes_others_wait():
    s = serve("llama-3.1-70b", "h100", tp=4, concurrency=1000, engine="vllm", **LOAD)
    assert s.waiting > 100
    assert s.kv_used_share == pytest.approx(1.0, abs=0.02)
    assert s.limited_by == "kv pool"
    held = s.running * (1024 + 128) * 327_680  # bytes of a token: 2·80·8·128·2
    assert held <= 4 * 0.92 * 80e9  # never more than the devices' share


@pytest.mark.law
def test_a_benchmark_that_starts_all_at_once_waits_for_its_first_tokens():
    steady = serve("llama-3.1-8b", "h100", concurrency=64, engine="vllm", **LOAD)
    run = serve("llama-3.1-8b", "h100", concurrency=64, requests=640, engine="vllm", **LOAD)
    long = serve("llama-3.1-8b", "h100", concurrency=64, requests=1e6, engine="vllm", **LOAD)
    assert run.ttft_s > steady.ttft_s
    assert run.tpot_s == steady.tpot_s
    assert long.ttft_s == pytest.approx(steady.ttft_s, rel=1e-2)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({}, "no load was given"),
        ({"concurrency": 4, "request_rate": 1}, "are both given"),
        ({"concurrency": 0}, "concurrency=0 has no meaning"),
        ({"request_rate": -1}, "request_rate=-1 has no meaning"),
        ({"concurrency": 4, "prompt_tokens": 0}, "prompt_tokens=0 has no meaning"),
        ({"concurrency": 4, "output_tokens": 1}, "no time per output token"),
        ({"concurrency": 4, "cached_share": 1}, "leaves no token to compute"),
        ({"tpot_s": 1e-4}, "no request rate keeps tpot_s=0.0001: the time per output token of a request alone is"),
        ({"ttft_s": 1e-3}, "no request rate keeps ttft_s=0.001"),
        ({"concurrency": 64, "requests": 8}, "are fewer than the 64 at once"),
        ({"request_rate": 1, "requests": 8}, "start with all users at once"),
        ({"concurrency": 4, "batch": 3}, "is not an option of serve"),
    ],
)
def test_bad_input_is_one_line(asked, says):
    with pytest.raises(InvalidInput) as error:
        serve("llama-3.1-8b", "h100", **LOAD | asked)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_a_pool_smaller_than_one_request_is_said():
    with pytest.raises(DoesNotFit, match=r"pool smaller than one request|does not start"):
        serve("llama-3.1-8b", "rtx-4090", prompt_tokens=100_000, output_tokens=1000, concurrency=1)
