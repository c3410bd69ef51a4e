"""What makes a time too short for what was said: each function looks for one thing, and lists it only where its numbers fit."""

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
"""A time at this share of light needs no further excuse [1]."""
QUEUED_S = (1.6e-6, 15e-6)
"""What a host needs to queue one kernel [s]: 1.64 µs is the shortest gpu-benches measured, 15 µs of a slow host."""
MOST_DRAFTED = 8


def likely(share: float) -> bool:
    """Whether a time at this share of light would pass without question."""
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
            "say the unit: 16.97ms, or 0.01697 in Python",
            unit_weight(case.floor.latency_s / longer),
        ),
    )


def shared_among_sequences(case: Case) -> Sequence[Suspect]:
    """The time of a step divided by its sequences: a rate over all users, turned round."""
    whole = case.measured_s * case.batch
    share = case.floor.latency_s / whole
    if case.batch < 2 or not likely(share):
        return ()
    return (
        Suspect(
            "aggregate",
            "a time per token over all sequences, not of a step",
            f"times the batch of {show_count(case.batch)} it is {show_seconds(whole, 4)}, {percent(share)} of light",
            "the time of the whole step",
            f"give {show_seconds(whole, 4)}, or the rate of all sequences: --measured {case.batch / whole:.4g}tok/s",
            0.9,
        ),
    )


def narrower_format(case: Case) -> Sequence[Suspect]:
    """Weights of fewer bits than were said."""
    own = case.question.storage.weights
    for name in ("fp8", "w8a16", "w4a16"):
        fmt = load_format(name)
        share = case.share(variant(case.question, dtype=fmt))
        if fmt.bits_per_weight < 0.8 * own.bits_per_weight and likely(share):
            return (
                Suspect(
                    "precision",
                    f"the weights may be {name}, not {own.id}",
                    f"as if they were {name}: {percent(share)} of that floor",
                    f"{fmt.bits_per_weight:.4g} bits a weight",
                    f"say --dtype {name}, or see the format the engine logs as it loads",
                    0.8,
                ),
            )
    return ()


def drafted(case: Case) -> Sequence[Suspect]:
    """More tokens counted than steps taken: speculative decoding."""
    tokens = case.fraction
    if case.question.phase != "decode" or not 1.0 < tokens <= MOST_DRAFTED:
        return ()
    return (
        Suspect(
            "speculation",
            "speculative tokens counted",
            f"{significant(tokens)} tokens or more accepted a step would do",
            f"a step of {at_light(case.floor.latency_s)} that yields {math.ceil(tokens)} tokens or so",
            "switch speculation off, or give the time of one step and its tokens (--new-tokens)",
            0.7,
        ),
    )


def prefix_cached(case: Case) -> Sequence[Suspect]:
    """A part of the prompt that was in the cache already."""
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
            f"{show_count(cached[good[0]])} or more of {show_count(prompt)} tokens cached would do",
            "a prompt no request has shared before",
            "switch prefix caching off (vLLM --no-enable-prefix-caching), or say --cached-tokens",
            0.85,
        ),
    )


def less_work(case: Case) -> Sequence[Suspect]:
    """A shorter context, or fewer sequences, than were said."""
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
                    f"{show_count(q.ctx.item())} tokens in the cache as said",
                    "count what is in the cache before the step; of a run, the mean",
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
                    f"batch {show_count(case.batch)} as said",
                    "see how many requests the engine's log says are running",
                    0.5,
                )
            )
    return found


def faster_device(case: Case) -> Sequence[Suspect]:
    """A faster variant of the device, or more of them, than were said."""
    q, found = case.question, []
    for gpu in siblings(q.gpu):
        share = case.share(variant(q, gpu=gpu))
        if likely(share) and share < case.fraction:
            found.append(
                Suspect(
                    "device",
                    f"the device may be {gpu.id}",
                    f"{percent(share)} of the floor of {gpu.id}",
                    f"{q.gpu.id} as said",
                    "nvidia-smi, or the vendor's tool, names the part",
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
                    f"as if tp={tp}: {percent(share)} of that floor",
                    f"tp={q.split.tp} as said",
                    f"say --tp {tp}, or see the tensor-parallel size the engine logs",
                    0.4,
                )
            )
            break
    return found[:2]


def permitted(case: Case) -> Sequence[Suspect]:
    """What the last-level cache kept, experts that tokens share, a cache of fewer bits: possible, and outside the floor's assumptions."""
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
                "nothing: this is possible, where the floor assumes a cold cache",
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
                "compare with --routing min, the only bound",
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
                "a 16-bit cache as assumed",
                "say --kv-dtype fp8, or see what the engine logs",
                0.6,
            )
        )
    return found


def not_synchronised(case: Case) -> Sequence[Suspect]:
    """A clock stopped when the kernels were queued, before the device was done."""
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
