"""Tokens on their way to experts: published figures of DeepSeek's exchange, counting by hand, and a simulated router."""

from __future__ import annotations

import numpy as np
import pytest

from sol import load_link, load_model
from sol.physics.network.dispatch import floor_and_estimate_s, level_bytes
from sol.physics.operators.spread import Spread, chosen
from sol.specs.links import Topology

BOXES = Topology((load_link("nvlink4"), load_link("infiniband-ndr")))


def spread(ranks: int, groups: int = 1, of_them: int = 1, *, tp: int = 1, nearest: bool = False) -> Spread:
    return Spread(256, 8, groups, of_them, tp, ranks, ranks // tp, nearest)


def places(n: int) -> np.ndarray:
    return np.array([float(n)])


@pytest.mark.truth
@pytest.mark.parametrize(("ranks", "groups", "of_them", "remote"), [(8, 1, 1, 4.633), (32, 1, 1, 7.040), (8, 8, 4, 3.175)])
def test_devices_a_token_reaches(ranks: int, groups: int, of_them: int, remote: float) -> None:
    assert spread(ranks, groups, of_them).reached(places(ranks)).item() == pytest.approx(remote, abs=5e-4)


@pytest.mark.truth
@pytest.mark.parametrize(("groups", "of_them", "remote"), [(1, 1, 2.71), (8, 4, 2.20)])
def test_boxes_a_token_reaches(groups: int, of_them: int, remote: float) -> None:
    assert spread(32, groups, of_them).reached(places(4)).item() == pytest.approx(remote, abs=5e-3)


@pytest.mark.truth
def test_a_token_crosses_to_another_box_once() -> None:
    """16 H100s, 4,096 tokens of 7,168: DeepEP measures 749 µs out and 1,777 µs back; the network's 50 GB/s allow 585 and 1,170."""
    uniform, reached = spread(16), 1 - chosen(256, 8, 1, 1, 128)
    assert reached < 0.005
    for width, least, measured in ((1, 585e-6, 749e-6), (2, 1170e-6, 1777e-6)):
        floor, _, _ = floor_and_estimate_s(np.array([4096.0 * 7168 * width]), uniform, BOXES)
        assert floor.item() == pytest.approx(least, rel=2e-3)
        assert floor.item() < measured


@pytest.mark.law
@pytest.mark.parametrize(("groups", "of_them"), [(1, 1), (8, 4), (8, 3), (4, 2)])
@pytest.mark.parametrize("held", [8, 32, 64, 128])
def test_chances_are_those_of_a_simulated_router(groups: int, of_them: int, held: int) -> None:
    rng = np.random.default_rng(7)
    scores, inside = rng.random((40_000, 256)), np.repeat(np.arange(groups), 256 // groups)
    order = rng.random((40_000, groups)).argsort(axis=1)[:, :of_them]
    allowed = (order[:, :, None] == inside[None, None, :]).any(axis=1)
    picked = np.where(allowed, scores, -1.0).argsort(axis=1)[:, -8:]
    assert chosen(256, 8, groups, of_them, held) == pytest.approx((picked < held).any(axis=1).mean(), abs=0.01)


@pytest.mark.law
@pytest.mark.parametrize("ranks", [8, 16, 32, 64, 128])
@pytest.mark.parametrize("tp", [1, 4])
def test_each_level_carries_what_its_inner_ones_left_and_nearest_is_least(ranks: int, tp: int) -> None:
    tokens = np.array([1e6])
    for groups, of_them in ((1, 1), (8, 4)):
        usual, least = (level_bytes(tokens, spread(ranks, groups, of_them, tp=tp, nearest=near), BOXES) for near in (False, True))
        alone = spread(ranks, groups, of_them, tp=tp).reached(places(ranks)) * tokens
        assert sum(usual).item() == pytest.approx(alone.item())
        assert all(near.item() <= any_.item() + 1e-6 for near, any_ in zip(least[1:], usual[1:], strict=True))
        assert sum(least).item() <= sum(usual).item() * (1 + 1e-12)


@pytest.mark.truth
def test_the_groups_of_experts_are_read_from_the_config() -> None:
    found = {name: (moe.groups, moe.groups_per_token) for name in ("deepseek-v3", "deepseek-v2", "qwen3-30b-a3b", "kimi-k2.5")
             for moe in load_model(name).routed[:1]}  # fmt: skip
    assert found == {"deepseek-v3": (8, 4), "deepseek-v2": (8, 3), "qwen3-30b-a3b": (1, 1), "kimi-k2.5": (1, 1)}
