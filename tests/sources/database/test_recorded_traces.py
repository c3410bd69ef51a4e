"""The recorded runs of servers: whole, in order, and with the means and percentiles that their source prints of them."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

TRACES = Path(__file__).parents[2] / "fixtures" / "traces"
COLUMNS = ("arrival_s", "queued_s", "prompt_tokens", "shared_prefix_tokens", "output_tokens", "first_token_s", "last_token_s")
PRINTED = {
    "rtx-4090_llama-3.1-8b": (65456.6, 60110.9, 137356.3, 32.4, 56.0, 86578.3, 153627.5),
    "rtx-pro-6000-server_llama-3.1-8b": (7097.2, 9442.7, 19755.3, 32.5, 37.3, 28200.7, 37638.8),
    "rtx-pro-6000-server_tp2_qwen3-32b": (36905.2, 40701.8, 93347.1, 80.3, 97.1, 90408.1, 126337.0),
}
"""Each validation/summary.txt [ms]: time to first token (mean, median, P99), per output token (mean, P99), latency (mean, P99)."""
SEQUENCES = {"rtx-4090_llama-3.1-8b": 256, "rtx-pro-6000-server_llama-3.1-8b": 128, "rtx-pro-6000-server_tp2_qwen3-32b": 128}


def trace(name: str) -> dict[str, np.ndarray]:
    with (TRACES / f"{name}.csv").open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    return {column: np.array([float(r[column]) for r in rows]) for column in COLUMNS}


def test_every_trace_is_described() -> None:
    assert {p.stem for p in TRACES.glob("*.csv")} == set(PRINTED)
    readme = (TRACES / "README.md").read_text(encoding="utf-8")
    assert all(name in readme for name in PRINTED)


@pytest.mark.parametrize("name", PRINTED)
def test_a_trace_has_the_figures_that_its_source_prints(name: str) -> None:
    t = trace(name)
    first, total = t["first_token_s"] - t["queued_s"], t["last_token_s"] - t["queued_s"]
    gap = (t["last_token_s"] - t["first_token_s"]) / (t["output_tokens"] - 1)
    last_of_a_hundred = [np.percentile(times, 99) for times in (first, gap, total)]
    means = first.mean(), gap.mean(), total.mean()
    found = (means[0], np.median(first), last_of_a_hundred[0], means[1], last_of_a_hundred[1], means[2], last_of_a_hundred[2])
    assert [round(1e3 * float(f), 1) for f in found] == pytest.approx(PRINTED[name], abs=0.11)


@pytest.mark.parametrize("name", PRINTED)
def test_a_trace_keeps_the_laws_of_a_queue(name: str) -> None:
    """300 requests; first come, first served; no more decode together than the engine allows; hits in full blocks of 16."""
    t = trace(name)
    assert len(t["arrival_s"]) == 300
    for column in ("arrival_s", "queued_s", "first_token_s"):
        assert np.all(np.diff(t[column]) >= 0)
    assert np.all(t["queued_s"] < t["first_token_s"])
    assert np.all(t["first_token_s"] < t["last_token_s"])
    running = [np.sum((t["first_token_s"] <= at) & (at < t["last_token_s"])) for at in t["first_token_s"]]
    assert max(running) <= SEQUENCES[name]
    assert np.all(t["shared_prefix_tokens"] % 16 == 0)
    assert np.all(t["shared_prefix_tokens"] < t["prompt_tokens"])


@pytest.mark.parametrize(("name", "share"), [("rtx-4090_llama-3.1-8b", 0.0759), ("rtx-pro-6000-server_tp2_qwen3-32b", 0.0790)])
def test_the_readme_says_how_much_is_shared(name: str, share: float) -> None:
    t = trace(name)
    assert t["shared_prefix_tokens"].sum() / t["prompt_tokens"].sum() == pytest.approx(share, abs=5e-5)
    assert np.count_nonzero(t["shared_prefix_tokens"]) == 32
