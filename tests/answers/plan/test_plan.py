"""Plans: every candidate is a floor of its own, the best is the best of them, and nothing that does not fit is rated."""

from __future__ import annotations

import numpy as np
import pytest

from sol import DoesNotFit, InvalidInput, InvalidPlan, floor, plan
from sol.answers.plan.candidates import device_counts, legal_splits
from sol.sources.database.database import built_in_model
from sol.specs.split import Split

ASKED = {"devices": "1-8", "ctx": 2048, "batch": [1, 7, 64]}


@pytest.mark.law
def test_the_first_token_is_one_prompt_alone_under_the_split() -> None:
    p = plan("llama-3.1-70b", "h100", devices="2-8", ctx=4096, objective="ttft", prompt_tokens=2048)
    assert p.ttft_s is not None
    assert p.ttft_s[p.best] == p.ttft_s[p.fits].min()
    for i in range(len(p.splits)):
        f = floor("llama-3.1-70b", "h100", ctx=[2048.0], phase="prefill", **p.splits[i]._asdict())
        assert p.ttft_s[i] == f.serial_s[0]
    assert "ttft" in str(p)
    limited = plan("llama-3.1-70b", "h100", devices="2-8", ctx=2048, objective="tokens_per_s_per_gpu", ttft_s=0.09)
    assert limited.prompt_tokens == 2048
    assert limited.ttft_s[limited.best] <= 0.09 < limited.ttft_s.max()
    free = plan("llama-3.1-70b", "h100", devices="2-8", ctx=2048, objective="tokens_per_s_per_gpu")
    assert free.ttft_s is None
    assert free.tokens_per_s_per_gpu[free.best] > limited.tokens_per_s_per_gpu[limited.best]
    with pytest.raises(DoesNotFit, match=r"no candidate that fits keeps ttft_s=0\.001: the fastest takes"):
        plan("llama-3.1-70b", "h100", devices="2-8", ctx=2048, ttft_s=0.001)


@pytest.mark.law
def test_batches_are_whole_for_every_copy_and_stage() -> None:
    """64 of each split, as many for each of its copies and stages, from 1 to 4,096."""
    p = plan("mixtral-8x7b", "h200", devices="8", ctx=128, objective="tokens_per_s_per_gpu")
    ways = np.array([s.pp * s.dp for s in p.splits])
    each = (p.batch / ways).reshape(-1, 64)
    assert (each == np.round(each)).all()
    assert (each[:, 0] == 1).all()
    assert (each[:, -1] == 4096).all()


@pytest.mark.law
@pytest.mark.parametrize("objective", ["latency", "tokens_per_s_per_user", "tokens_per_s_per_gpu", "cost"])
def test_the_best_is_the_best_of_what_fits(objective: str) -> None:
    p = plan("llama-3.1-70b", "h100", **ASKED, objective=objective, price_per_hour=2.5)
    rated = {"latency": p.latency_s, "tokens_per_s_per_user": -p.tokens_per_s_per_user,
             "tokens_per_s_per_gpu": -p.tokens_per_s_per_gpu, "cost": p.cost_per_million}[objective]  # fmt: skip
    assert p.fits[p.best]
    assert rated[p.best] == rated[p.fits].min()
    assert p.fewest == p.devices[p.fits].min()
    for i in range(0, len(p.splits), 5):
        f = floor("llama-3.1-70b", "h100", ctx=2048, batch=[p.batch[i]], **p.splits[i]._asdict())
        assert (f.serial_s[0], f.latency_s[0], bool(f.fits[0])) == (p.latency_s[i], p.floor_s[i], p.fits[i])
        apart = max(f.serial_s[0], f.interval_s[0])  # a step, or what uneven stages allow
        assert p.tokens_per_s_per_gpu[i] == pytest.approx(p.batch[i] / apart / p.devices[i])
    assert np.allclose(p.cost_per_million, 2.5 / 3600 / p.tokens_per_s_per_gpu * 1e6)
    even = np.array([80 % s.pp == 0 for s in p.splits])
    money = 2.5 / 3600 * p.devices / (p.batch / p.latency_s) * 1e6
    assert np.allclose(p.cost_per_million[even], money[even])


@pytest.mark.law
def test_no_candidate_beats_one_of_the_front_in_both_rates() -> None:
    p = plan("mixtral-8x7b", "h100", **ASKED, objective="tokens_per_s_per_gpu")
    allowed = np.flatnonzero(p.fits)
    for i in p.front:
        better = (p.tokens_per_s_per_user[allowed] > p.tokens_per_s_per_user[i]) & (
            p.tokens_per_s_per_gpu[allowed] > p.tokens_per_s_per_gpu[i]
        )
        assert not better.any()
    users = [p.tokens_per_s_per_user[i] for i in p.front]
    assert users == sorted(users, reverse=True)
    assert p.best in p.front


@pytest.mark.truth
def test_every_legal_split_is_tried() -> None:
    """By hand: 8 devices of a dense model with 64 heads, of 8 experts and 32 heads, and of 256 experts and 128 heads."""
    dense, few = built_in_model("llama-3.1-70b"), built_in_model("mixtral-8x7b")
    assert set(legal_splits(dense, 8)) == {Split(tp, 8 // tp) for tp in (1, 2, 4, 8)}
    expected = {
        Split(tp, pp, ep, 8 // tp // pp)
        for tp in (1, 2, 4, 8) for pp in (1, 2, 4, 8) if tp * pp <= 8 for ep in (1, 2, 4, 8) if 8 // pp % ep == 0
    }  # fmt: skip
    assert set(legal_splits(few, 8)) == expected
    assert legal_splits(dense, 7) == [Split(1, 7)]


def test_a_limit_on_the_step_is_kept_or_refused() -> None:
    p = plan("llama-3.1-70b", "h100", **ASKED, objective="tokens_per_s_per_gpu", tpot_s=0.012)
    assert p.latency_s[p.best] <= 0.012
    assert "best" in str(p)
    with pytest.raises(DoesNotFit, match=r"tpot_s=0\.001"):
        plan("llama-3.1-70b", "h100", **ASKED, tpot_s=0.001)
    with pytest.raises(DoesNotFit, match="no split of up to 2"):
        plan("llama-3.1-405b", "h100", devices="1-2", ctx=1)


@pytest.mark.parametrize(
    ("asked", "error", "words"),
    [
        ({"devices": 0}, InvalidInput, "devices=0"),
        ({"devices": "8-"}, InvalidInput, "devices='8-'"),
        ({"devices": "1-100000"}, InvalidInput, "up to 4096"),
        ({"devices": [2, True]}, InvalidInput, "devices="),
        ({"objective": "fun"}, InvalidInput, "objective='fun'"),
        ({"objective": "cost"}, InvalidInput, "needs price_per_hour"),
        ({"price_per_hour": -1}, InvalidInput, "price_per_hour=-1"),
        ({"devices": 16}, InvalidPlan, "name the network"),
        ({"ctx": [100, 200]}, InvalidInput, "ctx has 2 values"),
        ({"prompt_tokens": 0}, InvalidInput, "prompt_tokens=0"),
        ({"ctx": 0, "objective": "ttft"}, InvalidInput, "prompt_tokens=0"),
        ({"ttft_s": -1}, InvalidInput, "ttft_s=-1"),
        ({"tpot_s": [0.1, 0.2]}, InvalidInput, "tpot_s has 2 values"),
    ],
)
def test_what_has_no_meaning_is_one_line(asked: dict, error: type, words: str) -> None:
    with pytest.raises(error) as refused:
        plan("llama-3.1-70b", "h100", **{"devices": 8, "ctx": 100, **asked})
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_numbers_of_devices_as_people_write_them() -> None:
    assert device_counts("1,2,8-10") == [1, 2, 8, 9, 10]
    assert device_counts([8, 4, 4]) == [4, 8]


def test_limits_are_said_with_their_unit() -> None:
    p = plan("llama-3.1-70b", "h100", devices=8, ctx=2048, ttft_s=500, tpot_s=0.05)
    assert "ttft ≤ 500 s, tpot ≤ 50.0 ms" in p.table().title
    assert (p.to_dict()["inputs"]["ttft_s"], p.to_dict()["inputs"]["tpot_s"]) == (500, 0.05)


@pytest.mark.truth
def test_the_fewest_that_hold_it_need_not_be_tried() -> None:
    """gpustack#3446: Qwen3-Coder-480B in Q8_0, 510 GB, lies on one M3 Ultra of 512 GiB; two were asked about."""
    p = plan("qwen3-coder-480b-a35b", "m3-ultra", devices=2, ctx=4096, dtype="q8_0", network="thunderbolt5")
    assert (p.fewest, set(p.devices)) == (1, {2.0})
    assert "fewest devices that hold it: 1, by memory alone; not among those tried" in p.table().to_text(200)
    tried = plan("qwen3-coder-480b-a35b", "m3-ultra", devices="1,2", ctx=4096, dtype="q8_0", network="thunderbolt5")
    assert tried.fewest == 1
    assert "not among" not in tried.table().to_text(200)


@pytest.mark.law
@pytest.mark.parametrize("model", ["llama-3.1-70b", "mixtral-8x22b", "llama-3.1-405b"])
@pytest.mark.parametrize("batch", [None, [1, 64], [256]])
def test_the_fewest_are_those_of_a_plan_that_tries_all(model: str, batch: list[int] | None) -> None:
    asked = {
        "ctx": 8192,
        "batch": batch,
        "dtype": "fp8",
        "kv_dtype": "fp8",
        "network": "infiniband-ndr",
        "objective": "tokens_per_s_per_gpu",
    }
    every = plan(model, "h100", devices="1-16", **asked)
    assert every.fewest == every.devices[every.fits].min()
    for devices in (12, 16):
        assert plan(model, "h100", devices=devices, **asked).fewest == every.fewest
