"""Causes of a time that is too long: each function checks one cause and lists it only if its numbers fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import numpy as np

from sol.answers.compare.changes import variant
from sol.answers.compare.gap import kernels
from sol.answers.compare.suspects import MOST_REACHED, Case, Finder, Suspect, at_light, percent
from sol.sources.database.database import is_format, load_format
from sol.specs.formats import NumberFormat, TensorClass
from sol.units import show_count, significant

EAGER_LAYER_S = (0.55e-3, 1.2e-3)
"""Published times per layer of eager hosts [s]: 0.606 ms with an H100, 0.902 ms with an A100, 1.13 ms there with 4-bit kernels."""
DOUBLINGS = 2.0 ** np.arange(21)
TYPICAL = 0.8
"""The share of the measured time that a limit takes which may be anything in a known range [1]."""


def eager(case: Case) -> Sequence[Suspect]:
    """The host issues every kernel and is slower than the device: a time per layer, whatever the bytes."""
    each = case.measured_s / case.layers
    if not EAGER_LAYER_S[0] <= each <= EAGER_LAYER_S[1] or case.question.gpu.kind != "gpu":
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
            max(float(case.floor.latency_s), EAGER_LAYER_S[0] * case.layers),
            case.measured_s,
        ),
    )


def dequantisation(case: Case) -> Sequence[Suspect]:
    """Narrow weights, unpacked as slowly as wide ones are read."""
    q = case.question
    narrow = q.storage.weights
    if case.fraction > 0.6 or narrow.compute != "16-bit" or narrow.bits_per_weight >= 12 or case.floor.bound != "memory":
        return ()
    wide = variant(q, dtype=q.storage.base)
    whole = 0.0 if wide is None else float(wide.latency_s) / case.measured_s  # what need not fit: only read as if it were so wide
    if whole < case.band[0]:
        return ()  # slower than the same weights in 16 bits
    limit = min(whole, TYPICAL) if whole > MOST_REACHED else whole
    as_wide = f"; {percent(whole)} of the floor of {q.storage.base.id} weights" if whole <= 1.0 else ""
    return (
        Suspect(
            "dequantisation",
            "a kernel that unpacks the weights slowly (dequantisation)",
            f"{percent(case.fraction)} of the {narrow.id} floor{as_wide}; "
            "on an L4 one 4-bit 7B took 59.4 (nf4), 45.2 (AWQ) and 17.4 ms (ExLlamaV2)",
            f"{narrow.id} weights read once and unpacked without extra time: {at_light(case.floor.latency_s)}",
            "use another kernel for the same bits: Marlin, ExLlamaV2, or a GGUF in llama.cpp",
            0.85,
            limit * case.measured_s,
            case.measured_s,
        ),
    )


def wider_format(case: Case) -> Sequence[Suspect]:
    """The weights are in a wider format than given."""
    q, own = case.question, case.question.storage.weights
    for fmt in _wider(own, q.storage.base) if case.fraction <= 0.6 else ():
        f = variant(q, dtype=fmt)
        share = case.share(f)
        if f is not None and case.explains(share) and share > 1.25 * case.fraction:
            return (
                Suspect(
                    "precision",
                    f"the weights may be {fmt.id}, not {own.id}",
                    f"with {fmt.id} weights: {percent(share)} of the floor",
                    f"weights in {own.id} as given: {at_light(case.floor.latency_s)}",
                    "check the format in the engine's log at load, and the memory it takes (sol memory)",
                    0.8 if fmt.bits <= 16 else 0.5,
                    float(f.latency_s),
                    case.measured_s,
                    {"dtype": fmt.id if is_format(fmt.id) else fmt},
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
                hit[3],
                case.measured_s,
                {"ctx": hit[0]},
            )
        )
    more = case.batch * DOUBLINGS[1:7]
    hit = _first(case, "batch", more) if case.told != "rate" else None  # a rate of all sequences counts those that run
    if hit is not None:
        found.append(
            Suspect(
                "batch",
                "more sequences may run in the step",
                f"at batch {hit[1]} {hit[2]}",
                f"batch {show_count(case.batch)} as given",
                "check the number of running requests in the engine's log",
                0.25,
                hit[3],
                case.measured_s,
                {"batch": hit[0]},
            )
        )
    return found


def _first(case: Case, what: str, grid: np.ndarray) -> tuple[float, str, str, float] | None:
    """The first value of a grid at which the measured time is normal."""
    if not grid.size:
        return None
    f = variant(case.question, past=grid) if what == "past" else variant(case.question, batch=grid)
    if f is None:
        return None
    shares = f.latency_s / case.measured_s
    good = np.flatnonzero((shares >= case.band[0]) & (shares <= MOST_REACHED) & (True if f.fits is None else f.fits))
    if not good.size:
        return None
    i = good[0]
    return (
        float(grid[i]),
        show_count(float(grid[i])),
        f"a step takes {at_light(float(f.latency_s[i]))}, {percent(float(shares[i]))} of the measured time",
        float(f.latency_s[i]),
    )


FINDERS: tuple[Finder, ...] = (eager, dequantisation, wider_format, longer)
