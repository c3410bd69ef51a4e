"""What joins the devices of a box: the database's link, the one they are wired by, a bridge only where it is named."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from sol import InvalidInput, UnknownName, collective, compare, estimate, floor, load_link, plan, pools
from sol.answers.floor.optimistic import optimistic_s
from sol.answers.question.ask import ask
from sol.answers.question.links import left_out, topology
from sol.answers.question.records import resolve_gpu
from sol.sources.database.database import gpu_ids
from sol.views.cli import main

GIB = 2.0**30


@pytest.mark.truth
@pytest.mark.parametrize(
    ("link", "rate"),  # transfers per second and lane × lanes / 8 bits, PCI Express base specifications
    [("pcie3-x4", 4e9), ("pcie3-x8", 8e9), ("pcie4-x4", 8e9), ("pcie4-x8", 16e9), ("pcie4-x16", 32e9), ("pcie4-x16-no-p2p", 32e9)],
)
def test_a_pair_wired_by_fewer_lanes_sends_at_their_rate(link: str, rate: float) -> None:
    found = collective("all_reduce", "rtx-3090", message_bytes=GIB, ranks=2, link=link)
    assert found.floor_s == pytest.approx(GIB / rate, rel=1e-12)  # 2(n−1)/n = 1
    f = floor("llama-3.1-8b", "rtx-3090", ctx=2048, tp=2, link=link)
    assert f.network_s == pytest.approx(2 * 32 * 4096 * 2 / rate, rel=1e-12)  # two sums a layer, 32 layers, 4,096 wide, 16 bits


@pytest.mark.truth
@pytest.mark.parametrize("gpu", ["rtx-3090", "rtx-3090-ti", "h100-pcie", "h100-nvl", "mi210"])
def test_a_bridge_joins_cards_only_where_it_is_named(gpu: str) -> None:
    bridge = left_out(resolve_gpu(gpu))
    assert bridge is not None
    plain = floor("llama-3.1-8b", gpu, ctx=2048, tp=2, dtype="fp16", kv_dtype="fp16")
    fitted = floor("llama-3.1-8b", gpu, ctx=2048, tp=2, dtype="fp16", kv_dtype="fp16", link=bridge.id)
    rates = [resolve_gpu(gpu).pcie.per_direction_bytes_per_s, resolve_gpu(gpu).link.per_direction_bytes_per_s]
    assert [f.network_s for f in (plain, fitted)] == pytest.approx([2 * 32 * 4096 * 2 / rate for rate in rates], rel=1e-12)
    said = [a for a in plain.assumptions if a.kind == "links"]
    assert any(f"no bridge between cards; where {bridge.id} is fitted, name it as link" in a for a in said)
    assert not any("no bridge" in a for a in fitted.assumptions)


def test_a_bridge_that_no_record_of_the_card_has_may_be_named() -> None:
    pair = collective("all_reduce", "a40", message_bytes=GIB, ranks=2, link="nvlink-bridge-ga102")
    assert pair.floor_s == pytest.approx(GIB / 56.25e9, rel=1e-12)
    assert any("no source says that a40 has it" in a for a in pair.assumptions)
    four = collective("all_reduce", "a40", message_bytes=GIB, ranks=4, link="nvlink-bridge-ga102")
    assert list(four.wire_bytes_by_link) == ["nvlink-bridge-ga102", "pcie4-x16"]


def test_a_card_without_another_link_keeps_its_bridge_and_says_so() -> None:
    found = collective("all_reduce", "h200-nvl", message_bytes=GIB, ranks=4)
    assert list(found.wire_bytes_by_link) == ["nvlink4-bridge-4way"]
    assert any("nvlink4-bridge-4way fitted: no other link of h200-nvl has a source" in a for a in found.assumptions)


@pytest.mark.law
@pytest.mark.parametrize("gpu", [g for g in gpu_ids() if left_out(resolve_gpu(g)) is not None])
def test_what_judges_grants_the_bridge_that_nobody_named(gpu: str) -> None:
    asked: dict[str, Any] = {"ctx": 8192, "tp": 2, "phase": "prefill", "dtype": "fp16", "kv_dtype": "fp16"}
    bridge = left_out(resolve_gpu(gpu))
    assert bridge is not None
    plain, fitted, narrow = (ask("llama-3.1-8b", gpu, link=link, **asked) for link in (None, bridge.id, "pcie3-x4"))
    assert optimistic_s(plain) == optimistic_s(fitted) < optimistic_s(narrow)
    f = floor("llama-3.1-8b", gpu, link=None, **asked)
    assert (f.network_s >= f.latency_s) == f.loosened["bridge"]
    assert not floor("llama-3.1-8b", gpu, link=bridge.id, **asked).loosened["bridge"]


@pytest.mark.law
@pytest.mark.parametrize("gpu", ["rtx-4090", "rtx-5090", "rtx-3090", "l40s"])
def test_no_peer_access_slows_the_estimate_and_not_the_floor(gpu: str) -> None:
    host = resolve_gpu(gpu).pcie.name
    sizes, ranks = np.array([1024.0, 2.0**20, 2.0**28])[:, None], np.array([2, 4, 8])
    peers, none = (collective("all_reduce", gpu, message_bytes=sizes, ranks=ranks, link=link) for link in (host, f"{host}-no-p2p"))
    assert (peers.floor_s == none.floor_s).all()
    assert (none.estimate_s > peers.estimate_s).all()
    f, g = (floor("llama-3.1-8b", gpu, ctx=2048, tp=2, link=link) for link in (host, f"{host}-no-p2p"))
    assert (f.latency_s, f.network_s) == (g.latency_s, g.network_s)
    assert g.serial_s > f.serial_s


@pytest.mark.truth
def test_no_peer_access_keeps_to_the_rows_it_comes_from() -> None:
    """8 RTX 4090: 42.14 µs for 8 bytes (NCCL issue 1530); 30.53 GB/s both ways together (814). Both supply the record: no validation."""
    small = collective("all_reduce", "rtx-4090", message_bytes=8, ranks=8, link="pcie4-x16-no-p2p")
    assert small.estimate_s == pytest.approx(42.14e-6, rel=1e-3)
    pair = collective("all_to_all", "rtx-4090", message_bytes=8, ranks=2, link="pcie4-x16-no-p2p")
    assert pair.estimate_s == pytest.approx(11.87e-6, rel=1e-3)
    large = collective("all_reduce", "rtx-4090", message_bytes=2**30, ranks=2, link="pcie4-x16-no-p2p")
    assert large.estimate_s == pytest.approx(2**30 / (30.53e9 / 2), rel=0.01)


@pytest.mark.truth
def test_no_peer_access_on_rows_that_supply_no_latency() -> None:
    """nccl-tests issue 287: all-reduce over 4 RTX 5090, out of place; the record takes its rate from the last size, 128 MiB, alone."""
    sizes = np.array([8.0, 1024, 8192, 65536, 2**18, 2**20, 2**24])
    took = 1e-6 * np.array([15.60, 15.88, 27.45, 32.58, 45.84, 93.45, 935.7])
    found = collective("all_reduce", "rtx-5090", message_bytes=sizes, ranks=4, link="pcie5-x16-no-p2p")
    assert (found.floor_s < took).all()
    off = found.estimate_s / took
    assert (abs(np.log(off)) < np.log(1.55)).all(), off
    peers = collective("all_reduce", "rtx-5090", message_bytes=sizes[2:], ranks=4, link="pcie5-x16")
    assert (abs(np.log(off[2:])) < abs(np.log(peers.estimate_s / took[2:]))).all()  # nearer than with peer access


@pytest.mark.parametrize(
    ("gpu", "link", "says"),
    [
        ("rtx-3090", "pcie5-x16", "link=pcie5-x16 is faster than pcie4-x16 of rtx-3090 at 32.0 GB/s; name pcie4-x16 or a narrower one"),
        ("rtx-3090", "nvlink4", "link=nvlink4 is no link of rtx-3090; it has nvlink-bridge-ga102 and pcie4-x16"),
        ("h100", "nvlink4-bridge", "link=nvlink4-bridge is no link of h100-sxm; it has nvlink4 and pcie5-x16"),
        ("h100", "ndr", "link=ndr is a network, which joins boxes; name it as network; a link joins the devices of one box"),
    ],
)
def test_a_link_the_device_cannot_have_is_refused_in_one_line(gpu: str, link: str, says: str) -> None:
    with pytest.raises(InvalidInput) as error:
        floor("llama-3.1-8b", gpu, ctx=2048, tp=2, link=link)
    assert str(error.value) == says


def test_network_and_link_name_each_other() -> None:
    with pytest.raises(InvalidInput, match="network=pcie4-x8 is a host link, which joins the devices of one box; name it as link"):
        floor("llama-3.1-8b", "l40s", ctx=2048, tp=2, network="pcie4-x8")
    with pytest.raises(UnknownName, match=r"no link 'pcie4-x7'.*pcie4-x8"):
        floor("llama-3.1-8b", "l40s", ctx=2048, tp=2, link="pcie4-x7")


@pytest.mark.law
@pytest.mark.parametrize("gpu", [g for g in gpu_ids() if resolve_gpu(g).link is not None or resolve_gpu(g).pcie is not None])
def test_naming_the_link_that_is_taken_anyway_changes_nothing(gpu: str) -> None:
    the_gpu = resolve_gpu(gpu)
    taken = topology(the_gpu)
    assert [x.id for x in topology(the_gpu, None, taken.levels[0]).levels] == [x.id for x in taken.levels]
    assert topology(the_gpu, None, taken.levels[0]).levels[0].per_direction_bytes_per_s == taken.levels[0].per_direction_bytes_per_s


def test_lanes_say_nothing_of_the_size_of_a_box() -> None:
    box = collective("all_reduce", "rtx-4090", message_bytes=GIB, ranks=16, link="pcie4-x8", network="infiniband-ndr")
    assert list(box.wire_bytes_by_link) == ["pcie4-x8", "infiniband-ndr"]
    assert load_link("pcie4-x8").domain is None


def test_every_answer_takes_a_link() -> None:
    asked: dict[str, Any] = {"link": "pcie4-x8"}
    assert estimate("llama-3.1-8b", "rtx-4090", ctx=2048, tp=2, **asked).latency_s > 0
    assert compare("llama-3.1-8b", "rtx-4090", ctx=2048, tp=2, measured_s=0.05, **asked).floor.network_s == 2 * 32 * 4096 * 2 / 16e9
    p = plan("llama-3.1-8b", "rtx-4090", devices=2, ctx=2048, **asked)
    assert p.to_dict()["inputs"]["link"] == "pcie4-x8"
    assert pools("llama-3.1-8b", "rtx-4090", devices=4, prompt_tokens=512, output_tokens=64, **asked).links.levels[0].id == "pcie4-x8"


def test_the_command_line_explains_both(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("floor", "estimate", "compare", "plan", "collective"):
        main([command, "--help"])
        helped = " ".join(capsys.readouterr().out.split())
        assert "--link LINK What joins the devices of one box" in helped
        assert "--network LINK What joins boxes" in helped
    main(["collective", "all-reduce", "rtx-3090", "--ranks", "2", "--link", "nvlink-bridge-ga102", "--json"])
    assert json.loads(capsys.readouterr().out)["inputs"]["link"] == "nvlink-bridge-ga102"
