"""Pools by hand, by Little's law, and against a search that tries everything."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sol import load_format, load_link, load_model
from sol.answers.question.links import topology
from sol.physics.time import pools
from sol.sources.database.database import load_gpu
from sol.specs.split import Split
from sol.specs.step import Storage


def of(*values: float) -> np.ndarray:
    return np.array(values)


@pytest.mark.truth
def test_rates_by_hand() -> None:
    """4 prompts in ½ s, or 4 caches of 0.2 s each; 100 sequences of 100 steps of 20 ms, or 100 caches of 30 ms."""
    assert pools.prefill_rate(of(4), of(0.5), of(0.01)) == 8.0
    assert pools.prefill_rate(of(4), of(0.5), of(0.2)) == 5.0
    assert pools.decode_rate(of(100), of(0.02), of(0.001), 101) == 50.0
    assert pools.decode_rate(of(100), of(0.02), of(0.03), 101) == pytest.approx(100 / 3)
    assert pools.undivided_rate(of(10), of(0.01), of(1), of(0.1), 101) == 5.0
    assert pools.undivided_tpot(of(10), of(0.01), of(1), of(0.1), 101) == pytest.approx(0.019)
    first = pools.first_token(of(0.3), of(0.31), of(0.4), of(0.5), of(0.02))
    assert (first.floor_s, first.serial_s) == (0.4, pytest.approx(0.83))


@pytest.mark.law
@given(st.integers(1, 500), st.floats(1e-4, 1), st.integers(0, 5), st.floats(1e-3, 10), st.integers(2, 5000))
def test_little(batch: int, step: float, doublings: int, prefill: float, output: int) -> None:
    """Sequences in the replica are its rate times how long each stays."""
    prompts = min(2**doublings, batch)
    rate = pools.undivided_rate(of(batch), of(step), of(prompts), of(prefill), output)
    stays = (output - 1) * pools.undivided_tpot(of(batch), of(step), of(prompts), of(prefill), output) + prefill
    assert rate * stays == pytest.approx(batch)


@pytest.mark.law
@given(st.integers(2, 40), st.integers(1, 12), st.floats(0.1, 10), st.integers(1, 12), st.floats(0.1, 10))
def test_replicas_match_as_well_as_any(total: int, a: int, first: float, b: int, then: float) -> None:
    shared = pools.matched(total, of(a), of(first), of(b), of(then))
    tried = [min(x * first, y * then) for x, y in product(range(1, total), repeat=2) if x * a + y * b <= total]
    assert shared.rate.item() == pytest.approx(max(tried, default=0.0))
    if tried:
        assert shared.prefill * a + shared.decode * b <= total
        assert min(shared.prefill * first, shared.decode * then) == pytest.approx(shared.rate)
        assert (shared.decode - 1) * then < shared.rate  # none of them idle
    else:
        assert (shared.prefill, shared.decode) == (0.0, 0.0)


@pytest.mark.truth
def test_what_travels_and_how_far() -> None:
    """327,680 B per token of Llama-3.1-70B; 70,272 of DeepSeek-V3. Eight H100 lie side by side, sixteen in two boxes."""
    bf16 = load_format("bf16")
    for name, token in (("llama-3.1-70b", 327_680), ("deepseek-v3", 70_272)):
        model = load_model(name)
        assert pools.request_kv_bytes(model, of(2048), Storage(bf16, bf16, bf16, model.layers, 0)) == 2048 * token
    links = topology(load_gpu("h100"), load_link("infiniband-ndr"))
    assert [pools.apart(n, links) for n in (2, 8, 9, 64)] == [1, 1, 8, 8]
    assert pools.apart(72, topology(load_gpu("gb200"))) == 1
    assert pools.holders(Split(tp=4, pp=2, dp=3, ep=2)) == 8  # one copy's devices
