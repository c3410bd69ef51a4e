"""The table of step times: steps of decodes, of prompts and of both are the estimate's and the floor's own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sol import Calibration, estimate, floor, load_gpu
from sol.answers.estimate.estimate import estimate_of, resolve_calibration
from sol.answers.floor.floor import floor_of
from sol.answers.question.ask import Question, ask
from sol.physics.serving.attention import QUANTITIES
from sol.physics.serving.table import EXACT, StepTable, grid
from sol.sources.database.libraries import library_for

KINDS = {
    "llama-3.1-8b": {}, "gemma-3-27b": {"tp": 2}, "deepseek-v3": {"tp": 8}, "qwen3-30b-a3b": {}, "qwen3-next-80b-a3b": {"tp": 4},
    "llama-4-scout": {"tp": 4}, "gpt-oss-120b": {"tp": 2}, "llama-3.1-70b": {"tp": 2, "pp": 2}, "falcon-mamba-7b": {},
}  # fmt: skip
"""Dense, windows, latent attention, experts, states beside attention, chunked attention, sinks, a pipeline, states alone."""


def asked(model: str, on: str, **split: Any) -> tuple[Question, Calibration | None, StepTable]:
    used = resolve_calibration(load_gpu("h200-sxm"), "graph", None) if on == "estimate" else None
    q = ask(model, "h200-sxm", ctx=1, fusion="ideal" if used is None else used.fusion, **split)
    return q, used, StepTable(q.model, q.storage, q.routing, q.fusion, q.split, q.rates, used, 16_384, 512, 12_000)


def exact(q: Question, used: Calibration | None, groups: list[tuple[float, float, float]]) -> float:
    """The same step by the estimate or the floor themselves, group by group."""
    split = {name: n for name, n in q.split._asdict().items() if n > 1}
    of = ask(q.model, q.gpu, groups=groups, fusion=q.fusion, **split)
    return float(floor_of(of).latency_s if used is None else estimate_of(of, used).latency_s)


@pytest.mark.truth
@pytest.mark.parametrize("on", ["estimate", "floor"])
@pytest.mark.parametrize("model", KINDS)
def test_steps_of_one_kind_are_the_estimate_itself(model: str, on: str) -> None:
    split = KINDS[model]
    _, used, table = asked(model, on, **split)
    exactly = 1e-12 if split.get("pp", 1) == 1 else 1e-3  # the floor of a pipeline divides sequences evenly, of one prompt as well
    for sequences, past in ((1, 1), (7, 500), (64, 3000), (500, 100)):
        work = table.attention.decodes(np.full(sequences, past), 3)
        seconds = table.seconds(sequences, sequences, sequences, [work])
        for j in (0, 2):
            of: dict[str, Any] = {"ctx": past + j, "batch": sequences} | split
            found = floor(model, "h200-sxm", **of) if used is None else estimate(model, "h200-sxm", calibration=used, **of)
            assert np.broadcast_to(seconds, 3)[j] == pytest.approx(found.latency_s, rel=exactly)
    for new, past in ((100, 0), (EXACT, 0), (1000, 4096)):
        of = {"ctx": new + past, "cached_tokens": past, "phase": "prefill"} | split
        found = floor(model, "h200-sxm", **of) if used is None else estimate(model, "h200-sxm", calibration=used, **of)
        seconds = table.seconds(new, 1, 1, [table.attention.chunk(new, past)])
        assert seconds == pytest.approx(found.latency_s, rel=exactly)


@pytest.mark.truth
@pytest.mark.parametrize("on", ["estimate", "floor"])
@pytest.mark.parametrize("model", KINDS)
def test_mixed_steps_are_within_a_percent_at_random_and_exact_with_one_prompt(model: str, on: str) -> None:
    q, used, table = asked(model, on, **KINDS[model])
    rng = np.random.default_rng(7)
    for _ in range(12):
        decodes, past = int(rng.integers(1, 400)), int(rng.integers(1, 6000))
        new, before = int(rng.integers(2, 4000)), int(rng.integers(0, 4000))
        one = [table.attention.decodes(np.full(decodes, past), 1), table.attention.chunk(new, before)]
        seconds = table.seconds(decodes + new, decodes + 1, decodes + 1, one)
        whole = exact(q, used, [(decodes, 1, past), (1, new, before)])
        on_grid = decodes + new <= EXACT
        assert seconds == pytest.approx(whole, rel=1e-9 if on_grid and "pp" not in KINDS[model] else 1e-2)
        two = [one[0], one[1].plus(table.attention.chunk(new, before))]  # prompts share their kernels, as two of one group do
        seconds = table.seconds(decodes + 2 * new, decodes + 2, decodes + 2, two)
        assert seconds == pytest.approx(exact(q, used, [(decodes, 1, past), (2, new, before)]), rel=1e-2)


@pytest.mark.truth
def test_copies_of_attention_and_their_experts() -> None:
    """Eight copies with experts between them: decodes are exact, and mixed steps within a percent."""
    split = {"tp": 2, "dp": 8, "ep": 16, "network": "infiniband-ndr"}
    q, used, table = asked("deepseek-v3", "estimate", **split)
    seconds = table.seconds(64, 64, 64, [table.attention.decodes(np.full(64, 2000), 1)])
    assert seconds == pytest.approx(estimate("deepseek-v3", "h200-sxm", ctx=2000, batch=64, calibration=used, **split).latency_s, rel=1e-12)
    works = [table.attention.decodes(np.full(128, 1500), 1), table.attention.chunk(2048, 0)]
    of = ask(q.model, q.gpu, groups=[(128, 1, 1500), (1, 2048, 0)], fusion=q.fusion, **split)
    assert used is not None
    assert table.seconds(2176, 129, 129, works) == pytest.approx(float(estimate_of(of, used).latency_s), rel=1e-2)


@pytest.mark.truth
def test_collectives_run_as_the_engines_library_does() -> None:
    """vLLM on two H100s: the all-reduces of its library, not the fastest there are."""
    used = resolve_calibration(load_gpu("h100-sxm"), "vllm", None)
    q = ask("llama-3.1-8b", "h100-sxm", ctx=1, fusion=used.fusion, tp=2)
    found = []
    for library in (library_for(used), None):
        table = StepTable(q.model, q.storage, q.routing, q.fusion, q.split, q.rates, used, 4096, 64, 4096, library=library)
        found.append(float(table.seconds(64, 64, 64, [table.attention.decodes(np.full(64, 1000), 1)])))
    assert found[0] == pytest.approx(estimate("llama-3.1-8b", "h100-sxm", ctx=1000, batch=64, tp=2, engine="vllm").latency_s, rel=1e-12)
    assert found[1] < found[0]


@pytest.mark.law
def test_lengths_of_a_batch_add_up() -> None:
    """The attention of unlike sequences is the sum of each alone, whether their tables are lines or not."""
    for model in ("llama-3.1-8b", "gemma-3-27b"):
        _, _, table = asked(model, "floor", **KINDS[model])
        past = np.array([1, 40, 1023, 1024, 1025, 5000])
        together = table.attention.decodes(past, 4)
        for j in range(4):
            alone = [table.attention.decodes(past[i : i + 1] + j, 1) for i in range(past.size)]
            for name in QUANTITIES:
                sums = [sum(row) for row in zip(*(getattr(work, name) for work in alone), strict=True)]
                found = [np.broadcast_to(row, 4)[j] for row in getattr(together, name)]
                assert found == pytest.approx(sums, rel=1e-12)


@pytest.mark.law
@pytest.mark.parametrize("most", [1, 17, EXACT, EXACT + 1, 100_000])
def test_the_grid_holds_every_small_number_and_ends_where_it_is_told(most: int) -> None:
    points = grid(most)
    assert points[0] == 1.0
    assert points[-1] == most
    assert (np.diff(points) >= 1.0).all()
    assert points[:EXACT].tolist() == list(range(1, min(most, EXACT) + 1))
    assert (points[1:] / points[:-1])[EXACT:].max(initial=1.0) <= 1.02


@pytest.mark.law
def test_a_step_of_the_floor_is_never_longer_than_the_estimate() -> None:
    q, _, table = asked("qwen3-30b-a3b", "estimate")
    bound = StepTable(q.model, q.storage, q.routing, "ideal", q.split, replace(q.rates), None, 16_384, 512, 12_000)
    for decodes, new in ((0, 100), (10, 0), (200, 2000), (500, 7000)):

        def seconds(t: StepTable, decodes: int = decodes, new: int = new) -> float:
            works = [t.attention.decodes(np.full(decodes, 900), 1)] if decodes else []
            works += [t.attention.chunk(new, 0)] if new else []
            return float(t.seconds(decodes + new, decodes + (new > 0), decodes + (new > 0), works))

        assert seconds(bound) <= seconds(table)
