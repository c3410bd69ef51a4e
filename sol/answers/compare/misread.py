"""What may be wrong with the measured number itself: its unit, or what it counts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sol.answers.compare.changes import variant
from sol.answers.compare.suspects import Case, Finder, Suspect, percent, unit_weight
from sol.units import show_count, show_seconds, significant

SEQUENCES = 2.0 ** np.arange(1, 11)
"""How many sequences a rate may have counted that was quoted as one's."""
LEAST_OF_ONE = 0.2
"""From which share of light on a step is one that a slow engine takes [1]: eager transformers on an H100 reach 0.25."""


def rate_or_milliseconds(case: Case) -> Sequence[Suspect]:
    """Milliseconds given as seconds, or a rate given as a time."""
    if case.fraction > 1 / 200:
        return ()
    found, light = [], float(case.floor.latency_s)
    times = f"{significant(1 / case.fraction, 2)} times the floor"
    as_ms = case.measured_s * 1e-3
    if case.plausible(as_ms):
        found.append(
            Suspect(
                "unit",
                "milliseconds given as seconds",
                f"{times}; {show_seconds(as_ms, 4)} would be {percent(light / as_ms)} of light",
                "a thousandth of the time",
                "give the unit: 16.97ms, or 0.01697 in Python",
                unit_weight(light / as_ms),
                light,
                as_ms,
            )
        )
    as_rate = (case.question.step.batch * case.question.step.new_tokens).item() / case.measured_s
    if case.told == "time" and case.plausible(as_rate):
        found.append(
            Suspect(
                "unit",
                "a rate given as a time",
                f"{times}; {case.measured_s:g} tok/s would be {show_seconds(as_rate, 4)}, {percent(light / as_rate)} of light",
                "the time of a step",
                f"give --measured {case.measured_s:g}tok/s",
                unit_weight(light / as_rate),
                light,
                as_rate,
            )
        )
    return found


def seconds(case: Case) -> Sequence[Suspect]:
    """Seconds given as milliseconds."""
    longer, light = case.measured_s * 1e3, float(case.floor.latency_s)
    if case.fraction < 20 or not case.plausible(longer):
        return ()
    return (
        Suspect(
            "unit",
            "seconds given as milliseconds",
            f"{show_seconds(longer, 4)} would be {percent(light / longer)} of light",
            "a thousand times the time",
            "give the unit: 16.97ms, or 0.01697 in Python",
            unit_weight(light / longer),
            light,
            longer,
        ),
    )


def whole_request(case: Case) -> Sequence[Suspect]:
    """The time of a whole request, given as the time of one step."""
    steps, light = 1 / case.fraction, float(case.floor.latency_s)
    if case.question.phase != "decode" or not 100 <= steps <= 32768:
        return ()
    return (
        Suspect(
            "request",
            "a whole request timed, not a step",
            f"as long as {significant(steps, 2)} steps at the floor, or {significant(0.6 * steps, 2)} healthy ones",
            "the time of one step",
            "subtract the prefill and divide by the tokens generated after the first",
            0.6,
            0.75 * steps * light,
            case.measured_s,
        ),
    )


def all_given_as_one(case: Case) -> Sequence[Suspect]:
    """A rate of all sequences, given as if one had it: too fast by their number, which was said or must be found."""
    found = () if case.told == "rate" or case.batch < 2 else (case.batch,)
    if found and case.explains(case.share(case.floor) / case.batch):
        whole = case.measured_s * case.batch
        return (
            Suspect(
                "aggregate",
                "a time per token over all sequences, not of a step",
                f"times the batch of {show_count(case.batch)} it is {show_seconds(whole, 4)}, "
                f"{percent(float(case.floor.latency_s) / whole)} of light",
                "the time of the whole step",
                f"give {show_seconds(whole, 4)}, or the rate of all sequences: --measured {_rate(case, case.batch / whole)}",
                0.9,
                float(case.floor.latency_s),
                whole,
            ),
        )
    return _several_given_as_one(case)


def _several_given_as_one(case: Case) -> Sequence[Suspect]:
    q = case.question
    if q.phase != "decode" or case.batch != 1.0:
        return ()
    f = variant(q, batch=SEQUENCES)
    if f is None:
        return ()
    shares = f.latency_s / (case.measured_s * SEQUENCES)
    good = np.flatnonzero([case.well(share) and fits for share, fits in zip(shares, _fitting(f), strict=True)])
    if not good.size:
        return ()
    n, limit = float(SEQUENCES[good[0]]), float(f.latency_s[good[0]])
    new = q.step.new_tokens.item()
    return (
        Suspect(
            "aggregate",
            "a rate of several sequences quoted as one stream's",
            f"batch {show_count(n)} would fit: its limit is {significant(n * new / limit)} tok/s of all, and "
            f"{significant(new / case.measured_s)} tok/s is {percent(float(shares[good[0]]))} of it",
            "one sequence, as said",
            f"ask how many ran at once; say --batch {show_count(n)} --measured {_rate(case, 1.0 / case.measured_s)}",
            0.75,
            limit,
            case.measured_s * n,
            {"batch": n},
        ),
    )


def one_given_as_all(case: Case) -> Sequence[Suspect]:
    """The rate of one sequence, given as that of all: too slow by their number."""
    each, share = case.measured_s / case.batch, case.fraction * case.batch
    if case.told == "rate/user" or case.batch < 2 or not LEAST_OF_ONE <= share <= 1.0:
        return ()
    new = case.question.step.new_tokens.item()
    return (
        Suspect(
            "aggregate",
            "the rate of one sequence given as that of all",
            f"{significant(case.batch * new / case.measured_s)} tok/s of each of {show_count(case.batch)} is a step of "
            f"{show_seconds(each, 4)}, {percent(share)} of light",
            "a rate of all sequences together, as said",
            f"say --measured {case.batch * new / case.measured_s:.4g}tok/s/user",
            0.85 if case.told == "rate" and case.explains(share) else 0.5,
            float(case.floor.latency_s),
            each,
        ),
    )


def _fitting(f: object) -> np.ndarray:
    fits = getattr(f, "fits", None)
    return np.broadcast_to(np.asarray(True if fits is None else fits), SEQUENCES.shape)


def _rate(case: Case, steps_per_s: float) -> str:
    return f"{steps_per_s * case.question.step.new_tokens.item():.4g}tok/s"


SLOW: tuple[Finder, ...] = (rate_or_milliseconds, whole_request, one_given_as_all)
FAST: tuple[Finder, ...] = (seconds, all_given_as_one)
