"""Over random measurements: every suspect could be true. Applied, it fits in memory, and the measured time is an ordinary one of it."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sol import SolError
from sol.answers.compare.compare import compare_of
from sol.answers.compare.suspects import Suspect
from sol.answers.floor.floor import floor_of
from sol.answers.question.ask import ask
from sol.sources.database.database import gpu_ids, model_ids
from sol.sources.database.measured import measured_rows

MEASURED_MOST = 0.9172
"""The nearest to light of the database's rows, CALM-0017: a time above 0.92 of its limit is no ordinary one."""


def distance(share: float, too_fast: bool) -> float:
    """How far a share of light is from what runs reach, 0.6 to 0.92 of it (0.3 where the question is what makes a time possible)."""
    over = max(0.0, math.log(share / 0.92)) if share else 0.0
    return over if too_fast else over + (max(0.0, math.log(0.6 / share)) if share else math.inf)


def check(s: Suspect, asked: dict[str, object], measured: float, bound: float, fits: bool | None) -> None:
    """A suspect, applied by its own `change` through the front door, against what it claims."""
    said = f"{s.kind}: {s.title} ({s.evidence})"
    if s.limit_s is None:
        assert fits is False, said  # what was said contradicts itself: nothing can be put in its place
        return
    too_fast = bound / measured > 0.92
    share = s.limit_s / s.read_s
    assert 0.0 <= share <= 1.0 + 1e-9, said
    assert distance(share, too_fast) < distance(bound / measured, too_fast), said
    assert abs(math.log(max(share, 1e-300) / (bound / measured))) > 0.009, said  # it changes the number
    assert s.weight < 0.4 or share <= 0.92, said
    if s.read_s != measured:
        assert s.kind in ("unit", "aggregate", "speculation"), said
    if s.change:
        model, gpu = asked["model"], s.change.get("gpu", asked["gpu"])
        options = {k: v for k, v in asked.items() if k not in ("model", "gpu")} | {k: v for k, v in s.change.items() if k != "gpu"}
        f = floor_of(ask(model, gpu, **options))  # type: ignore[arg-type]
        assert f.fits is not False, said
        assert f.latency_s == pytest.approx(s.limit_s, rel=1e-6), said
    elif s.kind not in ("memory", "offload"):
        assert fits is not False, said


@pytest.mark.law
@pytest.mark.slow
@given(
    model=st.sampled_from(model_ids()), gpu=st.sampled_from(gpu_ids()), batch=st.sampled_from([1.0, 1.0, 2.0, 8.0, 33.0, 256.0]),
    ctx=st.sampled_from([0.0, 100.0, 2048.0, 30_000.0]), dtype=st.sampled_from([None, "fp8", "w4a16", "nvfp4", "q4_k_m"]),
    tp=st.sampled_from([1, 1, 2, 8]), phase=st.sampled_from(["decode", "decode", "prefill"]), ratio=st.floats(-2.0, 4.0),
    told=st.sampled_from(["time", "rate", "rate/user"]),
)  # fmt: skip
@settings(max_examples=1000, derandomize=True, deadline=None)
def test_every_suspect_could_be_true(model, gpu, batch, ctx, dtype, tp, phase, ratio, told) -> None:
    if phase == "prefill":
        ctx = max(ctx, 100.0)
    asked = {"model": model, "gpu": gpu, "batch": batch, "ctx": ctx, "dtype": dtype, "tp": tp, "phase": phase}
    try:
        q = ask(**asked)
    except SolError:
        assume(False)
    f = floor_of(q)
    measured = f.latency_s * 10.0**ratio
    assume(measured > 1e-12)
    c = compare_of(q, measured, told=told)
    if c.usual or 0.6 <= c.fraction <= 0.92:
        assert all(s.kind in ("memory", "offload") for s in c.suspects)
    for s in c.suspects:
        check(s, asked, measured, f.latency_s, f.fits)


@pytest.mark.truth
@pytest.mark.slow
def test_no_published_step_is_nearer_to_light_than_what_is_called_ordinary() -> None:
    rows = [r for r in measured_rows() if r.phase == "decode" and r.id.startswith(("CALM", "LCPP"))]
    shares = []
    for r in rows:
        q = ask(r.model, r.gpu, ctx=r.ctx, batch=r.batch, dtype=r.dtype, kv_dtype=r.kv_dtype, tp=r.tp, pp=r.pp, ep=r.ep, dp=r.dp)
        shares.append(floor_of(q).latency_s / r.measured_s)
    assert max(shares) == pytest.approx(MEASURED_MOST, abs=5e-4)
