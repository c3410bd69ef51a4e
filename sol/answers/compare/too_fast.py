"""Causes of a time that is too short: each function checks one cause and lists it only if its numbers fit."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from sol.answers.compare.gap import kernels
from sol.answers.compare.suspects import Case, Finder, Suspect, at_light, percent, siblings, unit_weight, variant
from sol.answers.compare.wrong_place import does_not_fit
from sol.answers.floor.optimistic import NARROWEST_CACHE
from sol.sources.database.database import load_format
from sol.units import show_bytes, show_count, show_seconds, significant

LIKELY = (0.3, 1.02)
"""A time at up to this fraction of light needs no other explanation [1]."""
QUEUED_S = (1.6e-6, 15e-6)
"""Time in which a host queues one kernel [s]: from 1.64 µs, the shortest in gpu-benches, to 15 µs on a slow host."""
MOST_DRAFTED = 8


def likely(share: float) -> bool:
    """Whether a time at this fraction of light would be accepted."""
    return LIKELY[0] <= share <= LIKELY[1]


def wrong_unit(case: Case) -> Sequence[Suspect]:
    """Seconds given as milliseconds."""
    longer = case.measured_s * 1e3
    if case.fraction < 20 or not case.plausible(longer):
        return ()
    return (
        Suspect(
            "unit",
            "seconds given as milliseconds",
            f"{show_seconds(longer, 4)} would be {percent(case.floor.latency_s / longer)} of light",
            "a thousand times the time",
            "give the unit: 16.97ms, or 0.01697 in Python",
            unit_weight(case.floor.latency_s / longer),
        ),
    )


def shared_among_sequences(case: Case) -> Sequence[Suspect]:
    """The time of a step divided by its sequences: the inverse of a rate over all users."""
    whole = case.measured_s * case.batch
    share = case.floor.latency_s / whole
    if case.batch < 2 or not likely(share):
        return ()
    return (
        Suspect(
            "aggregate",
            "a time per token over all sequences, not of a step",
            f"times batch {show_count(case.batch)} it is {show_seconds(whole, 4)}, {percent(share)} of light",
            "the time of the whole step",
            f"give {show_seconds(whole, 4)}, or the rate of all sequences: --measured {case.batch / whole:.4g}tok/s",
            0.9,
        ),
    )


def narrower_format(case: Case) -> Sequence[Suspect]:
    """Weights with fewer bits than given."""
    own = case.question.storage.weights
    for name in ("fp8", "w8a16", "w4a16"):
        fmt = load_format(name)
        share = case.share(variant(case.question, dtype=fmt))
        if fmt.bits_per_weight < 0.8 * own.bits_per_weight and likely(share):
            return (
                Suspect(
                    "precision",
                    f"the weights may be {name}, not {own.id}",
                    f"with {name} weights: {percent(share)} of the floor",
                    f"{fmt.bits_per_weight:.4g} bits a weight",
                    f"give --dtype {name}, or look for the format in the engine's log at load",
                    0.8,
                ),
            )
    return ()


def drafted(case: Case) -> Sequence[Suspect]:
    """More tokens counted than steps: speculative decoding."""
    tokens = case.fraction
    if case.question.phase != "decode" or not 1.0 < tokens <= MOST_DRAFTED:
        return ()
    return (
        Suspect(
            "speculation",
            "speculative tokens counted",
            f"{significant(tokens)} or more accepted tokens per step would explain it",
            f"a step of {at_light(case.floor.latency_s)} that yields about {math.ceil(tokens)} tokens",
            "turn speculation off, or give the time of one step and its tokens (--new-tokens)",
            0.7,
        ),
    )


def prefix_cached(case: Case) -> Sequence[Suspect]:
    """Part of the prompt was already in the cache."""
    q = case.question
    if q.phase != "prefill" or q.ctx.item() < 32:
        return ()
    prompt = q.ctx.item()
    cached = np.floor(prompt * np.arange(1, 32) / 32)
    f = variant(q, past=cached)
    good = np.flatnonzero(f.latency_s <= case.measured_s * LIKELY[1]) if f is not None else np.array([])
    if not good.size:
        return ()
    return (
        Suspect(
            "prefix",
            "part of the prompt came from a prefix cache",
            f"{show_count(cached[good[0]])} or more cached tokens of {show_count(prompt)} would explain it",
            "a prompt that shares no prefix with earlier requests",
            "turn prefix caching off (vLLM --no-enable-prefix-caching), or give --cached-tokens",
            0.85,
        ),
    )


def less_work(case: Case) -> Sequence[Suspect]:
    """A shorter context or fewer sequences than given."""
    q, found = case.question, []
    if q.phase == "decode" and q.ctx.item() > 0:
        f = variant(q, past=np.floor(q.ctx.item() * np.arange(32) / 32))
        good = np.flatnonzero(f.latency_s <= case.measured_s * LIKELY[1]) if f is not None else np.array([])
        if f is not None and good.size:
            found.append(
                Suspect(
                    "ctx",
                    "the context may be shorter",
                    f"at {show_count(f.question.ctx[good[-1]])} tokens a step takes {at_light(f.latency_s[good[-1]])}",
                    f"{show_count(q.ctx.item())} tokens in the cache as given",
                    "count the tokens in the cache before the step; for a run of steps, their mean",
                    0.6,
                )
            )
    if case.batch > 1:
        fewer = np.unique(np.floor(case.batch * 0.5 ** np.arange(1, 21)).clip(1.0))[::-1]
        f = variant(q, batch=fewer)
        good = np.flatnonzero(f.latency_s <= case.measured_s * LIKELY[1]) if f is not None else np.array([])
        if f is not None and good.size:
            found.append(
                Suspect(
                    "batch",
                    "fewer sequences may run in the step",
                    f"at batch {show_count(fewer[good[0]])} a step takes {at_light(f.latency_s[good[0]])}",
                    f"batch {show_count(case.batch)} as given",
                    "check the number of running requests in the engine's log",
                    0.5,
                )
            )
    return found


def faster_device(case: Case) -> Sequence[Suspect]:
    """A faster variant of the device, or more devices than given."""
    q, found = case.question, []
    for gpu in siblings(q.gpu):
        share = case.share(variant(q, gpu=gpu))
        if likely(share) and share < case.fraction:
            found.append(
                Suspect(
                    "device",
                    f"the device may be {gpu.id}",
                    f"{percent(share)} of the floor of {gpu.id}",
                    f"{q.gpu.id} as given",
                    "check the name of the part with nvidia-smi or the vendor's tool",
                    0.45,
                )
            )
    for tp in (times * int(q.split.tp) for times in (2, 4, 8)):
        share = case.share(variant(q, tp=tp))
        if likely(share) and share < case.fraction:
            found.append(
                Suspect(
                    "split",
                    f"{tp} devices may share the work, not {q.split.tp}",
                    f"with tp={tp}: {percent(share)} of the floor",
                    f"tp={q.split.tp} as given",
                    f"give --tp {tp}, or check the tensor-parallel size in the engine's log",
                    0.4,
                )
            )
            break
    return found[:2]


def permitted(case: Case) -> Sequence[Suspect]:
    """A warm last-level cache, experts that tokens share, a narrower KV cache: possible, and outside the floor's assumptions."""
    q, f, found = case.question, case.floor, []
    if case.measured_s < case.optimistic_s:
        return ()
    held = q.gpu.last_level_cache_bytes or 0.0
    warm = max(0.0, f.moved_bytes - held) / q.rates.memory_bytes_per_s
    if warm <= case.measured_s and f.bound == "memory":
        found.append(
            Suspect(
                "cache",
                "the last-level cache kept part of it",
                f"{show_bytes(held)} of cache, {show_bytes(f.moved_bytes)} read: {at_light(warm)} when warm",
                "nothing: this is possible; the floor assumes a cold cache",
                "read more than the cache holds between steps to measure it cold",
                0.85,
            )
        )
    if q.model.is_moe and q.routing != "min":
        found.append(
            Suspect(
                "routing",
                "fewer experts touched than uniform routing expects",
                f"routing {q.routing if isinstance(q.routing, str) else 'as measured'} takes {at_light(f.latency_s)}",
                "nothing: real traffic is skewed",
                "compare with --routing min, the only strict bound",
                0.8,
            )
        )
    share = case.share(None if q.cache_stated else variant(q, cache=load_format(NARROWEST_CACHE)))
    if 0.0 < share <= LIKELY[1]:
        found.append(
            Suspect(
                "precision",
                "the cache may be narrower than 16 bits",
                f"with an 8-bit cache: {percent(share)} of that floor",
                "the 16-bit cache that was assumed",
                "give --kv-dtype fp8, or check the cache format in the engine's log",
                0.6,
            )
        )
    return found


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
        ),
    )


FINDERS: tuple[Finder, ...] = (
    wrong_unit,
    does_not_fit,
    shared_among_sequences,
    narrower_format,
    drafted,
    prefix_cached,
    less_work,
    faster_device,
    not_synchronised,
)
