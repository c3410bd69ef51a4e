"""The best kernels measured: published rates by hand, and never above the peak."""

from __future__ import annotations

import pytest

from sol import floor
from sol.answers.floor.best_measured import best_measured
from sol.sources.database.database import gpu_ids
from sol.sources.database.kernels import best_reached


@pytest.mark.truth
def test_a_step_at_the_best_rates_by_hand() -> None:
    """gpu-benches reads 679 GB/s of an A40's 695.8; aiconfigurator's H100 tables hold what its matrices reach."""
    f = floor("llama-3.1-8b", "a40", ctx=100)
    best = best_measured(f)
    assert best is not None
    assert best.read.share == pytest.approx(679 / 695.8, rel=1e-3)
    assert best.read.source.startswith("te42kyfo/gpu-benches")
    assert best.seconds == pytest.approx(f.memory_s / (679 / 695.8), rel=1e-3)
    prompt = best_measured(floor("llama-3.1-8b", "h100", ctx=4096, phase="prefill", dtype="fp8"))
    assert prompt is not None
    assert 0.6 < prompt.compute["fp8"].share < prompt.compute["bf16"].share < 1.0
    assert "no bound" in floor("llama-3.1-8b", "a40", ctx=100).to_text()


@pytest.mark.law
def test_nobody_measured_more_than_a_peak_and_a_bound_is_never_above_it() -> None:
    seen = 0
    for gpu in gpu_ids():
        assert all(0.0 < best.share <= 1.0 and best.source for best in best_reached(gpu).values())
        f = floor("llama-3.2-1b", gpu, ctx=[100])[0]
        best = best_measured(f)
        if best is not None:
            seen += 1
            assert best.seconds >= f.latency_s
            assert f.to_dict()["outputs"]["best_measured_s"] == best.seconds
        else:
            assert "best_measured_s" not in f.to_dict()["outputs"]
    assert seen >= 15
    assert best_reached("groq-lpu") == {}
