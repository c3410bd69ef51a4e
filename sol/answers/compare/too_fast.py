"""Causes of a time that is too short: each function checks one cause and lists it only if its numbers fit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sol.answers.compare.changes import siblings, variant
from sol.answers.compare.gap import kernels
from sol.answers.compare.narrower import narrower_format
from sol.answers.compare.suspects import MOST_REACHED, Case, Finder, Suspect, at_light, percent
from sol.answers.compare.wrong_place import does_not_fit
from sol.answers.floor.result import Floor
from sol.units import show_count, show_seconds, significant

QUEUED_S = (1.6e-6, 15e-6)
"""Time in which a host queues one kernel [s]: from 1.64 µs, the shortest in gpu-benches, to 15 µs on a slow host."""
MOST_DRAFTED = 8
OFTEN_GAINED = 2.5
"""Up to so many tokens a step drafts often gain [1]: four drafts of a 27B on an RTX 5090 gain 2.25 (sudoingX/qwen38-mtp 33)."""


def drafted(case: Case) -> Sequence[Suspect]:
    """More tokens counted than steps taken: speculative decoding, at the price of a step that verifies so many."""
    q = case.question
    if q.phase != "decode" or (q.step.new_tokens != 1.0).any() or not 1.0 < case.fraction <= MOST_DRAFTED:
        return ()
    tokens = np.arange(2.0, MOST_DRAFTED + 1.0)
    f = variant(q, new_tokens=tokens)
    good = _below(f, case, tokens)
    if f is None or not good.size:
        return ()
    n, limit = float(tokens[good[0]]), float(f.latency_s[good[0]])
    accepted = limit / case.measured_s
    return (
        Suspect(
            "speculation",
            "speculative tokens counted",
            f"{significant(accepted)} tokens or more accepted of a step that verifies {show_count(n)} would do, {at_light(limit)}",
            "one token a step and sequence, as said",
            "turn speculation off, or give the time of one step and its tokens (--new-tokens)",
            0.78 if accepted <= OFTEN_GAINED else 0.6,
            limit,
            case.measured_s * n,
            {"new_tokens": n},
        ),
    )


def _below(f: Floor | None, case: Case, steps: np.ndarray | float = 1.0) -> np.ndarray:
    """Where a sweep fits in memory and lies so far below the measured time (of `steps` of them) that nothing else need be said."""
    if f is None:
        return np.array([], dtype=int)
    return np.flatnonzero((f.latency_s <= case.measured_s * steps * MOST_REACHED) & (True if f.fits is None else f.fits))


def prefix_cached(case: Case) -> Sequence[Suspect]:
    """Part of the prompt was already in the cache."""
    q = case.question
    if q.phase != "prefill" or q.ctx.item() < 32:
        return ()
    prompt = q.ctx.item()
    cached = np.floor(prompt * np.arange(1, 32) / 32)
    f = variant(q, past=cached)
    good = _below(f, case)
    if f is None or not good.size:
        return ()
    return (
        Suspect(
            "prefix",
            "part of the prompt came from a prefix cache",
            f"{show_count(cached[good[0]])} or more cached tokens of {show_count(prompt)} would explain it",
            "a prompt that shares no prefix with earlier requests",
            "turn prefix caching off (vLLM --no-enable-prefix-caching), or give --cached-tokens",
            0.85,
            float(f.latency_s[good[0]]),
            case.measured_s,
            {"cached_tokens": float(cached[good[0]])},
        ),
    )


def less_work(case: Case) -> Sequence[Suspect]:
    """A shorter context or fewer sequences than given."""
    q, found = case.question, []
    if q.phase == "decode" and q.ctx.item() > 0:
        f = variant(q, past=np.floor(q.ctx.item() * np.arange(32) / 32))
        good = _below(f, case)
        if f is not None and good.size:
            found.append(
                Suspect(
                    "ctx",
                    "the context may be shorter",
                    f"at {show_count(f.question.ctx[good[-1]])} tokens a step takes {at_light(f.latency_s[good[-1]])}",
                    f"{show_count(q.ctx.item())} tokens in the cache as given",
                    "count the tokens in the cache before the step; for a run of steps, their mean",
                    0.6,
                    float(f.latency_s[good[-1]]),
                    case.measured_s,
                    {"ctx": float(f.question.ctx[good[-1]])},
                )
            )
    if case.batch > 1 and case.told != "rate":  # a rate of all sequences counts those that run
        fewer = np.unique(np.floor(case.batch * 0.5 ** np.arange(1, 21)).clip(1.0))[::-1]
        f = variant(q, batch=fewer)
        good = _below(f, case)
        if f is not None and good.size:
            found.append(
                Suspect(
                    "batch",
                    "fewer sequences may run in the step",
                    f"at batch {show_count(fewer[good[0]])} a step takes {at_light(f.latency_s[good[0]])}",
                    f"batch {show_count(case.batch)} as given",
                    "check the number of running requests in the engine's log",
                    0.5,
                    float(f.latency_s[good[0]]),
                    case.measured_s,
                    {"batch": float(fewer[good[0]])},
                )
            )
    return found


def faster_device(case: Case) -> Sequence[Suspect]:
    """A faster variant of the device, or more devices than given."""
    q, found = case.question, []
    for gpu in siblings(q.gpu):
        share = case.share(variant(q, gpu=gpu))
        if case.explains(share) and share < case.fraction:
            found.append(
                Suspect(
                    "device",
                    f"the device may be {gpu.id}",
                    f"{percent(share)} of the floor of {gpu.id}",
                    f"{q.gpu.id} as given",
                    "check the name of the part with nvidia-smi or the vendor's tool",
                    0.45,
                    share * case.measured_s,
                    case.measured_s,
                    {"gpu": gpu.id},
                )
            )
    for tp in (times * int(q.split.tp) for times in (2, 4, 8)):
        share = case.share(variant(q, tp=tp))
        if case.explains(share) and share < case.fraction:
            found.append(
                Suspect(
                    "split",
                    f"{tp} devices may share the work, not {q.split.tp}",
                    f"with tp={tp}: {percent(share)} of the floor",
                    f"tp={q.split.tp} as given",
                    f"give --tp {tp}, or check the tensor-parallel size in the engine's log",
                    0.42,
                    share * case.measured_s,
                    case.measured_s,
                    {"tp": tp},
                )
            )
            break
    return found[:2]


def not_synchronised(case: Case) -> Sequence[Suspect]:
    """The clock stopped when the kernels were queued, before the device was done."""
    n = kernels(case.floor, "eager")
    if case.question.gpu.kind != "gpu" or case.question.model.is_moe or not QUEUED_S[0] <= case.measured_s / n <= QUEUED_S[1]:
        return ()
    return (
        Suspect(
            "clock",
            "the clock stopped before the device was done",
            f"queueing {n:,} eager kernels in {show_seconds(case.measured_s, 3)} is "
            f"{significant(case.measured_s / n * 1e6, 2)} µs each, as a host does",
            "the time until the device is done",
            "synchronise before reading the clock (torch.cuda.synchronize())",
            0.65,
            max(QUEUED_S[0] * n, 0.8 * case.measured_s),
            case.measured_s,
        ),
    )


FINDERS: tuple[Finder, ...] = (
    does_not_fit,
    narrower_format,
    drafted,
    prefix_cached,
    less_work,
    faster_device,
    not_synchronised,
)
