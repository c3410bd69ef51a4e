"""Kinds of links: one direction, sourced, and what the traps would get wrong."""

from __future__ import annotations

import pytest

from sol import UnknownName, links, load_gpu, load_link
from sol.sources.database.database import gpu_ids, link_ids


@pytest.mark.contract
@pytest.mark.parametrize("link_id", link_ids())
def test_every_number_has_a_source(link_id: str) -> None:
    link = load_link(link_id)
    assert link.cites["per_direction_bytes_per_s"].value == link.per_direction_bytes_per_s
    for field in ("links_per_device", "pair_bytes_per_s", "domain", "reduction_min_ranks", "low_latency_bytes_per_s"):
        assert (getattr(link, field) is None) == (field not in link.cites)
    assert {f"alpha_s.{k}" for k in link.alpha_s} == {f for f in link.cites if f.startswith("alpha_s")}
    assert all(1e-8 < alpha < 1e-3 for alpha in link.alpha_s.values())
    assert {f"reached_bytes_per_s.{k}" for k in link.reached_bytes_per_s} == {f for f in link.cites if f.startswith("reached")}
    assert all(0 < reached <= link.per_direction_bytes_per_s for reached in link.reached_bytes_per_s.values())
    if link.pair_bytes_per_s is not None:
        assert link.pair_bytes_per_s <= link.per_direction_bytes_per_s


@pytest.mark.truth
def test_one_direction_not_both() -> None:
    expected = {
        "nvlink2": 150e9, "nvlink3": 300e9, "nvlink4": 450e9, "nvlink5": 900e9,  # marketed as 300, 600, 900 and 1,800 for both directions
        "pcie4-x16": 32e9, "pcie5-x16": 64e9, "infiniband-hdr": 25e9, "infiniband-ndr": 50e9,  # 200 and 400 Gb/s
    }  # fmt: skip
    for name, rate in expected.items():
        assert load_link(name).per_direction_bytes_per_s == rate
    xgmi = load_link("xgmi3-mi300x")
    assert (xgmi.per_direction_bytes_per_s, xgmi.pair_bytes_per_s) == (448e9, 64e9)  # seven peers together, and one of them
    assert load_gpu("gaudi3").link.per_direction_bytes_per_s == 525e9  # 21 of 24 ports stay in the box
    assert load_link("nvlink4").reduces_in_network
    assert not load_link("nvlink3").reduces_in_network


@pytest.mark.law
def test_generations_double_or_better_than_stand_still() -> None:
    for line in (("nvlink1", "nvlink2", "nvlink3", "nvlink4", "nvlink5"), ("pcie3-x16", "pcie4-x16", "pcie5-x16", "pcie6-x16"),
                 ("infiniband-edr", "infiniband-hdr", "infiniband-ndr", "infiniband-xdr")):  # fmt: skip
        rates = [load_link(name).per_direction_bytes_per_s for name in line]
        assert rates == sorted(set(rates))


@pytest.mark.contract
def test_a_device_and_its_kind_of_link_agree() -> None:
    known = set(link_ids())
    for gpu_id in gpu_ids():
        link = load_gpu(gpu_id).link
        if link is not None:
            kind = load_link(link.name)
            assert link.per_direction_bytes_per_s == kind.per_direction_bytes_per_s, f"{gpu_id} and its {link.name}"
            assert kind.kind in ("scale-up", "bridge")
    assert {"nvlink4", "nvl72", "gaudi3-roce", "xgmi3-mi300x", "ici-v5e"} <= known


def test_names_and_listing() -> None:
    assert "nvlink4" in links()["id"]
    with pytest.raises(UnknownName, match="did you mean"):
        load_link("nvlnk4")
