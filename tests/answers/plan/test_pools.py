"""Pools: what they say is what floors say, nothing that was tried serves more, and limits are kept."""

from __future__ import annotations

import json
from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest

from sol import DoesNotFit, InvalidInput, InvalidPlan, floor, load_link, pools
from sol.answers.plan.candidates import MICRO, legal_splits
from sol.answers.plan.pool_search import NEAR, PROMPTS
from sol.sources.database.database import built_in_model
from sol.views.cli import main

NDR = "infiniband-ndr"
ASKED = {"prompt_tokens": 2048, "output_tokens": 256}


@pytest.mark.truth
def test_the_first_two_tokens_by_hand() -> None:
    """The prefill gives the first; the second takes max(prefill, cache/link) + step, and prefill + transfer + step in order."""
    p = pools("llama-3.1-70b", "h100", devices=[8, 16], network=NDR, **ASKED)
    assert p.kv_bytes == 327_680 * 2048
    rates = {8: load_link("nvlink4").per_direction_bytes_per_s, 16: load_link(NDR).per_direction_bytes_per_s}
    for d in p.divisions:
        prefill = floor("llama-3.1-70b", "h100", ctx=2048, batch=d.prefill.batch, phase="prefill", network=NDR, **d.prefill.split._asdict())
        step = floor("llama-3.1-70b", "h100", ctx=2048 + 127, batch=d.decode.batch, network=NDR, **d.decode.split._asdict())
        ways = min(d.prefill.split.tp * d.prefill.split.pp, d.decode.split.tp * d.decode.split.pp)
        wire = p.kv_bytes / rates[d.devices] / ways
        assert (d.ttft_floor_s, d.ttft_s) == (prefill.latency_s, prefill.serial_s)
        assert d.second_token_floor_s == pytest.approx(max(prefill.latency_s, wire) + step.latency_s)
        assert d.second_token_s == pytest.approx(prefill.serial_s + d.transfer_s + step.serial_s)
        assert d.users == pytest.approx(d.requests_per_s * (d.second_token_s + 254 * step.serial_s))  # Little's law
        assert wire <= d.transfer_s <= 2 * wire
        assert (d.prefill.step_s, d.decode.step_s, d.tpot_s) == (prefill.serial_s, step.serial_s, step.serial_s)
        assert d.prefill.requests_per_s == pytest.approx(d.prefill.replicas * d.prefill.batch / prefill.serial_s)
        assert d.decode.requests_per_s == pytest.approx(d.decode.replicas * d.decode.batch / (255 * step.serial_s))
        assert d.requests_per_s == pytest.approx(min(d.prefill.requests_per_s, d.decode.requests_per_s))
        assert d.prefill.devices + d.decode.devices <= d.devices
    assert [p.link_of(d.devices) for d in p.divisions] == ["nvlink4", NDR]


@pytest.mark.law
@pytest.mark.parametrize("limits", [{}, {"ttft_s": 0.06}, {"tpot_s": 0.01}, {"ttft_s": 0.1, "tpot_s": 0.004}])
def test_nothing_that_was_tried_serves_more(limits: dict[str, float]) -> None:
    """Every split, batch and number of replicas of four H100, one after the other, and of undivided replicas."""
    model = built_in_model("llama-3.1-8b")
    assert model is not None
    p = pools("llama-3.1-8b", "h100", devices=4, **ASKED, **limits)
    (d,) = p.divisions
    kv, link = p.kv_bytes, load_link("nvlink4").per_direction_bytes_per_s
    first, then = [], []
    for split in (s for n in (1, 2, 3, 4) for s in legal_splits(model, n)):
        for found, micro, asked in ((first, PROMPTS, {"phase": "prefill", "ctx": 2048}), (then, MICRO, {"ctx": 2048 + 127})):
            f = floor("llama-3.1-8b", "h100", batch=micro * split.pp, **asked, **split._asdict())
            found += [(split, b, t) for b, t, fits in zip(micro * split.pp, f.serial_s, f.fits, strict=True) if fits]
    best = 0.0
    for (one, b, t), (other, c, s) in product(first, then):
        n, m = one.devices, other.devices
        if t <= limits.get("ttft_s", np.inf) and s <= limits.get("tpot_s", np.inf):
            for x in range(1, (4 - m) // n + 1):
                y = (4 - x * n) // m
                rate = min(x * b / max(t, b * kv / link / n), y * c / max(255 * s, c * kv / link / m))
                best = max(best, rate)
    assert d.requests_per_s >= best / NEAR * (1 - 1e-9)
    assert d.ttft_s <= limits.get("ttft_s", np.inf)
    assert d.tpot_s <= limits.get("tpot_s", np.inf)
    if not limits:
        assert d.requests_per_s <= best * (1 + 1e-9)
    assert d.undivided is not None
    undivided = 0.0
    both = [(one.devices, b, t, c, s) for (one, b, t), (other, c, s) in product(first, then) if one == other and b <= c]
    for n, b, t, c, s in both:
        if t <= limits.get("ttft_s", np.inf) and s + (c / b - 1) * t / 255 <= limits.get("tpot_s", np.inf):
            undivided = max(undivided, (4 // n) * c / (255 * s + c * t / b))
    assert undivided / NEAR * (1 - 1e-9) <= d.undivided.decode.requests_per_s <= undivided * (1 + 1e-9)


@pytest.mark.law
def test_more_devices_and_longer_limits_never_serve_less() -> None:
    p = pools("mixtral-8x7b", "h200", devices="2-12", network=NDR, **ASKED)
    inside = [d.requests_per_s for d in p.divisions if d.devices <= 8]
    assert all(more >= fewer / NEAR for fewer, more in pairwise(inside))
    served = [pools("mixtral-8x7b", "h200", devices=8, tpot_s=t, **ASKED).divisions[0].requests_per_s for t in (0.01, 0.02, 0.05)]
    assert all(longer >= shorter / NEAR for shorter, longer in pairwise(served))
    each = [d.requests_per_s / d.devices for d in p.divisions]
    assert each[p.best] == max(each)


@pytest.mark.law
def test_a_load_takes_the_fewest_devices_that_carry_it() -> None:
    asked = {"devices": "2-12", "network": NDR, **ASKED}
    every = pools("llama-3.1-8b", "h100", **asked).divisions
    for part in (0.2, 0.6, 1.0):
        rate = part * max(d.requests_per_s for d in every)
        d = (p := pools("llama-3.1-8b", "h100", request_rate=rate, **asked)).divisions[p.best]
        assert d.requests_per_s >= rate * (1 - 1e-9)
        assert all(e.requests_per_s < rate for e in p.divisions if e.devices < d.devices)
    users = 0.5 * max(d.users for d in every)
    d = (p := pools("llama-3.1-8b", "h100", concurrency=users, **asked)).divisions[p.best]
    assert d.devices == min(e.devices for e in every if e.users >= users)
    assert d.requests_per_s * (d.second_token_s + 254 * d.tpot_s) >= users
    assert f"{d.devices} devices carry" in p.why()
    assert p.to_dict()["inputs"]["concurrency"] == users
    with pytest.raises(DoesNotFit, match=r"no two pools of up to 12×h100-sxm carry 100,000 requests/s of llama-3\.1-8b: those of"):
        pools("llama-3.1-8b", "h100", request_rate=1e5, **asked)


@pytest.mark.law
def test_the_limit_on_the_first_token_is_one_on_the_prefill() -> None:
    """A slow link delays the second token alone."""
    limits = {"ttft_s": 0.09, "tpot_s": 0.03}
    near, far = (pools("llama-3.1-8b", "h100", devices=16, network=n, **ASKED, **limits).divisions[0] for n in (NDR, "ethernet-100g"))
    assert (near.ttft_s, near.requests_per_s) == (far.ttft_s, far.requests_per_s)
    assert far.second_token_s > near.second_token_s
    assert far.ttft_s <= 0.09


@pytest.mark.truth
def test_pools_gain_where_a_token_may_not_wait() -> None:
    """The literature's case for disaggregation: at a short TPOT prompts stop undivided decode; without a limit little is gained."""
    tight, loose = (pools("llama-3.1-70b", "h100", devices=16, network=NDR, **ASKED, **limits).divisions[0]
                    for limits in ({"tpot_s": 0.03, "ttft_s": 1.0}, {}))  # fmt: skip
    assert tight.gain is not None
    assert loose.gain is not None
    assert tight.gain > 1.3
    assert loose.gain < 1.15
    assert tight.undivided is not None
    assert tight.undivided.tpot_s > 2 * tight.undivided.decode.step_s


def test_they_say_what_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    p = pools("deepseek-v3", "gb200", devices="1,8,72", price_per_hour=5, **ASKED)
    assert [d.devices for d in p.divisions] == [8, 72]
    text = " ".join(str(p).split())
    assert "over nvl72" in text
    assert "busy" in p.why()
    assert any("no chunked prefill" in a for a in p.assumptions)
    assert any("900 GB/s (nvl72)" in a for a in p.assumptions)
    cost = 5 / 3600 * 72 / (p.divisions[1].requests_per_s * 256) * 1e6
    args = ["plan", "deepseek-v3", "gb200", "--devices", "8,72", "--pools", "--prompt-tokens", "2k", "--output-tokens", "256"]
    main([*args, "--price-per-hour", "5", "--json"])
    document = json.loads(capsys.readouterr().out)
    assert document["kind"] == "pools"
    entry = document["outputs"]["divisions"][1]
    assert entry["cost_per_million"] == pytest.approx(cost)
    assert (entry["link"], entry["prefill"]["requests_per_s"]) == ("nvl72", p.divisions[1].prefill.requests_per_s)
    small = pools("llama-3.1-70b", "h100", devices="2-4", **ASKED)
    assert small.without == (2, 3)
    assert "2, 3 devices: no two pools fit" in str(small)


@pytest.mark.contract
@pytest.mark.parametrize(
    ("asked", "error", "words"),
    [
        ({"devices": 1}, InvalidInput, "devices=1 cannot be divided"),
        ({"devices": 257}, InvalidInput, "devices=257: pools are searched in up to 256"),
        ({"devices": 16}, InvalidPlan, "name the network"),
        ({"devices": 3}, DoesNotFit, "no two pools of llama-3.1-70b fit 3×h100-sxm: one replica takes 2"),
        ({"devices": 2}, DoesNotFit, "no two pools"),
        ({"output_tokens": 1}, InvalidInput, "output_tokens=1 has no meaning"),
        ({"prompt_tokens": 0}, InvalidInput, "prompt_tokens=0"),
        ({"prompt_tokens": [1, 2]}, InvalidInput, "prompt_tokens has 2 values"),
        ({"ttft_s": 1e-4}, DoesNotFit, "keep ttft_s=0.0001: the fastest prefill takes"),
        ({"tpot_s": 1e-4}, DoesNotFit, "keep tpot_s=0.0001"),
        ({"tpot_s": -1}, InvalidInput, "tpot_s=-1"),
        ({"price_per_hour": 0}, InvalidInput, "price_per_hour=0"),
        ({"devices": "x"}, InvalidInput, "devices='x'"),
        ({"request_rate": 1, "concurrency": 1}, InvalidInput, "concurrency and request_rate are both given"),
        ({"request_rate": 0}, InvalidInput, "request_rate=0"),
        ({"concurrency": 0.5}, InvalidInput, "concurrency=0.5"),
        ({"concurrency": 1e6}, DoesNotFit, "carry 1,000,000 users of llama-3.1-70b: those of 8 devices carry"),
    ],
)
def test_what_cannot_be_is_one_line(asked: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error) as refused:
        pools("llama-3.1-70b", "h100", **{"devices": 8, **ASKED, **asked})
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.contract
@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--pools", "--prompt-tokens", "1k"], "--pools needs --prompt and --output"),
        (["--pools", "--prompt", "1k", "--output", "9", "--engine", "vllm"], "--engine is not for --pools"),
        (["--pools", "--ctx", "1k"], "--ctx is not for --pools"),
        (["--ctx", "1k", "--output-tokens", "9"], "--output is of a load or for --pools"),
        ([], "--ctx is missing"),
    ],
)
def test_options_that_do_not_go_together(args: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["plan", "llama-3.1-8b", "h100", "--devices", "2", *args])
    said = capsys.readouterr()
    assert words in said.err
    assert (said.err.count("\n"), said.out) == (1, "")
