"""The report's chapter of servers: no figure beyond its bound, no error above the committed one, and runs laid out step by step."""

from __future__ import annotations

import json
import math
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from sol import load_model, replay
from sol.answers.serve.server import resolve_server
from sol.sources.database.serving import serving_rows
from tools import servers, source_out
from tools.offline import Limits, captured, schedule, seconds, trtllm_bench_limits
from tools.servers_text import REASONS, TARGETS
from tools.serving_accuracy import HIGHER_IS_BETTER, Scored

ROOT = Path(__file__).parents[3]
SLACK = 5e-3
"""What a median may move by: the share of one row among the fewest [1]."""


@lru_cache(maxsize=1)
def baseline() -> dict:
    return json.loads((ROOT / "tests" / "fixtures" / "accuracy.json").read_text(encoding="utf-8"))


@lru_cache(maxsize=1)
def rows() -> list[Scored]:
    return servers.everything()


@pytest.mark.slow
@pytest.mark.truth
def test_no_published_server_is_better_than_its_bound() -> None:
    """With the fewest experts, and with prompts that are cached where the source leaves it open."""
    found = [s for s in rows() if s.predicted is not None and s.predicted.bound is not None]
    assert len(found) >= 4_600
    for s in found:
        assert s.predicted is not None
        assert s.predicted.bound is not None
        if s.row.metric in HIGHER_IS_BETTER:
            assert s.row.value <= s.predicted.bound, s.row.id
        else:
            assert s.row.value >= s.predicted.bound, s.row.id


@pytest.mark.slow
@pytest.mark.truth
def test_no_median_of_servers_is_above_the_committed_one() -> None:
    """A ratchet: better figures are committed by `python -m tools.accuracy`, worse ones fail here."""
    now, then = servers.figures(rows()), baseline()["servers"]
    assert now["rows"] == then["rows"] == len(serving_rows())
    assert now["beyond"] == then["beyond"] == 0
    for name, halves in {**then["targets"], **then["metrics"]}.items():
        for split, was in halves.items():
            of = {**now["targets"], **now["metrics"]}[name][split]
            assert (of["n"], of["none"]) == (was["n"], was["none"]), (name, split)
            assert was["n"] == 0 or of["median_error"] <= was["median_error"] + SLACK, (name, split)
    for name, errors in then["runs"].items():
        for metric, error in errors.items():
            assert abs(now["runs"][name][metric]) <= abs(error) + SLACK, (name, metric)


@pytest.mark.slow
@pytest.mark.truth
def test_a_source_left_out_is_as_far_off_as_the_page_says() -> None:
    then = next(g for g in baseline()["source_out"] if (g.get("gpu"), g.get("source")) == ("mi300x", "rocm-vllm-0.8.5"))
    now = source_out.left_out(("mi300x", "vllm"), source_out.groups()["mi300x", "vllm"], "rocm-vllm-0.8.5")
    assert now is not None
    assert now["median_error"] == pytest.approx(then["median_error"], abs=2e-3)
    assert now["held"] >= 0.9


@pytest.mark.contract
def test_every_row_counts_once_or_is_listed_apart() -> None:
    kinds = {servers.kind(r) for r in serving_rows() if not servers.apart(r)}
    assert {k.split()[0] for k in kinds} == set(servers.BY) == set(servers.TITLES)
    kept = baseline()["servers"]
    for why, halves in kept["apart"].items():
        assert sum(f["n"] + f["none"] for f in halves.values()) == sum(servers.apart(r) == why for r in serving_rows()), why
    counted = sum(f["n"] + f["none"] for halves in kept["metrics"].values() for f in halves.values())
    assert counted + sum(f["n"] + f["none"] for halves in kept["apart"].values() for f in halves.values()) == len(serving_rows())
    assert {t.name for t in TARGETS} | set(servers.RUNS) <= set(REASONS)


@pytest.mark.contract
def test_a_target_is_missed_where_its_figures_are_above_it() -> None:
    kept = baseline()["servers"]
    for t in TARGETS:
        f = kept["targets"][t.name]["holdout"]
        (line,) = (x for x in servers.target_lines(kept, {}) if x.cells[0] == t.name)
        bad = f["median_error"] > t.median or (t.p90 is not None and f["p90_error"] > t.p90)
        assert (line.cells[-1] == "missed") is bad is bool(line.why), t.name


WHOLE, CUT, ALONE = (
    Limits(slots=24, budget=2048, chunked=False, mixed=True), Limits(slots=24, budget=2048, chunked=True, mixed=True),
    Limits(slots=24, budget=2048, chunked=False, mixed=False),
)  # fmt: skip


@pytest.mark.law
@pytest.mark.parametrize("limits", [WHOLE, CUT, ALONE], ids=["whole prompts", "cut prompts", "prompts alone"])
@pytest.mark.parametrize(("requests", "prompt", "output"), [(100, 500, 64), (10, 3000, 8), (24, 100, 300), (1, 2048, 2), (50, 700, 1)])
def test_a_run_conserves_tokens_and_keeps_its_limits(limits: Limits, requests: int, prompt: int, output: int) -> None:
    steps = schedule(requests, prompt, output, limits)
    assert sum(s.times * s.decoding for s in steps) == requests * (output - 1)
    assert sum(s.times * s.prompts * s.chunk for s in steps) == requests * prompt
    assert max(s.decoding for s in steps) <= limits.slots
    for s in steps:
        tokens = s.decoding + s.prompts * s.chunk
        assert tokens <= limits.budget or (not limits.chunked and s.decoding == 0), s  # a longer prompt has its step to itself
        assert limits.mixed or not (s.decoding and s.prompts)
    decoded = sum(s.times * s.decoding * s.ctx for s in steps)
    assert decoded == pytest.approx(requests * sum(prompt + i for i in range(output - 1)))


@pytest.mark.law
def test_a_run_takes_as_long_as_its_replay() -> None:
    """The same run request by request, through the engine's scheduler: an independent count of its steps."""
    asked = {"max_batch": 32, "max_batch_tokens": 4096}
    run = {"arrival_s": np.zeros(200), "prompt_tokens": 1000, "output_tokens": 200}
    slow = replay(run, "llama-3.1-8b", "h100", engine="vllm", kv_tokens=400_000, **asked)
    server = resolve_server("llama-3.1-8b", "h100", prompt_tokens=1000, output_tokens=200, engine="vllm", options={}, **asked)
    steps = schedule(200, 1000, 200, Limits(slots=32, budget=4096, chunked=True, mixed=True))
    assert seconds(server, steps) == pytest.approx(slow.makespan_s, rel=0.015)


@pytest.mark.law
def test_graphs_pad_decoding_and_only_decoding() -> None:
    assert [captured(n, (1, 2, 4, 256, 384)) for n in (1, 3, 257, 384, 385)] == [1, 4, 384, 384, 385]
    server = resolve_server("llama-3.1-8b", "h100", prompt_tokens=128, output_tokens=128, engine="tensorrt-llm", options={})
    bare = Limits(slots=300, budget=8192, chunked=False, mixed=True)
    steps = schedule(300, 128, 128, bare)
    exact, padded, more = seconds(server, steps), seconds(server, steps, (384,)), seconds(server, steps, (512,))
    assert exact <= padded <= more
    assert exact < more
    prompts = [s for s in steps if s.prompts]
    assert seconds(server, prompts, (512,)) == seconds(server, prompts)


@pytest.mark.law
def test_limits_of_trtllm_bench_by_hand() -> None:
    """Llama 3.3 70B in FP8 on two devices of 80 GiB: 80 layers, 8 heads of 128, one byte a number in weights and cache.

    (160 GiB − 65.7 GiB)·0.95 are 5.87e5 tokens of 163,840 B: 293 requests of 2,000 tokens, so 384 sequences; 587 tokens a step, so
    the least, 2,048. Prompts of 20,000 tokens are not cut: 20,000 and 64 sequences.
    """
    model, gib = load_model("llama-3.3-70b"), 2.0**30
    requests = (160 * gib - 70.55e9) * 0.95 / 163_840 / 2000
    assert 256 < requests < 384
    assert trtllm_bench_limits(model, 1.0, 1.0, 80 * gib, tp=2, pp=1, dp=1, prompt=1000, output=1000) == (384, 2048)
    assert trtllm_bench_limits(model, 1.0, 1.0, 80 * gib, tp=2, pp=1, dp=1, prompt=20_000, output=2000) == (64, 20_064)
    batch, tokens = trtllm_bench_limits(model, 1.0, 1.0, 80 * gib, tp=2, pp=1, dp=1, prompt=2048, output=128)
    held = requests * 2000 / 2176
    assert (batch, tokens) == (384, 512 * math.ceil(held * 17 / 512))
