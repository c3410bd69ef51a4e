"""Calibrations of the database and those that users fit are one fit: the same rows give both the same figures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sol import Calibration, calibrate
from sol.answers.calibrate.published import EngineRows
from sol.sources.database.measured import MeasuredRow, measured_rows
from tools import derive_engines as script
from tools.engine_fits import TIMES, free_figures, rated
from tools.fitted import measurement


def fit_rows(gpu: str, engine: str) -> tuple[MeasuredRow, ...]:
    return tuple(r for r in measured_rows() if (r.gpu, r.engine, r.split) == (gpu, engine, "fit") and r.phase != "request" and rated(r))


@pytest.mark.law
@pytest.mark.parametrize(("gpu", "engine", "form"), [("h100-sxm", "vllm-0.11", "M2"), ("a100-sxm-80gb", "vllm-0.6", "M1")])
def test_the_database_fits_as_a_user_does(gpu: str, engine: str, form: str) -> None:
    """vLLM on top of known kernels, with nothing that pulls towards what is usual: the same times out of both."""
    rows, base = fit_rows(gpu, engine), script.kernels()[gpu]
    free = {name: usual._replace(spread=1e6) for name, usual in free_figures(rows, base, "graph").items()}
    ours = EngineRows(rows, script.start(gpu, engine, "graph", base), free).fitted()
    users = calibrate([measurement(r) for r in rows], kernels=True)
    assert isinstance(users, Calibration)
    assert users.form == form
    assert ours.step_s.value == pytest.approx(users.step_s.value, rel=1e-5)
    assert ours.sequence_s.value == pytest.approx(users.sequence_s.value, rel=1e-5)


@pytest.mark.law
def test_rates_that_were_simulated_are_found_again() -> None:
    """calm's rows on an RTX 4090, times of a known engine: rates of each format, of experts, and launches of both."""
    rows = fit_rows("rtx-4090", "calm")
    truth = {
        "launch_s": 2e-6, "gemm.bf16:mbu": 0.9, "gemm.e5m2-all:mbu": 0.8, "gemm.gf4:mbu": 0.7,
        "experts.gf4:mbu": 0.6, "experts:launch_s": 2e-5,
    }  # fmt: skip
    free = free_figures(rows, None, "fused")
    assert set(free) == set(truth)
    first = script.start("rtx-4090", "calm", "fused", None)
    asked = EngineRows(rows, first, {name: usual._replace(spread=1e6) for name, usual in free.items()})
    known = script.applied(first, truth)
    made_up = tuple(replace(r, measured_s=r.measured_s * float(np.exp(e))) for r, e in zip(rows, asked.errors(known), strict=True))
    simulated = replace(asked, rows=made_up)
    found = simulated.fitted()
    assert np.abs(simulated.errors(found)).max() < 1e-4
    assert found.launch_s.value == pytest.approx(truth["launch_s"], rel=1e-3)
    for name in ("gemm.bf16", "gemm.e5m2-all", "gemm.gf4"):  # one model has experts: of a rate and a launch it tells only the sum
        assert found.rates[name].mbu.value == pytest.approx(truth[f"{name}:mbu"], rel=1e-3)


@pytest.mark.contract
def test_a_rate_is_not_fitted_on_top_of_known_ones() -> None:
    rows, base = fit_rows("h100-sxm", "vllm")[:3], script.kernels()["h100-sxm"]
    asked = EngineRows(rows, script.start("h100-sxm", "vllm", "graph", base), {"launch_s": TIMES["launch_s"]})
    with pytest.raises(ValueError, match="launch_s cannot be fitted on top of rates that are known"):
        asked.fitted()
