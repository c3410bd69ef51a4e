"""The solver: known minima, bounds, weights as repeated rows, and few evaluations; and the quantiles that intervals use."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sol.physics.fit import fit, least_squares
from sol.physics.fit.fit import Form, fitted, fitted_each, left_out, misfit
from sol.physics.fit.form_selection import best_fit
from sol.physics.fit.least_squares import minimized
from sol.physics.fit.loads import HOST, INV_MBU, INV_MFU, LAUNCH, PER_SEQUENCE, STEP, Loads, seconds
from sol.physics.fit.student import normal_below, t_95

FREE = np.array([-np.inf, -np.inf])


def rosenbrock(x: np.ndarray, _which: object) -> tuple[np.ndarray, np.ndarray]:
    """10·(y − x²) and 1 − x: the least is at (1, 1), along a bent valley."""
    e = np.stack([10.0 * (x[:, 1] - x[:, 0] ** 2), 1.0 - x[:, 0]], axis=1)
    none = np.zeros(len(x))
    return e, np.stack([np.stack([-20.0 * x[:, 0], none - 1.0], 1), np.stack([none + 10.0, none], 1)], axis=1)


def steps(n: int = 60, models: int = 6, seed: int = 0) -> Loads:
    """Steps of models whose operators bytes bind, or FLOPs."""
    draw = np.random.default_rng(seed)
    model = np.arange(n) % models
    moved = 10 ** draw.uniform(-4, -2, (n, 8))
    layers = draw.integers(16, 90, models)[model] * 1.0
    return Loads(
        np.ones(n), moved, moved * 10 ** draw.uniform(-2, 1.5, (n, 8)), np.zeros(n), layers * draw.integers(8, 16, models)[model], layers,
        2.0 ** draw.integers(0, 8, n), model,
    )  # fmt: skip


@pytest.mark.truth
def test_the_least_of_a_bent_valley_is_found_from_many_starts_at_once() -> None:
    starts = np.array([[-1.2, 1.0], [3.0, -4.0], [0.0, 0.0]])
    found = minimized(rosenbrock, starts, FREE, -FREE, 1e6)
    np.testing.assert_allclose(found.x, 1.0, rtol=1e-6)
    held = minimized(rosenbrock, starts, FREE, np.array([0.5, np.inf]), 1e6)
    np.testing.assert_allclose(held.x, np.tile([0.5, 0.25], (3, 1)), rtol=1e-6)


@pytest.mark.truth
def test_errors_beyond_the_soft_size_pull_in_proportion_only() -> None:
    """Of 1, 2 and 100 the least of Σ|e| is the median; of Σe² the mean."""
    at = np.array([1.0, 2.0, 100.0])

    def errors(x: np.ndarray, _which: object) -> tuple[np.ndarray, np.ndarray]:
        return x - at, np.ones((len(x), 1, 3))

    start, none = np.array([[50.0]]), np.array([-np.inf])
    assert minimized(errors, start, none, -none, 1e-4).x[0, 0] == pytest.approx(2.0, abs=1e-3)
    assert minimized(errors, start, none, -none, 1e6).x[0, 0] == pytest.approx(at.mean(), rel=1e-6)
    once = minimized(errors, start, none, -none, 1e6, np.array([[0.0, 1.0, 3.0]]))
    assert once.x[0, 0] == pytest.approx((2.0 + 300.0) / 4, rel=1e-6)


@pytest.mark.law
def test_a_weight_is_a_number_of_rows() -> None:
    loads, form = steps(), Form("M2", (INV_MBU, INV_MFU, STEP, PER_SEQUENCE), False)
    draw = np.random.default_rng(1)
    truth = np.array([1.25, 1.6, 0.0, 0.0, 1e-3, 3e-5])
    loads = replace(loads, measured_s=seconds(loads, truth) * np.exp(draw.normal(0.0, 0.1, 60)))
    counts = draw.integers(0, 4, (3, 60)) * 1.0
    found = fitted_each(loads, form, truth, counts)
    for count, theta in zip(counts, found, strict=True):
        again = fitted(loads.take(np.repeat(np.arange(60), count.astype(int))), form, truth)
        np.testing.assert_allclose(theta, again, rtol=1e-4)
    without, errors = left_out(loads, form, loads.model, truth)
    for m, theta in enumerate(without):
        np.testing.assert_allclose(theta, fitted(loads.take(loads.model != m), form, truth), rtol=1e-4)
    assert np.isfinite(errors).all()


@pytest.mark.law
def test_no_figures_near_a_fit_fit_better() -> None:
    """Of many forms and noises: a fit is not beaten by any of 200 neighbours, nor by the truth."""
    draw = np.random.default_rng(5)
    truth = np.array([1.25, 1.6, 4e-6, 2e-4, 1e-3, 3e-5])
    for seed, free in enumerate(
        [(INV_MBU, STEP), (INV_MBU, INV_MFU, LAUNCH), (INV_MBU, INV_MFU, LAUNCH, STEP, PER_SEQUENCE), (HOST, STEP)]
    ):
        loads, form = steps(seed=seed), Form("M2", free, False, tuple(truth))
        loads = replace(loads, measured_s=seconds(loads, truth) * np.exp(draw.normal(0.0, 0.1, 60)))
        theta = fitted(loads, form)
        least = float(misfit(loads, theta))
        near = np.tile(theta, (200, 1))
        near[:, list(free)] *= 1.0 + 0.03 * draw.standard_normal((200, len(free)))
        near = np.maximum(near, fit.LEAST)
        assert (misfit(loads, near) >= least * (1 - 1e-9)).all()
        assert least <= float(misfit(loads, truth)) * (1 + 1e-9)


@pytest.mark.law
def test_a_fit_takes_few_evaluations_whatever_the_number_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every start converges in a few steps, and all models left out, or resampled, are one problem after another in the same arrays."""
    calls: list[int] = []
    inner = least_squares._costs

    def counted(*given: object) -> object:
        calls.append(1)
        return inner(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(least_squares, "_costs", counted)
    truth = np.array([1.25, 1.6, 4e-6, 0.0, 1e-3, 3e-5])
    for n, models in ((60, 6), (240, 24)):
        loads = steps(n, models)
        noisy = replace(loads, measured_s=seconds(loads, truth) * np.exp(np.random.default_rng(2).normal(0.0, 0.05, n)))
        calls.clear()
        assert best_fit(noisy).interval is not None
        assert len(calls) < 2500


@pytest.mark.truth
@pytest.mark.parametrize(("freedom", "t"), [(1, 12.706), (2, 4.303), (5, 2.571), (10, 2.228), (30, 2.042), (120, 1.980), (1e7, 1.960)])
def test_students_t_is_the_table(freedom: float, t: float) -> None:
    assert t_95(float(freedom)) == pytest.approx(t, abs=6e-4)


@pytest.mark.truth
def test_the_normal_distribution_is_the_table() -> None:
    assert [round(normal_below(z), 4) for z in (-1.96, 0.0, 1.0)] == [0.025, 0.5, 0.8413]
