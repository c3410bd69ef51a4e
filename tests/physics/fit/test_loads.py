"""Rows of several steps whose operators have rates of their own: sums, slopes, what is usual, and how far models left out lie."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sol.physics.fit.fit import SOFT, Form, Usual, all_figures, fitted
from sol.physics.fit.fit_intervals import within_95_of_rows
from sol.physics.fit.loads import FIGURES, HOST, INV_MBU, INV_MFU, LAUNCH, PER_SEQUENCE, STEP, Loads, host_bound, seconds, slopes

A_MBU, A_MFU, B_MBU, B_LAUNCH, MEAN = range(FIGURES, FIGURES + 5)
TIMES = (0.0, 0.0, 2e-6, 1e-4, 1e-3, 2e-5)


def rows(n: int = 30, seed: int = 0) -> Loads:
    """Rows of one to three steps; operators of format a, of format b, of a third that takes their mean, and launches of b's own."""
    draw = np.random.default_rng(seed)
    row = np.repeat(np.arange(n), draw.integers(1, 4, n))
    m = len(row)
    moved, peak = draw.uniform(1e-3, 9e-3, (m, 4)), draw.uniform(1e-3, 9e-3, (m, 4))
    moved[:, 3], peak[:, 3] = draw.integers(1, 99, m), 0.0
    moved[::4, 2] = peak[::4, 2] = 0.0
    return Loads(
        measured_s=np.ones(n), moved_s=moved, peak_s=peak, wire_s=draw.uniform(0.0, 1e-3, m), kernels=draw.integers(50, 500, m) * 1.0,
        layers=draw.integers(16, 400, m) * 1.0, sequences=draw.integers(1, 64, m) * 1.0, model=np.arange(n) % 5,
        mbu_of=np.tile([A_MBU, B_MBU, MEAN, B_LAUNCH], (m, 1)), mfu_of=np.tile([A_MFU, INV_MFU, A_MFU, INV_MFU], (m, 1)), row=row,
        times=draw.uniform(1.0, 100.0, m),
    )  # fmt: skip


def figures() -> np.ndarray:
    """1/mbu of a and b, 1/mfu of a, seconds of b's launches, and the mean of both 1/mbu."""
    theta = np.array([1.0, 1.3, *TIMES[2:], 1.25, 2.0, 1.8, 9e-6, 0.0])
    theta[MEAN] = np.sqrt(theta[A_MBU] * theta[B_MBU])
    return theta


@pytest.mark.law
def test_a_row_is_the_sum_of_its_steps_at_the_rates_of_their_operators() -> None:
    loads, theta = rows(), figures()
    by_hand = np.zeros(len(loads.measured_s))
    for i, r in enumerate(loads.row):
        operators = zip(theta[loads.mbu_of[i]], theta[loads.mfu_of[i]], loads.moved_s[i], loads.peak_s[i], strict=True)
        of = [max(u * moved, v * peak) for u, v, moved, peak in operators]
        busy = sum(of) + loads.wire_s[i] + theta[LAUNCH] * loads.kernels[i]
        step = max(busy, theta[HOST] * loads.layers[i]) + theta[STEP] + theta[PER_SEQUENCE] * loads.sequences[i]
        by_hand[r] += loads.times[i] * step
    np.testing.assert_allclose(seconds(loads, theta), by_hand, rtol=1e-12)


@pytest.mark.law
def test_some_of_the_rows_bring_their_steps() -> None:
    loads, theta = rows(), figures()
    for some in (np.arange(30) % 3 == 1, np.array([7, 2, 2, 29])):
        np.testing.assert_array_equal(seconds(loads.take(some), theta), seconds(loads, theta)[some])


@pytest.mark.law
def test_slopes_are_differences() -> None:
    loads, theta = rows(), figures()
    waits = host_bound(loads, theta)
    assert waits.any()
    assert not waits.all()
    found = slopes(loads, theta)
    for i in range(len(theta)):
        by = np.zeros(len(theta))
        by[i] = 1e-6 * max(theta[i], 1e-9)
        difference = (seconds(loads, theta + by) - seconds(loads, theta - by)) / (2 * by[i])
        np.testing.assert_allclose(found[:, i], difference, rtol=1e-4, atol=1e-6 * np.abs(difference).max())


@pytest.mark.law
def test_rates_of_formats_come_out_as_they_were_put_in() -> None:
    loads, right = rows(60), figures()
    free = (A_MBU, A_MFU, B_MBU, B_LAUNCH, STEP)
    away = Usual(1.5, 1e6, 1.0, 50.0)
    usual = (away, away, away, Usual(1e-6, 1e6, 1e-9, 1.0), Usual(1e-4, 1e6, 1e-9, 1.0))
    form = Form("given", free, False, tuple(np.where(np.isin(np.arange(len(right)), free), 1.0, right)), usual, ((MEAN, (A_MBU, B_MBU)),))
    np.testing.assert_allclose(fitted(replace(loads, measured_s=seconds(loads, right)), form), right, rtol=1e-5)
    assert all_figures(form, right[list(free)])[MEAN] == pytest.approx(right[MEAN], rel=1e-12)


@pytest.mark.truth
def test_a_usual_value_counts_as_a_row() -> None:
    """One row says 4 ms, what is usual is 1 ms: of equal weight they meet at the geometric mean, and a row against nothing has its way."""
    none = np.zeros((1, 1))
    loads = Loads(np.array([4e-3]), none, none, none[0], none[0], none[0] + 1, none[0], np.zeros(1))

    def step_s(spread: float) -> float:
        return float(fitted(loads, Form("given", (STEP,), False, usual=(Usual(1e-3, spread, 1e-9, 1.0),)))[STEP])

    assert step_s(SOFT) == pytest.approx(2e-3, rel=1e-6)
    assert step_s(1e6) == pytest.approx(4e-3, rel=1e-6)
    assert step_s(1e-6) == pytest.approx(1e-3, rel=1e-4)
    assert Usual(0.5, 0.3, 0.02, 0.8).inverse == (2.0, 0.3, 1.25, 50.0)
    rate = Form("given", (INV_MBU,), False, (1.0, 1.0, 0.0, 0.0, 4e-3, 0.0), (Usual(0.75, 0.3, 0.02, 1.0).inverse,))
    assert fitted(loads, rate)[INV_MBU] == pytest.approx(1 / 0.75)  # a row without bytes tells no bandwidth


@pytest.mark.truth
def test_how_far_models_left_out_lie() -> None:
    """Student's t of two models is 4.303 at 95 %; the model with more rows weighs as much as the other."""
    off = [np.array([0.1, -0.1, 0.1, 0.1]), np.array([-0.2])]
    assert within_95_of_rows(off) == pytest.approx(4.303 * np.sqrt((0.01 + 0.04) / 2), rel=1e-3)
    alike = [np.array([1e-3] * 40 + [2.0] * 8)] * 30  # rows far off, seldom: 95 % of rows are what is wider
    assert within_95_of_rows(alike) == pytest.approx(2.0)
