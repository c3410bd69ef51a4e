"""Pools by hand, by Little's law, and against a search that tries everything."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sol import load_format, load_link, load_model
from sol.answers.question.links import topology
from sol.physics.network.pricing import priced
from sol.physics.operators.operator import Wire
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


@pytest.mark.truth
def test_the_transfer_binds_the_second_token() -> None:
    """Prefill 300 ms at least, 310 in order; a cache of 400 ms at least, 500 with latency; a step of 15 and of 20 ms."""
    second = pools.second_token(of(0.3), of(0.31), of(0.4), of(0.5), of(0.015), of(0.02))
    assert (second.floor_s, second.serial_s) == (pytest.approx(0.415), pytest.approx(0.83))
    hidden = pools.second_token(of(0.3), of(0.31), of(0.1), of(0.2), of(0.015), of(0.02))  # it travels while the prompt is computed
    assert (hidden.floor_s, hidden.serial_s) == (pytest.approx(0.315), pytest.approx(0.53))
    assert pools.users(of(10), of(0.83), of(0.02), 102) == pytest.approx(28.3)  # 10 a second stay for 0.83 + 100 steps of 20 ms


MOONCAKE = [(128, 49e6, 2.07e-3), (256, 99e6, 2.58e-3), (512, 197e6, 2.98e-3), (1024, 394e6, 3.96e-3), (2048, 789e6, 6.43e-3),
            (4096, 1.58e9, 10.95e-3), (8192, 3.15e9, 20.31e-3), (16_384, 6.31e9, 39.14e-3), (32_768, 12.62e9, 76.78e-3)]  # fmt: skip
"""Prompt, bytes and time of a transfer of Qwen3-235B-A22B from tp=8 to tp=8 on H20, 200 GB/s between the two boxes: Mooncake's
sglang-benchmark-results-v1.md, github.com/kvcache-ai/Mooncake at 3b5a594. Eight ranks hold four KV heads, and all eight send theirs."""


@pytest.mark.truth
@pytest.mark.parametrize(("prompt", "sent", "measured"), MOONCAKE)
def test_published_transfers_are_above_their_floor(prompt: int, sent: float, measured: float) -> None:
    model, bf16 = load_model("qwen3-235b-a22b"), load_format("bf16")
    ours = pools.request_kv_bytes(model, of(prompt), Storage(bf16, bf16, bf16, model.layers, 0)).item()
    assert 2 * ours == pytest.approx(sent, rel=0.012)  # as printed, 49 of 49.3 MB
    assert ours / 200e9 < measured
    least, likely = priced(Wire("send", of(ours / 8), 2, 8), topology(load_gpu("h20"), load_link("roce-200g")))[:2]
    assert least == pytest.approx(ours / 200e9)  # 25 GB/s of each of eight
    assert least <= likely < measured


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
