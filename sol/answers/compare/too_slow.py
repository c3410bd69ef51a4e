"""Causes of a time that is too long: each function checks one cause and lists it only if its numbers fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import numpy as np

from sol.answers.compare.gap import kernels
from sol.answers.compare.suspects import ORDINARY, Case, Finder, Suspect, at_light, ordinary, percent, unit_weight, variant
from sol.sources.database.database import load_format
from sol.specs.formats import NumberFormat, TensorClass
from sol.units import show_count, show_seconds, significant

EAGER_LAYER_S = (0.55e-3, 1.2e-3)
"""Published times per layer of eager hosts [s]: 0.606 ms with an H100, 0.902 ms with an A100, 1.13 ms there with 4-bit kernels."""
DOUBLINGS = 2.0 ** np.arange(21)


def wrong_unit(case: Case) -> Sequence[Suspect]:
    """Milliseconds given as seconds, or a rate given as a time."""
    found = []
    if case.fraction > 1 / 200:
        return ()
    times = f"{significant(1 / case.fraction, 2)} times the floor"
    as_ms = case.measured_s * 1e-3
    if case.plausible(as_ms):
        found.append(
            Suspect(
                "unit",
                "milliseconds given as seconds",
                f"{times}; {show_seconds(as_ms, 4)} would be {percent(case.floor.latency_s / as_ms)} of light",
                "a thousandth of the time",
                "give the unit: 16.97ms, or 0.01697 in Python",
                unit_weight(case.floor.latency_s / as_ms),
            )
        )
    as_rate = (case.question.step.batch * case.question.step.new_tokens).item() / case.measured_s
    if case.plausible(as_rate):
        found.append(
            Suspect(
                "unit",
                "a rate given as a time",
                f"{times}; {case.measured_s:g} tok/s would be {show_seconds(as_rate, 4)}, "
                f"{percent(case.floor.latency_s / as_rate)} of light",
                "the time of a step",
                f"give --measured {case.measured_s:g}tok/s",
                unit_weight(case.floor.latency_s / as_rate),
            )
        )
    return found


def whole_request(case: Case) -> Sequence[Suspect]:
    """The time of a whole request, given as the time of one step."""
    steps = 1 / case.fraction
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
        ),
    )


def eager(case: Case) -> Sequence[Suspect]:
    """The host issues every kernel and is slower than the device: a time per layer, whatever the bytes."""
    each = case.measured_s / case.layers
    if case.fraction > 0.7 or not EAGER_LAYER_S[0] <= each <= EAGER_LAYER_S[1] or case.question.gpu.kind != "gpu":
        return ()
    told = case.kind in ("graph", "fused")
    n = kernels(case.floor, "eager")
    count = "" if case.question.model.is_moe else f", {n:,} eager kernels at {significant(case.measured_s / n * 1e6, 2)} µs each"
    return (
        Suspect(
            "eager",
            "eager launches" + (" (--enforce-eager, or a batch no graph was captured for)" if told else ""),
            f"{significant(each * 1e3)} ms per layer × {case.layers}{count}; "
            "published eager decode takes 0.6 to 0.9 ms per layer, whatever the bytes",
            f"without the host's launches: {at_light(case.floor.latency_s)}",
            "capture CUDA graphs (published gain of a 7B: 1.26× on an H100, 1.03× on an L4), then a fused engine",
            0.5 if told else 0.9,
        ),
    )


def dequantisation(case: Case) -> Sequence[Suspect]:
    """Narrow weights, unpacked as slowly as wide ones are read."""
    q = case.question
    narrow = q.storage.weights
    if case.fraction > 0.6 or narrow.compute != "16-bit" or narrow.bits_per_weight >= 12 or case.floor.bound != "memory":
        return ()
    wide = case.share(variant(q, dtype=q.storage.base))
    as_wide = f"; {percent(wide)} of the floor of {q.storage.base.id} weights" if ordinary(wide) else ""
    return (
        Suspect(
            "dequantisation",
            "a kernel that unpacks the weights slowly (dequantisation)",
            f"{percent(case.fraction)} of the {narrow.id} floor{as_wide}; "
            "on an L4 one 4-bit 7B took 59.4 (nf4), 45.2 (AWQ) and 17.4 ms (ExLlamaV2)",
            f"{narrow.id} weights read once and unpacked without extra time: {at_light(case.floor.latency_s)}",
            "use another kernel for the same bits: Marlin, ExLlamaV2, or a GGUF in llama.cpp",
            0.85,
        ),
    )


def wider_format(case: Case) -> Sequence[Suspect]:
    """The weights are in a wider format than given."""
    q, own = case.question, case.question.storage.weights
    for fmt in _wider(own, q.storage.base) if case.fraction <= 0.6 else ():
        f = variant(q, dtype=fmt)
        share = case.share(f)
        if f is not None and f.fits is not False and ordinary(share) and share > 1.25 * case.fraction:
            return (
                Suspect(
                    "precision",
                    f"the weights may be {fmt.id}, not {own.id}",
                    f"with {fmt.id} weights: {percent(share)} of the floor",
                    f"weights in {own.id} as given: {at_light(case.floor.latency_s)}",
                    "check the format in the engine's log at load, and the memory it takes (sol memory)",
                    0.8 if fmt.bits <= 16 else 0.5,
                ),
            )
    return ()


def _wider(own: NumberFormat, base: NumberFormat) -> list[NumberFormat]:
    """Formats with more bits per weight than the one given, the nearest first; for 16 bits, 32."""
    if own.bits_per_weight < 12:
        return [f for f in (load_format("w8a16"), base) if f.bits_per_weight > 1.2 * own.bits_per_weight or f.compute != own.compute]
    return [base.model_copy(update={"id": "fp32", "bits": 32.0, "covers": ("linear", "experts", *get_args(TensorClass))})]


def longer(case: Case) -> Sequence[Suspect]:
    """A longer context or more sequences than given."""
    q, found = case.question, []
    if case.fraction > 0.6 or q.phase != "decode":
        return ()
    past = q.ctx.item()
    longest = float(q.model.max_ctx or 131072)
    grid = np.unique(np.minimum(DOUBLINGS, longest))
    grid = grid[grid > max(2 * past, 256.0)]
    hit = _first(case, "past", grid)
    if hit is not None:
        said = f"{show_count(past)} tokens as given" if case.ctx_known else "the context"
        found.append(
            Suspect(
                "ctx",
                "the context may be longer" + ("" if case.ctx_known else ": none was given"),
                f"at {hit[1]} tokens {hit[2]}",
                said,
                "count the prompt and the tokens generated before the step",
                0.3 if case.ctx_known else 0.75,
            )
        )
    batches = DOUBLINGS[:11]
    hit = _first(case, "batch", batches[batches > case.batch])
    if hit is not None:
        found.append(
            Suspect(
                "batch",
                "more sequences may run in the step",
                f"at batch {hit[1]} {hit[2]}",
                f"batch {show_count(case.batch)} as given",
                "check the number of running requests in the engine's log",
                0.25,
            )
        )
    return found


def _first(case: Case, what: str, grid: np.ndarray) -> tuple[float, str, str] | None:
    """The first value of a grid at which the measured time is normal."""
    if not grid.size:
        return None
    f = variant(case.question, past=grid) if what == "past" else variant(case.question, batch=grid)
    if f is None:
        return None
    shares = f.latency_s / case.measured_s
    good = np.flatnonzero((shares >= ORDINARY[0]) & (shares <= ORDINARY[1]) & (True if f.fits is None else f.fits))
    if not good.size:
        return None
    i = good[0]
    return (
        float(grid[i]),
        show_count(float(grid[i])),
        f"a step takes {at_light(float(f.latency_s[i]))}, {percent(float(shares[i]))} of the measured time",
    )


FINDERS: tuple[Finder, ...] = (wrong_unit, whole_request, eager, dequantisation, wider_format, longer)
