"""The form that measured steps support: from the smallest up, with only the figures that the rows determine.

M1  serial/mbu + a fixed time: per step, or per kernel
M2  both of these times; only with three counts of layers or more
M3  max( host·layers , M1 or M2 ); only if rows wait for the host
mfu a separate figure only if rows are compute-bound, else mfu = mbu
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sol.physics.fit.fit import LEAST, Form, Score, fitted, misfit, scored, supported
from sol.physics.fit.fit_intervals import Interval, intervals, profile, unidentified, within_95
from sol.physics.fit.loads import (
    HOST,
    INV_MBU,
    INV_MFU,
    LAUNCH,
    PER_SEQUENCE,
    STEP,
    Loads,
    compute_bound,
    host_bound,
    memory_bound,
    seconds,
)
from sol.specs.quantities import Array

FEW, SIZES = 2, 3
"""The fewest rows that count as a regime, and the fewest sizes that separate two times."""


@dataclass(frozen=True, eq=False)
class Fit:
    """A fitted form: `rates` are profiles of 1/mbu and 1/mfu, `unknown` the rates that the rows do not determine.

    `scores` are all forms tried, the chosen one first.
    """

    chosen: Score
    scores: tuple[Score, ...]
    rates: dict[int, tuple[float, float]]
    unknown: tuple[int, ...]
    interval: Interval | None
    within_95: float | None
    estimated_s: Array
    left_out_s: Array | None


def best_fit(loads: Loads, *, per_kernel: bool | None = None, mbu: float | None = None, mfu: float | None = None) -> Fit:
    """The smallest form that the rows support, fitted. `per_kernel`: how a fixed time counts if the rows do not decide.

    A given rate is not fitted. The other fields are filled in only if the form is identified.
    """
    fewest = 2 + (mbu is None)  # figures of the smallest form with an mfu of its own
    own = mfu is None and len(loads.measured_s) >= fewest and _tells_mfu(loads, mbu)
    prefer = None if per_kernel is None else LAUNCH if per_kernel else STEP
    tried = [scored(loads, form) for form in _forms(loads, own, per_kernel, mbu, mfu)]
    tried = [s for s in tried if _host_shows(loads, s)]
    kept = supported(tried, loads, prefer) if len(loads.models) > 1 or mbu is None or loads.kernels.any() else _likeliest(tried, loads)
    if own and all(_loose(loads, s, INV_MFU) for s in kept):  # FLOPs bind somewhere, and yet do not tell their rate
        own = False
        tried = [s for s in (scored(loads, form) for form in _forms(loads, own, per_kernel, mbu, mfu)) if _host_shows(loads, s)]
        kept = supported(tried, loads, prefer)
    first: Fit | None = None
    for score in kept:
        rates = {i: profile(loads, score.form, score.theta, i) for i in score.form.free if i in (INV_MBU, INV_MFU)}
        unknown = tuple(i for i, bounds in rates.items() if unidentified(loads, score.form, i, bounds))
        scores = (score, *(s for s in tried if s is not score))
        if not unknown and len(loads.measured_s) > len(score.form.free):
            return _completed(loads, score, scores, rates)
        first = first or Fit(score, scores, rates, unknown or (INV_MBU,), None, None, seconds(loads, score.theta), None)
    assert first is not None  # M1 is always tried
    return first


def _likeliest(scores: list[Score], loads: Loads) -> list[Score]:
    """Forms of times alone on rows of one model, by Akaike's criterion: no model can be left out, and no rate is in doubt."""
    n = len(loads.measured_s)
    return sorted(scores, key=lambda s: n * np.log(max(float(misfit(loads, s.theta)), 1e-12) / n) + 2 * len(s.form.free))


def _completed(loads: Loads, score: Score, scores: tuple[Score, ...], rates: dict[int, tuple[float, float]]) -> Fit:
    left_out = loads.measured_s * np.exp(score.errors) if len(loads.models) > 1 else None
    return Fit(
        score, scores, rates, (), intervals(loads, score, rates), within_95(loads, score), seconds(loads, score.theta), left_out
    )  # fmt: skip


def _forms(loads: Loads, own_mfu: bool, per_kernel: bool | None, mbu: float | None, mfu: float | None) -> list[Form]:
    """The forms that these rows could support by their models and sizes, smallest first."""
    tied = not own_mfu and mfu is None
    rates = (*((INV_MBU,) if mbu is None else ()), *((INV_MFU,) if own_mfu else ()))
    known = (1.0 / (mbu or 1.0), 1.0 / (mfu or mbu or 1.0), *LEAST[LAUNCH:].tolist())
    fixed: list[tuple[int, ...]] = [(LAUNCH,)] if per_kernel and _counts(loads.kernels) == 1 else [(STEP,)]
    if _counts(loads.kernels) > 1:
        fixed.append((LAUNCH,))
    several = len(loads.models) > 1
    both: list[tuple[int, ...]] = [(LAUNCH, STEP)] if min(_counts(loads.layers), _counts(loads.kernels)) >= SIZES else []
    if (several or not rates) and _counts(loads.sequences) >= SIZES:
        both += [(*f, PER_SEQUENCE) for f in (*fixed, *both)]
    forms = [Form("M1", (*rates, *f), tied, known) for f in fixed] + [Form("M2", (*rates, *f), tied, known) for f in both]
    if several:
        forms += [Form("M3", (*rates, HOST, *f), tied, known) for f in (*fixed, *both)]
    return [f for f in forms if len(f.free) <= len(loads.measured_s)]


def _counts(values: Array) -> int:
    return len(np.unique(values))


def _tells_mfu(loads: Loads, mbu: float | None) -> bool:
    """Whether some rows are compute-bound at the fitted rates."""
    rates = (INV_MBU, INV_MFU) if mbu is None else (INV_MFU,)
    theta = fitted(loads, Form("M1", (*rates, STEP), False, (1.0 / (mbu or 1.0), *LEAST[INV_MFU:].tolist())))
    return bool(compute_bound(loads, theta).sum() >= FEW)


def _host_shows(loads: Loads, score: Score) -> bool:
    """Whether the rows support the figures: a host time needs rows that wait for the host, a time per kernel rows that do not."""
    if HOST not in score.form.free:
        return True
    waits = host_bound(loads, score.theta)
    return bool(waits.sum() >= FEW and (LAUNCH not in score.form.free or (~waits).sum() > len(score.form.free) - 1))


def _loose(loads: Loads, score: Score, figure: int) -> bool:
    return figure in score.form.free and unidentified(loads, score.form, figure, profile(loads, score.form, score.theta, figure))


def regimes(loads: Loads, score: Score) -> dict[str, int]:
    """How many rows are bound by bytes, by FLOPs, and by the host."""
    waits = host_bound(loads, score.theta)
    by = {"memory": memory_bound(loads, score.theta), "compute": compute_bound(loads, score.theta) & ~waits, "host": waits}
    return {what: int(loads.most(steps).sum()) for what, steps in by.items()}
