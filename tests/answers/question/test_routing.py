"""Routing as it was measured: a number of distinct experts, or the share each expert gets; by hand, by simulation, by law."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sol import InvalidInput, floor, load_model
from sol.physics.operators.experts import chances, distinct_experts, imbalance
from sol.specs.step import Shares
from sol.views.cli import main

FOUR = Shares(np.array([0.4, 0.3, 0.2, 0.1]))


def experts(**asked: Any) -> dict[str, Any]:
    rows = floor("mixtral-8x7b", "h200", ctx=128, **asked).operators.to_dicts()
    return next(r for r in rows if r["operator"] == "experts")


@pytest.mark.truth
def test_shares_by_hand() -> None:
    """Two of four experts per token, chances .8 .6 .4 .2; of two tokens .96 + .84 + .64 + .36 = 2.8; the first two get 1.4 of 2 choices."""
    two = np.array([2.0])
    assert chances(FOUR, 2) == pytest.approx([0.8, 0.6, 0.4, 0.2])
    assert distinct_experts(4, 2, two, FOUR) == pytest.approx([2.8])
    assert distinct_experts(4, 2, two, FOUR, 2) == pytest.approx([1.8])
    assert imbalance(4, 2, 2, FOUR, 1.0) == pytest.approx(1.4)
    assert imbalance(4, 2, 1, FOUR, 1.0) == pytest.approx(1.6)
    assert imbalance(4, 2, 4, FOUR, 1.0) == 1.0
    held = np.array([[1], [2], [4]])
    assert distinct_experts(4, 2, two, FOUR, held).ravel() == pytest.approx([1.0, 1.8, 2.8])


@pytest.mark.truth
def test_an_expert_gets_a_token_once_at_most() -> None:
    """.7 of the choices of 2 experts per token is 1.4: one, and the other choice is shared by three; .5 .3 in the next, then both full."""
    assert chances(Shares(np.array([0.7, 0.1, 0.1, 0.1])), 2) == pytest.approx([1.0, 1 / 3, 1 / 3, 1 / 3])
    assert chances(Shares(np.array([0.6, 0.36, 0.02, 0.02])), 2) == pytest.approx([1.0, 0.9, 0.05, 0.05])
    assert chances(Shares(np.array([0.5, 0.5, 0.0, 0.0])), 2).tolist() == [1.0, 1.0, 0.0, 0.0]
    hot = distinct_experts(4, 2, np.array([1e6]), Shares(np.array([0.5, 0.5, 0.0, 0.0])))
    assert hot.tolist() == [2.0]


@pytest.mark.truth
def test_shares_are_the_mean_of_random_tokens() -> None:
    """Tokens that choose exactly k distinct experts with these chances (systematic sampling), counted."""
    rng = np.random.default_rng(3)
    shares = rng.random(32) ** 2
    chance = chances(Shares(shares / shares.sum()), 4)
    assert chance.sum() == pytest.approx(4.0)
    edges = np.concatenate(([0.0], np.cumsum(chance)))
    starts = rng.random((3000, 12, 1)) + np.arange(4)
    drawn = np.searchsorted(edges, np.minimum(starts, edges[-1] - 1e-12), side="right") - 1
    counted = np.mean([len(np.unique(step)) for step in drawn])
    assert distinct_experts(32, 4, np.array([12.0]), Shares(shares / shares.sum())).item() == pytest.approx(counted, rel=0.01)


@pytest.mark.law
@given(st.sampled_from([(8, 2), (128, 8), (256, 8)]), st.floats(0.01, 1e5), st.sampled_from([1, 2, 8]))
def test_even_shares_are_expected_routing(model: tuple[int, int], tokens: float, ep: int) -> None:
    (total, k), at = model, np.array([tokens])
    even = Shares(np.full(total, 1 / total))
    for held in (None, total // ep):
        likely, by_shares = (distinct_experts(total, k, at, r, held) for r in ("expected", even))
        assert by_shares == pytest.approx(likely, rel=1e-12)
    assert imbalance(total, k, total // ep, even, 1.0) == pytest.approx(1.0, rel=1e-12)


@pytest.mark.law
@given(st.lists(st.floats(0, 1), min_size=16, max_size=16).filter(lambda s: sum(v > 0 for v in s) >= 4), st.floats(1, 1e4))
def test_skew_touches_fewer_and_loads_one_device_more(shares: list[float], tokens: float) -> None:
    """Over all devices no more than when even (1 − (1 − π)ᵀ is concave), and never fewer than k."""
    given_shares = Shares(np.array(shares) / sum(shares))
    at = np.array([tokens])
    likely = distinct_experts(16, 4, at, given_shares)
    assert 4.0 * (1 - 1e-12) <= likely <= distinct_experts(16, 4, at, "expected") * (1 + 1e-12)
    assert imbalance(16, 4, 4, given_shares, 1.0) >= 1.0 - 1e-12


@pytest.mark.truth
def test_a_step_with_measured_routing() -> None:
    """Mixtral: 8 experts, 2 a token, 32 layers of 3·4096·14336 each: bytes are so many experts, FLOPs are the tokens'."""
    each = 32 * 3 * 4096 * 14336 * 2
    assert experts(batch=16, routing=6.5)["moved_weight_bytes"] == pytest.approx(6.5 * each)
    assert experts(batch=1, routing=6.5)["moved_weight_bytes"] == pytest.approx(2 * each)  # a token has its two
    skewed, even = experts(batch=16, routing=[4, 1, 1, 1, 1, 0, 0, 0], tp=2, ep=2), experts(batch=16, tp=2, ep=2)
    by_hand = 1 + 3 * (1 - 0.75**16)  # chances 1, ¼ ¼ ¼ on the first device: 8 choices' worth of π over 4, 1, 1, 1, 1
    assert skewed["moved_weight_bytes"] == pytest.approx(by_hand * each)
    assert skewed["flops"] == pytest.approx(even["flops"] * 1.75)  # 1¾ of 2 choices fall on the first device


@pytest.mark.law
def test_a_sweep_over_splits_is_its_points_with_shares_too() -> None:
    shares = np.arange(1.0, 9.0)
    swept = floor(
        "mixtral-8x7b", "h200", ctx=128, batch=[1.0, 5.0, 64.0], tp=np.array([[2], [4], [8]]), ep=np.array([[2], [1], [8]]), routing=shares
    )
    for i in np.ndindex(3, 3):
        one = floor("mixtral-8x7b", "h200", ctx=128, batch=float([1, 5, 64][i[1]]), tp=[2, 4, 8][i[0]], ep=[2, 1, 8][i[0]], routing=shares)
        assert (one.latency_s, one.serial_s, one.flops) == (swept.latency_s[i], swept.serial_s[i], swept.flops[i])


def test_what_was_given_is_said_and_is_no_bound(capsys: pytest.CaptureFixture[str]) -> None:
    shares = [4, 1, 1, 1, 1, 1, 1, 2]
    f = floor("mixtral-8x7b", "h200", ctx=128, batch=16, tp=2, ep=2, routing=shares)
    assert any("given shares of 8 experts, from 0.0833 to 0.333" in a for a in f.assumptions)
    assert any("imbalance up to 1.17" in a for a in f.assumptions)
    assert not f.is_bound
    assert not floor("mixtral-8x7b", "h200", ctx=128, batch=1, routing=3).is_bound
    assert any("as measured: 6.5 distinct" in a for a in floor("mixtral-8x7b", "h200", ctx=128, batch=16, routing=6.5).assumptions)
    main(["floor", "mixtral-8x7b", "h200", "--ctx", "128", "--batch", "16", "--routing", "4,1,1,1,1,1,1,2", "--json"])
    assert json.loads(capsys.readouterr().out)["inputs"]["routing"] == pytest.approx(np.array(shares) / 12)


def test_layers_that_differ_take_a_rule_alone() -> None:
    model = load_model("mixtral-8x7b")
    (group,) = model.groups
    attention, moe = group.blocks
    other = group.model_copy(update={"blocks": (attention, moe.model_copy(update={"experts": 16}))})
    mixed = model.model_copy(update={"groups": (group, other)})
    with pytest.raises(InvalidInput, match="its layers differ in their experts"):
        floor(mixed, "h200", ctx=128, batch=4, routing=[1] * 8)
    assert floor(mixed, "b200", ctx=128, batch=4, tp=2).latency_s > 0.0


@pytest.mark.contract
@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"routing": [1, 2, 3]}, "routing has 3 shares, mixtral-8x7b has 8 experts"),
        ({"routing": [1] * 7 + [-1]}, "the share of expert 7 is -1"),
        ({"routing": [float("nan")] + [1] * 7}, "the share of expert 0 is nan"),
        ({"routing": [float("inf")] + [1] * 7}, "the share of expert 0 is inf"),
        ({"routing": [0] * 8}, "has 0 shares above zero"),
        ({"routing": [1] + [0] * 7}, "has 1 shares above zero, but each token of mixtral-8x7b chooses 2"),
        ({"routing": 1.5}, "routing=1.5 is below the 2 experts each token chooses; give a number of distinct experts from 2 to 8"),
        ({"routing": 9}, "routing=9 is above the 8 experts of a layer"),
        ({"routing": float("nan")}, "routing=nan"),
        ({"routing": "most"}, "routing='most' is not one of min, expected, max"),
        ({"routing": None}, "routing=None is not one of"),
        ({"routing": True}, "routing=True is not one of"),
        ({"routing": {"a": 1}}, "routing={'a': 1} is not one of"),
        ({"routing": [1] * 8, "imbalance": 1.5}, "leave imbalance out"),
        ({"model": "llama-3.1-8b", "routing": 2.0}, "it has no experts to choose"),
        ({"model": "llama-3.1-8b", "routing": [1, 2]}, "it has no experts to choose"),
    ],
)
def test_routing_that_cannot_be_is_one_line(asked: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        floor(asked.pop("model", "mixtral-8x7b"), "h200", ctx=128, **asked)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)
