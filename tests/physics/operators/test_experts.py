"""Distinct experts: observed counts, an independent simulation, and order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sol.physics.operators.experts import distinct_experts


@pytest.mark.truth
@pytest.mark.parametrize(("experts", "k", "tokens", "observed"), [(256, 8, 32, 164), (256, 8, 64, 226), (128, 8, 32, 115)])
def test_expected_is_near_what_was_observed(experts: int, k: int, tokens: int, observed: int) -> None:
    # distinct experts counted in a running kernel, tile-ai/TileOPs pull request 2155
    assert distinct_experts(experts, k, np.array([float(tokens)]), "expected").item() == pytest.approx(observed, rel=0.03)


@pytest.mark.truth
def test_expected_is_the_mean_of_random_routing() -> None:
    rng = np.random.default_rng(7)
    drawn = [len(np.unique(np.argsort(rng.random((20, 32)), axis=1)[:, :4])) for _ in range(4000)]
    assert distinct_experts(32, 4, np.array([20.0]), "expected").item() == pytest.approx(np.mean(drawn), rel=0.005)


@pytest.mark.law
@given(st.integers(1, 512), st.data(), st.floats(0.01, 1e6))
def test_order_and_limits(experts: int, data: st.DataObject, tokens: float) -> None:
    k = data.draw(st.integers(1, experts))
    at = np.array([tokens])
    low, mid, high = (distinct_experts(experts, k, at, r).item() for r in ("min", "expected", "max"))
    assert low <= mid <= high <= experts
    assert low == min(tokens, 1.0) * k
    if tokens <= 1:
        assert low == mid == high


@pytest.mark.law
@given(st.integers(2, 256), st.floats(1, 1e5), st.floats(0, 1e5))
def test_more_tokens_never_touch_fewer(experts: int, tokens: float, more: float) -> None:
    fewer, many = (distinct_experts(experts, 2, np.array([t]), "expected").item() for t in (tokens, tokens + more))
    assert fewer <= many * (1 + 1e-12)
