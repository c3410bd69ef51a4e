"""Collectives by hand, and what must hold for every size, number of ranks and link."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sol import collective, load_link
from sol.physics.network.collectives import estimate_s, estimates, floor_s, placed, wire_bytes
from sol.specs.links import LinkType, Topology

OPS = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all", "send")
GIB = 2.0**30

RING = {"ring_ll": 6e-6, "ring_ll_step": 1e-6, "ring": 8e-6, "ring_step": 3e-6}
KERNELS = {"one_kernel": 4e-6, "nvls": 20e-6}
TREE = {"tree_ll": 7e-6, "tree_ll_step": 5e-6, "tree": 9e-6, "tree_step": 14e-6}
REACHED = {"ring": 80e9, "nvls": 70e9}


def link(**changed: Any) -> LinkType:
    """A switch of eight that adds, 100 GB/s."""
    facts: dict[str, Any] = {
        "id": "x", "name": "x", "kind": "scale-up", "per_direction_bytes_per_s": 100e9, "domain": 8, "switched": True,
        "reduces_in_network": True, "reached_bytes_per_s": REACHED, "alpha_s": RING | KERNELS,
    }  # fmt: skip
    return LinkType(**{**facts, **changed})


def network(rate: float = 10e9) -> LinkType:
    return link(
        id="net", kind="network", per_direction_bytes_per_s=rate, domain=None, reduces_in_network=None, reached_bytes_per_s={},
        low_latency_bytes_per_s=20e9,
        alpha_s=RING | TREE,
    )  # fmt: skip


SWITCH, PLAIN, MESH = link(), link(reduces_in_network=False), link(switched=False, reduces_in_network=False, pair_bytes_per_s=100e9 / 7)
LINKS = st.sampled_from([SWITCH, PLAIN, MESH, load_link("pcie4-x16"), load_link("xgmi3-mi300x"), load_link("nvlink5")])
SIZES = st.floats(0, 2.0**36)
RANKS = st.integers(1, 8)
MANY = st.integers(1, 200)


def arr(value: float) -> np.ndarray:
    return np.array([float(value)])


# By hand


@pytest.mark.truth
@pytest.mark.parametrize(
    ("op", "gpu", "ranks", "seconds"),
    [
        ("all_reduce", "h100", 8, GIB / 450e9),  # the switch adds: S/β, not the ring's 1.75 S/β
        ("all_reduce", "a100", 8, 1.75 * GIB / 300e9),  # a switch that does not
        ("all_reduce", "a100", 2, GIB / 300e9),
        ("all_reduce", "l40s", 4, 1.5 * GIB / 32e9),
        ("all_reduce", "mi300x", 2, GIB / 64e9),  # one pair of a mesh has one link
        ("all_reduce", "mi300x", 4, 1.5 * GIB / 192e9),
        ("all_reduce", "mi300x", 8, 1.75 * GIB / 448e9),
        ("all_to_all", "mi300x", 2, 0.5 * GIB / 64e9),
        ("send", "mi300x", 8, GIB / 64e9),
        ("send", "h100", 8, GIB / 450e9),
        ("all_gather", "b200", 8, 0.875 * GIB / 900e9),
        ("reduce_scatter", "gb200", 72, 71 / 72 * GIB / 900e9),
        ("all_to_all", "gaudi3", 8, 0.875 * GIB / 525e9),  # 21 of its 24 ports stay in the box
    ],
)
def test_floors_in_one_box(op: str, gpu: str, ranks: int, seconds: float) -> None:
    assert collective(op, gpu, message_bytes=GIB, ranks=ranks).floor_s == pytest.approx(seconds, rel=1e-12)


@pytest.mark.truth
@pytest.mark.parametrize(
    ("op", "gpu", "ranks", "levels"),
    [
        # boxes of eight: what a rank sends inside, and across with a port of 50 GB/s
        ("all_reduce", "h100", 16, (GIB / 450e9, GIB / 8 / 50e9)),
        ("all_reduce", "a100", 32, (1.75 * GIB / 300e9, 1.5 * GIB / 8 / 50e9)),
        ("all_gather", "h100", 16, (0.875 * GIB / 450e9, 0.5 * GIB / 8 / 50e9)),
        ("all_to_all", "h100", 16, (7 / 16 * GIB / 450e9, 0.5 * GIB / 50e9)),
        ("all_to_all", "h800-sxm", 256, (7 / 256 * GIB / 200e9, 248 / 256 * GIB / 50e9)),
        ("send", "h100", 16, (0.0, GIB / 50e9)),  # the slowest pair of neighbours
    ],
)
def test_floors_across_boxes_are_the_slower_level(op: str, gpu: str, ranks: int, levels: tuple[float, float]) -> None:
    found = collective(op, gpu, message_bytes=GIB, ranks=ranks, network="roce-400g")
    rates = [x.per_direction_bytes_per_s for x in found.topology.levels]
    assert [b / r for b, r in zip(found.wire_bytes_by_link.values(), rates, strict=True)] == pytest.approx(levels, rel=1e-12)
    assert found.floor_s == pytest.approx(max(levels), rel=1e-12)


@pytest.mark.truth
def test_bridged_cards_reach_the_others_over_the_host() -> None:
    found = collective("all_reduce", "h100-nvl", message_bytes=GIB, ranks=8, link="nvlink4-bridge")
    assert list(found.wire_bytes_by_link) == ["nvlink4-bridge", "pcie5-x16"]
    assert found.floor_s == pytest.approx(max(GIB / 300e9, 1.5 * GIB / 2 / 64e9), rel=1e-12)


@pytest.mark.truth
def test_algorithms_by_hand() -> None:
    size = 1e6
    took = {k: v.item() for k, v in estimates("all_reduce", arr(size), arr(4), Topology((SWITCH,))).items() if np.isfinite(v).all()}
    assert took == pytest.approx(
        {
            "ring_ll": 6e-6 + 6 * 1e-6 + 2 * 1.5 * size / 80e9, "ring": 8e-6 + 6 * 3e-6 + 1.5 * size / 80e9,
            "one_shot": 4e-6 + 3 * size / 80e9, "two_shot": 2 * 4e-6 + 1.5 * size / 80e9, "in_switch": 2 * 4e-6 + 1.25 * size / 70e9,
            "nvls": 20e-6 + 1.25 * size / 70e9,
        },
        rel=1e-12,
    )  # fmt: skip
    pair = 80e9 / 7  # a pair's share of what the device reaches
    took = {k: v.item() for k, v in estimates("all_to_all", arr(size), arr(4), Topology((MESH,))).items()}
    assert took == {"pairwise_ll": np.inf, "pairwise": pytest.approx(8e-6 + 9e-6 + size / 4 / pair)}  # 250 kB a peer: too long for _ll
    took = {k: v.item() for k, v in estimates("all_to_all", arr(4e4), arr(4), Topology((MESH,))).items()}
    assert took == pytest.approx({"pairwise_ll": 6e-6 + 3e-6 + 2 * 1e4 / pair, "pairwise": 8e-6 + 9e-6 + 1e4 / pair}, rel=1e-12)


@pytest.mark.truth
def test_two_boxes_by_hand() -> None:
    size, both = 1e6, Topology((PLAIN, network(8e9)))
    took = {k: v.item() for k, v in estimates("all_reduce", arr(size), arr(16), both).items() if np.isfinite(v).all()}
    inside = 6e-6 + 7e-6 + 2 * 7 / 8 * size / 80e9  # a reduce-scatter or an all-gather over eight
    across = 8e-6 + 2 * 3e-6 + size / 8 / 8e9  # of what eight ranks have left, each with a port
    assert took["hierarchical"] == pytest.approx(2 * inside + across, rel=1e-12)
    # one ring: 30 steps; eight of them cross side by side, at 8 × 8 of the 80 GB/s they reach inside
    assert took["ring"] == pytest.approx(8e-6 + 30 * 3e-6 + 15 / 8 * size / 64e9, rel=1e-12)
    assert took["tree"] == pytest.approx(9e-6 + 2 * 7 * 3e-6 + 2 * 14e-6 + 2 * size / 64e9, rel=1e-12)
    assert took["ring_ll"] == pytest.approx(6e-6 + 30 * 1e-6 + 15 / 8 * size / 20e9, rel=1e-12)  # not 32: all ports of a box together


@pytest.mark.truth
def test_ranks_alone_in_their_boxes_use_the_network() -> None:
    both = Topology((SWITCH, network()))  # two ranks, eight devices apart: not at the rate of the box
    side_by_side, apart = (floor_s("all_reduce", arr(1e9), arr(2), both, arr(stride)).item() for stride in (1, 8))
    assert (side_by_side, apart) == pytest.approx((1e9 / 100e9, 1e9 / 10e9))
    assert [u.item() for u in placed(arr(16), both, arr(4)).counts] == [16, 8, 1]
    assert [b.item() for b in wire_bytes("send", arr(5.0), arr(2), both, arr(8))] == [0.0, 5.0]


# Laws


@pytest.mark.law
@given(st.sampled_from(OPS), LINKS, SIZES, MANY, st.sampled_from([10e9, 400e9]))
def test_no_algorithm_beats_the_floor(op, inner, size, ranks, rate) -> None:
    both = Topology((inner, network(rate)))
    light = floor_s(op, arr(size), arr(ranks), both).item()
    for name, took in estimates(op, arr(size), arr(ranks), both).items():
        assert took.item() >= light * (1 - 1e-12), name
    ideal = estimate_s(op, arr(size), arr(ranks), both.without_latency()).item()
    assert ideal >= light * (1 - 1e-12)


@pytest.mark.law
@given(st.sampled_from(OPS), LINKS, SIZES, SIZES, MANY)
def test_more_bytes_are_never_faster(op, inner, one, other, ranks) -> None:
    both = Topology((inner, network()))
    small, large = sorted((one, other))
    for price in (floor_s, estimate_s):
        assert price(op, arr(small), arr(ranks), both).item() <= price(op, arr(large), arr(ranks), both).item()


@pytest.mark.law
@given(st.sampled_from(OPS), LINKS, SIZES, MANY, st.floats(1, 10))
def test_a_better_link_is_never_slower_and_time_scales_with_all_rates(op, inner, size, ranks, k) -> None:
    def faster(x: LinkType, rates: float, latencies: float) -> LinkType:
        pair = None if x.pair_bytes_per_s is None else rates * x.pair_bytes_per_s
        return x.model_copy(
            update={
                "per_direction_bytes_per_s": rates * x.per_direction_bytes_per_s, "pair_bytes_per_s": pair,
                "reached_bytes_per_s": {key: rates * v for key, v in x.reached_bytes_per_s.items()},
                "alpha_s": {key: v / latencies for key, v in x.alpha_s.items()},
                "low_latency_bytes_per_s": None if x.low_latency_bytes_per_s is None else rates * x.low_latency_bytes_per_s,
            }
        )  # fmt: skip

    now = Topology((inner, network()))
    for price in (floor_s, estimate_s):
        t = price(op, arr(size), arr(ranks), now).item()
        for better in (Topology((faster(inner, k, 1), network())), Topology((inner, faster(network(), k, k)))):
            assert price(op, arr(size), arr(ranks), better).item() <= t * (1 + 1e-12)
        whole = Topology(tuple(faster(x, k, k) for x in now.levels))
        assert price(op, arr(size), arr(ranks), whole).item() == pytest.approx(t / k, rel=1e-9)


@pytest.mark.law
@given(LINKS, SIZES)
def test_a_ring_of_two_moves_what_two_shots_move(inner, size) -> None:
    light = estimates("all_reduce", arr(size), arr(2), Topology((inner,)).without_latency())
    if np.isfinite(light["two_shot"]).all():
        assert light["ring"].item() == pytest.approx(light["two_shot"].item(), rel=1e-12)
    assert light["ring"].item() == pytest.approx(floor_s("all_reduce", arr(size), arr(2), Topology((inner,))).item(), rel=1e-12)


@pytest.mark.law
@given(st.sampled_from(OPS), LINKS, SIZES, RANKS)
def test_one_box_with_a_network_is_one_box(op, inner, size, ranks) -> None:
    flat, both = Topology((inner,)), Topology((inner, network()))
    for price in (floor_s, estimate_s):
        assert price(op, arr(size), arr(ranks), flat).item() == price(op, arr(size), arr(ranks), both).item()


@pytest.mark.law
@given(LINKS, SIZES, MANY)
def test_an_all_reduce_holds_a_reduce_scatter(inner, size, ranks) -> None:
    both = Topology((inner, network()))
    reduced, scattered = (floor_s(op, arr(size), arr(ranks), both).item() for op in ("all_reduce", "reduce_scatter"))
    assert reduced >= scattered
    assert scattered == floor_s("all_gather", arr(size), arr(ranks), both).item()
    if not inner.reduces_in_network:
        assert reduced == pytest.approx(2 * scattered)  # a reduce-scatter, then an all-gather


@pytest.mark.law
@given(st.sampled_from(OPS), LINKS, SIZES)
def test_one_rank_has_nothing_to_do(op, inner, size) -> None:
    both = Topology((inner, network()))
    assert floor_s(op, arr(size), arr(1), both).item() == 0.0
    assert estimate_s(op, arr(size), arr(1), both).item() == 0.0
    assert all(b.item() == 0.0 for b in wire_bytes(op, arr(size), arr(1), both))


@pytest.mark.law
@given(st.sampled_from(OPS), st.lists(SIZES, min_size=1, max_size=4), st.lists(MANY, min_size=1, max_size=4))
def test_a_cell_of_a_sweep_is_its_scalar(op, sizes, ranks) -> None:
    grid = collective(op, "h100", message_bytes=sizes, ranks=np.array(ranks)[:, None], network="infiniband-ndr")
    for i, n in enumerate(ranks):
        for j, size in enumerate(sizes):
            point = collective(op, "h100", message_bytes=size, ranks=n, network="infiniband-ndr")
            assert grid.floor_s[i, j] == point.floor_s
            assert grid.estimate_s[i, j] == point.estimate_s
            assert grid.algorithm[i, j] == point.algorithm
            assert grid.wire_bytes[i, j] == point.wire_bytes == sum(point.wire_bytes_by_link.values())


@pytest.mark.law
@given(SIZES, RANKS)
def test_spreading_ranks_over_boxes_never_helps_an_all_reduce(size, ranks) -> None:
    both = Topology((SWITCH, network()))
    assert floor_s("all_reduce", arr(size), arr(ranks), both).item() <= floor_s("all_reduce", arr(size), arr(ranks), both, arr(8)).item()
