"""What must hold for every split, and what is said of one that cannot be."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sol import floor, load_format, load_link, load_model, plan
from sol.errors import DoesNotFit, InvalidInput, InvalidPlan, UnknownName
from sol.physics.network.sharding import device_weight_bytes
from sol.sources.database.database import load_gpu
from sol.specs.split import Split
from sol.specs.step import Storage

NDR = "infiniband-ndr"  # 50 GB/s a card, one direction

SPLITS = st.sampled_from([Split(tp=2), Split(tp=8), Split(tp=16), Split(pp=4), Split(tp=2, pp=2), Split(tp=4, pp=3)])
EXPERT_SPLITS = st.sampled_from(
    [Split(dp=2), Split(tp=2, ep=2), Split(dp=4, ep=4), Split(tp=2, dp=2, ep=4), Split(dp=16, ep=8), Split(tp=2, pp=2)]
)


@st.composite
def questions(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    model = draw(st.sampled_from(["llama-3.1-8b", "mixtral-8x7b"]))
    split = draw(EXPERT_SPLITS if model == "mixtral-8x7b" else SPLITS)
    return model, {"ctx": draw(st.sampled_from([128, 2048])), "phase": draw(st.sampled_from(["decode", "prefill"])), **split._asdict()}


@pytest.mark.law
@settings(max_examples=40)
@given(questions(), st.lists(st.sampled_from([1, 2, 3, 7, 8, 64]), min_size=1, max_size=4, unique=True))
def test_a_sweep_is_its_points_and_no_floor_passes_its_serial(question: tuple[str, dict[str, Any]], batches: list[int]) -> None:
    model, asked = question
    swept = floor(model, "h200", batch=[float(b) for b in batches], network=NDR, **asked)
    assert (swept.latency_s <= swept.serial_s).all()
    assert (swept.wire_bytes > 0.0).all()
    assert (swept.network_s > 0.0).all()
    for i, batch in enumerate(batches):
        try:
            one = floor(model, "h200", batch=batch, network=NDR, **asked)
        except DoesNotFit:
            assert not swept.fits[i]
            continue
        for name in ("latency_s", "serial_s", "memory_s", "compute_s", "network_s", "wire_bytes", "flops", "resident_bytes"):
            assert getattr(one, name) == getattr(swept, name)[i], name


@pytest.mark.law
@settings(max_examples=25)
@given(questions(), st.sampled_from([1.0, 1.5, 4.0]))
def test_faster_links_are_never_slower(question: tuple[str, dict[str, Any]], times: float) -> None:
    model, asked = question
    network, gpu = load_link(NDR), load_gpu("h200")
    reached = {k: v * times for k, v in network.reached_bytes_per_s.items()}
    faster = network.model_copy(
        update={"per_direction_bytes_per_s": times * network.per_direction_bytes_per_s, "reached_bytes_per_s": reached}
    )
    own = gpu.link
    assert own is not None
    quick = gpu.model_copy(update={"link": own.model_copy(update={"per_direction_bytes_per_s": times * own.per_direction_bytes_per_s})})
    here, there = (floor(model, g, batch=[8.0], network=n, **asked) for g, n in ((gpu, network), (quick, faster)))
    for name in ("latency_s", "serial_s", "network_s"):
        assert getattr(there, name)[0] <= getattr(here, name)[0]
    assert there.network_s[0] == pytest.approx(here.network_s[0] / times, rel=1e-9)


@pytest.mark.law
@pytest.mark.parametrize("model", ["llama-3.1-8b", "qwen3-30b-a3b"])
def test_no_split_is_no_split(model: str) -> None:
    """All ones, a network or not: the same bits, and nothing sent."""
    plain = floor(model, "h100", ctx=2048, batch=3)
    for asked in ({"tp": 1, "pp": 1, "ep": 1, "dp": 1}, {"tp": 1, "network": NDR}):
        same = floor(model, "h100", ctx=2048, batch=3, **asked)
        for name in ("latency_s", "serial_s", "memory_s", "compute_s", "resident_bytes", "moved_bytes", "flops", "tokens_per_s"):
            assert getattr(same, name) == getattr(plain, name)
        assert same.wire_bytes == same.network_s == 0.0


@pytest.mark.law
@pytest.mark.parametrize(
    "split", [Split(tp=8), Split(pp=4), Split(tp=2, pp=3), Split(tp=4, ep=4), Split(tp=2, dp=4, ep=8), Split(dp=8, ep=8)]
)
def test_the_devices_together_hold_the_model(split: Split) -> None:
    model, bf16 = load_model("mixtral-8x7b"), load_format("bf16")
    each = device_weight_bytes(model, split, Storage(bf16, bf16, bf16, model.layers, 8))
    assert each * split.devices >= 2.0 * model.parameters
    assert each <= 2.0 * model.parameters


# What cannot be asked


@pytest.mark.contract
@pytest.mark.parametrize(
    ("model", "asked", "error", "words"),
    [
        ("llama-3.1-8b", {"tp": 6}, InvalidPlan, "tp=6 does not divide heads=32 of llama-3.1-8b; use 1, 2, 4, 8, 16, 32"),
        ("llama-3.1-8b", {"pp": 33}, InvalidPlan, "use 1 to 32"),
        ("llama-3.1-8b", {"ep": 2, "tp": 2}, InvalidPlan, "has none; use ep=1"),
        ("mixtral-8x7b", {"tp": 4, "ep": 3}, InvalidPlan, "use 1, 2, 4"),
        (
            "llama-3.1-8b",
            {"tp": 16},
            InvalidPlan,
            "16 devices (tp=16) are more than the 8 that nvlink4 of h100-sxm joins; name the network",
        ),
        ("llama-3.1-8b", {"tp": 2, "network": "infiniband-xyz"}, UnknownName, "no network 'infiniband-xyz'"),
        ("llama-3.1-8b", {"network": "infiniband-xyz"}, UnknownName, "no network 'infiniband-xyz'"),
        ("llama-3.1-8b", {"tp": 2, "network": "nvlink4"}, InvalidInput, "network=nvlink4 is a scale-up link"),
        ("llama-3.1-8b", {"tp": 0}, InvalidInput, "tp=0 is not a whole number"),
        ("llama-3.1-8b", {"tp": 2.0}, InvalidInput, "tp=2.0 is not a whole number"),
        ("llama-3.1-8b", {"dp": True}, InvalidInput, "dp=True is not a whole number"),
    ],
)
def test_what_cannot_be_says_what_can(model: str, asked: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error) as caught:
        floor(model, "h100", ctx=2048, **asked)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.contract
@pytest.mark.parametrize(
    ("asked", "error", "words"),
    [
        ({"devices": 2, "price_per_hour": -1.0}, InvalidInput, "price_per_hour"),
        ({"devices": 2, "objective": "cost"}, InvalidInput, "needs price_per_hour"),
        ({"devices": 2, "objective": "speed"}, InvalidInput, "objective='speed' is not one of"),
        ({"devices": "eight"}, InvalidInput, "devices='eight' is not a number, a list or a range"),
        ({"devices": "4-2"}, InvalidInput, "devices='4-2'"),
        ({"devices": "0-2"}, InvalidInput, "devices='0-2'"),
        ({"devices": ""}, InvalidInput, "devices=''"),
        ({"devices": []}, InvalidInput, "devices=[]"),
        ({"devices": 10**6}, InvalidInput, "up to 4096"),
        ({"devices": 33}, InvalidPlan, "no split of 33 devices is legal for llama-3.1-8b; tp divides 32"),
        ({"devices": 16}, InvalidPlan, "name the network"),
        ({"devices": 2, "tpot_s": 1e-9}, DoesNotFit, "no candidate that fits keeps tpot_s=1e-09"),
    ],
)
def test_a_plan_that_cannot_be_says_what_can(asked: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error) as caught:
        plan("llama-3.1-8b", "h100", ctx=2048, **asked)
    assert words in str(caught.value)


@pytest.mark.contract
def test_numbers_of_devices_as_text() -> None:
    found = plan("llama-3.1-8b", "h100", devices="1-2, 4,2", ctx=2048)
    assert sorted(set(found.devices)) == [1.0, 2.0, 4.0]
    same = plan("llama-3.1-8b", "h100", devices=[4, 1, 2], ctx=2048)
    assert (found.latency_s == same.latency_s).all()
    one = floor("llama-3.1-8b", "h100", ctx=2048, **found.splits[found.best]._asdict())
    assert found.latency_s[found.best] == one.serial_s


def test_an_imbalance_below_an_even_share_has_no_meaning() -> None:
    with pytest.raises(InvalidInput, match="1 or more"):
        floor("mixtral-8x7b", "h100", ctx=1, imbalance=0.5)
    skewed = floor("mixtral-8x7b", "h100", ctx=2048, batch=64, tp=2, ep=2, imbalance=1.25)
    assert any("imbalance 1.25" in line for line in skewed.assumptions)
    assert skewed.flops > floor("mixtral-8x7b", "h100", ctx=2048, batch=64, tp=2, ep=2).flops


def test_what_is_assumed_of_states_index_keys_and_links_is_said() -> None:
    hybrid, sparse = floor("qwen3-next-80b-a3b", "h200", ctx=[9], tp=2), floor("deepseek-v3.2", "b200", ctx=[9], tp=8)
    assert any("recurrent states in 32 bits" in line for line in hybrid.assumptions)
    assert any("index keys in 8 bits" in line for line in sparse.assumptions)
    silent = floor("llama-3.1-8b", "trainium2", ctx=[9], tp=2)
    assert any("a latency" in line and "no source" in line for line in silent.assumptions)
    assert not any("no source gives" in line and "a latency" in line for line in hybrid.assumptions)
    with pytest.raises(InvalidInput, match="imbalance has 2 values"):
        floor("mixtral-8x7b", "h100", ctx=1, imbalance=[1, 2])
