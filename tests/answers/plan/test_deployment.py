"""Deployments: each candidate is a server of its own, the best is the best of them, and no device is asked for that is not needed."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from sol import DoesNotFit, InvalidInput, MissingSpec, estimate, plan, serve
from sol.answers.plan import replicas
from sol.answers.plan.candidates import legal_splits
from sol.answers.serve.server import resolve_server
from sol.sources.database.database import built_in_model, load_gpu
from sol.views.cli import main

LENGTHS: dict[str, Any] = {"prompt_tokens": 1024, "output_tokens": 256}
ASKED: dict[str, Any] = {**LENGTHS, "engine": "vllm"}
LOADS: list[dict[str, Any]] = [{"concurrency": 96.0}, {"request_rate": 6.0}]
FIGURES = ("tpot_s", "ttft_s", "e2e_s", "utilization")


def least(devices: Any, model: str = "llama-3.1-8b", **asked: Any) -> float:
    """The fewest devices that carry a load; without bound where none do."""
    try:
        d = plan(model, "h100", devices=devices, **ASKED, **asked)
    except DoesNotFit:
        return np.inf
    return float(d.devices[d.best])


@pytest.mark.law
@pytest.mark.parametrize("load", LOADS)
@pytest.mark.parametrize("model", ["llama-3.1-70b", "qwen3-30b-a3b"])
def test_each_candidate_is_the_server_of_its_split_at_its_part_of_the_load(model: str, load: dict[str, Any]) -> None:
    d = plan(model, "h100", devices="1-4,6", tpot_s=0.04, ttft_s=1.0, **ASKED, **load)
    ((kind, amount),) = load.items()
    for i, split in enumerate(d.splits):
        r = d.replicas[i]
        assert d.devices[i] == r * split.devices
        if d.fails[i] in ("weights", "pool"):
            assert np.isnan(d.tpot_s[i])
            with pytest.raises(DoesNotFit):
                serve(model, "h100", **ASKED, **{kind: amount / r}, **split._asdict())
            continue
        s = serve(model, "h100", tpot_s=0.04, ttft_s=1.0, **ASKED, **{kind: amount / r}, **split._asdict())
        for name in FIGURES:
            np.testing.assert_array_equal(getattr(d, name)[i], getattr(s, name))
        assert d.requests_per_s[i] == r * s.requests_per_s
        assert d.meets[i] == s.meets
        if i == d.best:
            assert (d.winner.tpot_s, d.winner.ttft_s, d.winner.requests_per_s) == (s.tpot_s, s.ttft_s, s.requests_per_s)
            assert d.winner.bound.e2e_s == s.bound.e2e_s
            assert d.winner.to_dict() == s.to_dict()
    allowed = np.flatnonzero(d.meets)
    assert d.devices[d.best] == d.devices[allowed].min()
    same = allowed[d.devices[allowed] == d.devices[d.best]]
    assert d.tpot_s[d.best] == d.tpot_s[same].min()


@pytest.mark.law
def test_every_split_and_number_of_replicas_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def counted(server: Any, kind: str, load: Any, *rest: Any) -> Any:
        calls.append(load.size)
        return whole(server, kind, load, *rest)

    whole = replicas.served
    monkeypatch.setattr(replicas, "served", counted)
    d = plan("deepseek-v3", "h200", devices=[8, 16], concurrency=64, network="infiniband-ndr", **ASKED)
    model = built_in_model("deepseek-v3")
    assert model is not None
    by_hand = [(s, 16 // n) for n in (1, 2, 4, 8, 16) for s in legal_splits(model, n)]
    assert {(s, r) for s, r in zip(d.splits, d.replicas, strict=True) if s.devices * r == 16} == set(by_hand)
    assert len(d.splits) == len(by_hand) + sum(s.devices <= 8 for s, _ in by_hand)  # and once on 8
    served = {s for s, f in zip(d.splits, d.fails, strict=True) if f not in ("weights", "pool")}
    assert len(calls) == len(served)  # one sweep for each split that has a pool, none for the others
    assert sum(calls) == sum(f not in ("weights", "pool") for f in d.fails)
    heavy = {s for s, f in zip(d.splits, d.fails, strict=True) if f == "weights"}
    assert heavy
    gpu = load_gpu("h200")
    for split in sorted(heavy)[::9]:  # 671 GB in fp8 beside 151 GB a device: what is left out would not have started
        with pytest.raises(DoesNotFit):
            resolve_server(model, gpu, **ASKED, options={**split._asdict(), "network": "infiniband-ndr"})


@pytest.mark.law
@pytest.mark.parametrize("load", [*LOADS, {"request_rate": 60.0}])
def test_more_devices_and_longer_limits_never_need_more(load: dict[str, Any]) -> None:
    for limits in ({}, {"tpot_s": 0.012}, {"ttft_s": 0.2}):
        needed = [least(devices, **load, **limits) for devices in ("1-2", "1-4", "1-6")]
        assert all(more <= fewer for fewer, more in pairwise(needed)), limits
        assert needed[-1] == least("6,1-5", **load, **limits)
    for name, limits in (("tpot_s", (0.006, 0.012, 1.0)), ("ttft_s", (0.025, 0.1, 10.0))):
        needed = [least("1-4", **load, **{name: limit}) for limit in limits]
        assert all(longer <= shorter for shorter, longer in pairwise(needed)), name
        assert needed[0] > needed[-1], name


@pytest.mark.law
def test_a_larger_load_never_needs_fewer() -> None:
    for name, loads in (("concurrency", (8, 64, 256, 1024)), ("request_rate", (1, 8, 30, 90))):
        needed = [least("1-8", tpot_s=0.015, **{name: load}) for load in loads]
        assert all(fewer <= more for fewer, more in pairwise(needed)), name
        assert needed[0] < needed[-1], name


@pytest.mark.law
def test_what_arrives_is_served() -> None:
    d = plan("llama-3.1-70b", "h100", devices="1-8", request_rate=2.0, **ASKED)
    carried = np.array([f == "" for f in d.fails])
    assert carried.any()
    assert d.requests_per_s[carried] == pytest.approx(2.0)
    assert d.winner.requests_per_s * d.replicas[d.best] == pytest.approx(2.0)
    assert d.output_tokens_per_s[carried] == pytest.approx(2.0 * 256)
    assert np.allclose(d.output_tokens_per_s_per_gpu * d.devices, d.output_tokens_per_s, equal_nan=True)
    over = np.array([f == "overloaded" for f in d.fails])
    assert (d.utilization[over] > 1).all()
    assert np.isnan(d.tpot_s[over]).all()
    assert (d.utilization[carried] <= 0.9).all()
    users = plan("llama-3.1-70b", "h100", devices="1-8", concurrency=96, **ASKED)
    there = np.isfinite(users.e2e_s)
    assert users.requests_per_s[there] * users.e2e_s[there] == pytest.approx(96, rel=0.02)  # Little's law


@pytest.mark.law
def test_beyond_nine_tenths_of_what_it_carries_a_replica_is_none() -> None:
    most = serve("llama-3.1-8b", "h100", request_rate=1, **ASKED).most_requests_per_s
    d = plan("llama-3.1-8b", "h100", devices="1-2", request_rate=0.95 * most, **ASKED)
    assert d.devices[d.best] == 2
    assert d.fails[list(d.devices).index(1)] == "utilization"
    assert "would be used to 95 %" in d.why()
    with pytest.raises(DoesNotFit, match="at 90 % utilization") as refused:
        plan("llama-3.1-8b", "h100", devices=1, request_rate=0.95 * most, **ASKED)
    assert f"carries {0.9 * most:.1f} " in str(refused.value)


@pytest.mark.law
def test_a_replica_without_a_user_serves_nobody() -> None:
    d = plan("llama-3.1-8b", "h100", devices=[1, 8], concurrency=1, **ASKED)
    alone = serve("llama-3.1-8b", "h100", concurrency=1, **ASKED)
    rows = [i for i, s in enumerate(d.splits) if s.devices == 1]
    assert [d.replicas[i] for i in rows] == [1, 8]
    assert [d.requests_per_s[i] for i in rows] == [alone.requests_per_s] * 2
    assert d.devices[d.best] == 1


@pytest.mark.law
@pytest.mark.parametrize("objective", ["devices", "tokens_per_s_per_gpu", "latency", "cost"])
def test_the_best_is_the_best_of_those_that_carry_it(objective: Any) -> None:
    d = plan("llama-3.1-70b", "h100", devices="1-8", concurrency=64, tpot_s=0.05, objective=objective, price_per_hour=2.5, **ASKED)
    assert d.cost_per_million is not None
    money = 2.5 / 3600 * d.devices / (d.requests_per_s * 256) * 1e6
    assert np.allclose(d.cost_per_million, money, equal_nan=True)
    value = {"devices": d.devices, "tokens_per_s_per_gpu": -d.output_tokens_per_s_per_gpu, "latency": d.e2e_s, "cost": money}[objective]
    assert value[d.best] == pytest.approx(value[d.meets].min())
    for i in d.front:
        better = (d.tpot_s < d.tpot_s[i]) & (d.output_tokens_per_s_per_gpu > d.output_tokens_per_s_per_gpu[i])
        assert not (better & d.meets).any()
    assert objective in ("latency", "devices") or d.best in d.front
    assert "\n" not in d.why()


def test_it_says_what_stops_fewer_devices() -> None:
    d = plan("llama-3.1-70b", "h100", devices="1-8", concurrency=64, tpot_s=0.05, ttft_s=1.0, **ASKED)
    assert str(d).startswith(f"{d.devices[d.best]:.0f}×h100-sxm as 1 replica of {d.splits[d.best]} carries 64 users at ")
    nearest = np.nanmin(d.tpot_s[d.devices == d.devices[d.best] - 1])
    assert f"takes {1e3 * nearest:.1f} ms/token, and 50.0 ms are allowed" in d.why()
    heavy = plan("llama-3.1-70b", "h100", devices="1-8", concurrency=1, **ASKED)
    assert heavy.why() == "1 device does not carry it: the weights do not fit"
    long = plan("llama-3.1-70b", "h100", devices="1,2,4", concurrency=1, **ASKED | {"prompt_tokens": 100_000})  # a cache of 33 GB
    assert "2 devices do not carry it: beside the weights the engine's pool holds no request" in long.why()  # 141 of 2·80 GB
    busy = plan("llama-3.1-8b", "h100", devices="1-8", request_rate=60, **ASKED)
    assert "devices do not carry it: the nearest," in busy.why()
    assert "would be used to " in busy.why()
    fast = plan("llama-3.1-8b", "h100", devices="1-4", concurrency=8, objective="latency", **ASKED)
    assert fast.why().startswith("1 device would carry it too")
    assert plan("llama-3.1-8b", "h100", devices="1-2", concurrency=1, **ASKED).why() == "one device is the least there is"
    assert "no link joins them" in str(plan("llama-3.1-8b", "h100", devices=16, concurrency=64, **ASKED))


@pytest.mark.contract
@pytest.mark.parametrize(
    ("asked", "error", "words"),
    [
        ({"concurrency": 1, "request_rate": 1}, InvalidInput, "concurrency and request_rate are both given"),
        ({}, InvalidInput, "output_tokens is of a load, and none is given"),
        ({"concurrency": 1, "ctx": 100}, InvalidInput, "ctx and a load are both given"),
        ({"concurrency": 1, "batch": 4}, InvalidInput, "batch and a load are both given"),
        ({"concurrency": 1, "output_tokens": 1}, InvalidInput, "no time per output token"),
        ({"concurrency": 1, "output_tokens": None}, InvalidInput, "needs prompt_tokens and output_tokens"),
        ({"concurrency": 0}, InvalidInput, "concurrency=0"),
        ({"concurrency": [1, 2]}, InvalidInput, "concurrency has 2 values"),
        ({"request_rate": -1}, InvalidInput, "request_rate=-1"),
        ({"request_rate": 1, "tpot_s": 0}, InvalidInput, "tpot_s=0"),
        ({"concurrency": 1, "cached_share": 1}, InvalidInput, "cached_share=1"),
        ({"concurrency": 1, "objective": "ttft"}, InvalidInput, "objective='ttft' is not one of devices"),
        ({"concurrency": 1, "objective": "cost"}, InvalidInput, "needs price_per_hour"),
        ({"concurrency": 1, "devices": "8-"}, InvalidInput, "devices='8-'"),
        ({"concurrency": 1, "tp": 2}, InvalidInput, "tp: is not an option of plan"),
        ({"concurrency": 1, "devices": 1}, DoesNotFit, "no split of up to 1×h100-sxm serves llama-3.1-70b: its weights do not fit"),
        ({"concurrency": 9, "tpot_s": 1e-3}, DoesNotFit, "keeps tpot_s=0.001 for 9 users of llama-3.1-70b: the time per output token of"),
        ({"request_rate": 900}, DoesNotFit, "no split of up to 8×h100-sxm carries 900 requests/s of llama-3.1-70b: the nearest, "),
        ({"concurrency": 1, "devices": 9, "dtype": "fp4x"}, Exception, "fp4x"),
    ],
)
def test_what_has_no_meaning_is_one_line(asked: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error) as refused:
        plan("llama-3.1-70b", "h100", **{"devices": 8, **ASKED, **asked})
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.contract
def test_a_device_without_a_calibration_is_refused_as_an_estimate_is() -> None:
    with pytest.raises(MissingSpec) as alone:
        estimate("llama-3.1-8b", "mi250x", ctx=1024)
    with pytest.raises(MissingSpec) as many:
        plan("llama-3.1-8b", "mi250x", devices=2, concurrency=1, **LENGTHS)
    assert str(many.value) == str(alone.value)


@pytest.mark.contract
def test_the_command_answers_as_python_does(capsys: pytest.CaptureFixture[str]) -> None:
    d = plan("llama-3.1-70b", "h100", devices="1-8", concurrency=64, tpot_s=0.05, ttft_s=1.0, max_batch=128, **ASKED)
    args = ["plan", "llama-3.1-70b", "h100", "--devices", "1-8", "--max-concurrency", "64", "--random-input-len", "1k", "--output", "256"]
    args += ["--tpot", "50ms", "--ttft", "1s", "--max-num-seqs", "128", "--engine", "vllm"]
    main(args)
    assert capsys.readouterr().out.splitlines()[0].startswith("4×h100-sxm as 1 replica of tp=4 carries 64 users at ")
    main([*args, "--json"])
    said = json.loads(capsys.readouterr().out)
    assert said == json.loads(d.to_json())
    assert said["outputs"]["winner"]["bound"]["tpot_s"] == d.winner.bound.tpot_s < d.winner.tpot_s
    rows = d.to_table().to_dicts()
    assert len(rows) == len(d.splits)
    assert rows[d.best]["best"]
    assert {row["fails"] for row in rows} >= {"", "weights", "tpot_s"}


@pytest.mark.contract
def test_a_replica_is_no_larger_than_its_links_reach() -> None:
    d = plan("llama-3.1-70b", "h100", devices=16, concurrency=64, **ASKED)
    assert max(s.devices for s in d.splits) == 8
    assert d.replicas.min() == 2
    joined = plan("llama-3.1-70b", "h100", devices=16, concurrency=64, network="infiniband-ndr", **ASKED)
    assert max(s.devices for s in joined.splits) == 16
    with pytest.raises(DoesNotFit, match="name the network, so that a replica reaches beyond 8 devices, or use a narrower dtype"):
        plan("llama-3.1-405b", "h100", devices=16, concurrency=1, **ASKED)  # 810 GB of weights, 640 GB in a box


@pytest.mark.contract
@pytest.mark.parametrize("columns", [60, 80, 120])
def test_it_fits_a_narrow_terminal(columns: int) -> None:
    objectives: tuple[Any, ...] = ("devices", "latency") if columns > 60 else ("devices",)
    for objective in objectives:
        d = plan("llama-3.1-70b", "h100", devices="1-16", concurrency=64, tpot_s=0.05, ttft_s=1.0, objective=objective, **ASKED)
        lines = d.to_text(columns).splitlines()
        assert max(map(len, lines)) <= columns
        assert " ".join(lines[:2]).startswith("4×h100" if objective == "devices" else "16×h100")
