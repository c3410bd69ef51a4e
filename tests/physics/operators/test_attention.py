"""Causal pairs and cache reads, against sums spelled out token by token."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sol.physics.operators.attention import cached_tokens_read, cached_tokens_written, causal_pairs

few = st.integers(0, 300)


def spelled_out(new: int, past: int, window: int | None) -> int:
    return sum(min(past + i, window) if window else past + i for i in range(1, new + 1))


@pytest.mark.truth
def test_a_window_of_1024_over_32768_tokens() -> None:
    assert causal_pairs(np.array([32768.0]), np.array([0.0]), 1024).item() == 33_030_656
    assert causal_pairs(np.array([32768.0]), np.array([0.0])).item() == 536_887_296


@pytest.mark.truth
def test_a_window_of_8192_over_16384_tokens() -> None:
    assert causal_pairs(np.array([16384.0]), np.array([0.0]), 8192).item() == 100_667_392


@pytest.mark.law
@given(few, few, st.one_of(st.none(), st.integers(1, 400)))
def test_pairs_are_the_sum_over_tokens(new: int, past: int, window: int | None) -> None:
    assert causal_pairs(np.array([float(new)]), np.array([float(past)]), window).item() == spelled_out(new, past, window)


@pytest.mark.law
@given(few, few, st.one_of(st.none(), st.integers(1, 400)))
def test_prefill_has_the_attention_of_as_many_decode_steps(new: int, past: int, window: int | None) -> None:
    steps = causal_pairs(np.array([1.0]), past + np.arange(float(new)), window).sum()
    assert causal_pairs(np.array([float(new)]), np.array([float(past)]), window).item() == steps


@pytest.mark.law
@given(st.integers(0, 10_000), st.integers(1, 5_000))
def test_a_decode_step_reads_and_keeps_no_more_than_the_window(past: int, window: int) -> None:
    read = cached_tokens_read(np.array([float(past)]), window).item()
    assert read == min(past, window - 1)
    assert read + 1 == causal_pairs(np.array([1.0]), np.array([float(past)]), window).item()
    assert cached_tokens_written(np.array([float(past)]), window).item() == min(past, window)
