"""What makes a time possible that is faster than the floor: nothing need be wrong, but something was not assumed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sol.answers.compare.changes import variant
from sol.answers.compare.narrower import other_tensors
from sol.answers.compare.suspects import Case, Finder, Suspect, at_light, percent
from sol.answers.floor.optimistic import NARROWEST_CACHE, concessions
from sol.sources.database.database import load_format
from sol.units import show_bytes


def warm_cache(case: Case) -> Sequence[Suspect]:
    """The last-level cache kept a part of what was read the step before."""
    q, f = case.question, case.floor
    held = float(np.max(q.split.pp)) * (q.gpu.last_level_cache_bytes or 0.0)
    if not held or f.bound != "memory":
        return ()
    warm = max(0.0, float(f.moved_bytes) - held) / q.rates.memory_bytes_per_s
    limit = max(warm, float(f.compute_s or 0.0), float(f.network_s))
    return (
        Suspect(
            "cache",
            "the last-level cache kept part of it",
            f"{show_bytes(held)} of cache, {show_bytes(float(f.moved_bytes))} read: {at_light(limit)} when warm",
            "nothing: this is possible, where the floor assumes a cold cache",
            "read more than the cache holds between steps to measure it cold",
            0.85,
            limit,
            case.measured_s,
        ),
    )


def unknown_cache(case: Case) -> Sequence[Suspect]:
    """A last-level cache that no source gives: how large one would have to be."""
    q = case.question
    if case.unsure_s is None:
        return ()
    needed = (case.optimistic_s - case.measured_s) * q.rates.memory_bytes_per_s / float(np.max(q.split.pp))
    return (
        Suspect(
            "cache",
            "the last-level cache, which no source gives, may have kept part of it",
            f"a cache of {show_bytes(needed)} or more would do",
            f"no cache: no source gives {q.gpu.id} one",
            "name it: a device of your own (--gpu-files, or a GPU in Python) with last_level_cache_bytes and its source",
            0.85,
            case.unsure_s,
            case.measured_s,
        ),
    )


def skewed_routing(case: Case) -> Sequence[Suspect]:
    """Experts that tokens share."""
    q, f = case.question, case.floor
    least = variant(q, routing="min") if q.model.is_moe and q.routing != "min" else None
    if least is None or least.fits is False:
        return ()
    said = q.routing if isinstance(q.routing, str) else "as measured"
    return (
        Suspect(
            "routing",
            "fewer experts touched than uniform routing expects",
            f"routing {said} takes {at_light(float(f.latency_s))}, the fewest experts {at_light(float(least.latency_s))}",
            "nothing: real traffic is skewed",
            "compare with --routing min, the only bound",
            0.8,
            float(least.latency_s),
            case.measured_s,
            {"routing": "min"},
        ),
    )


def narrow_cache(case: Case) -> Sequence[Suspect]:
    """A cache of fewer bits than the 16 assumed."""
    narrow = None if case.question.cache_stated else variant(case.question, cache=load_format(NARROWEST_CACHE))
    if narrow is None or narrow.fits is False:
        return ()
    limit = float(narrow.latency_s)
    return (
        Suspect(
            "precision",
            "the cache may be narrower than 16 bits",
            f"with an 8-bit cache: {percent(limit / case.measured_s)} of that floor",
            "a 16-bit cache as assumed",
            "say --kv-dtype fp8, or see what the engine logs",
            0.6,
            limit,
            case.measured_s,
            {"kv_dtype": NARROWEST_CACHE},
        ),
    )


def together(case: Case) -> Sequence[Suspect]:
    """Several of what the optimistic floor grants, where no one of them will do."""
    alone = (case.weighed(s) for find in ONE for s in find(case))
    if any(s is not None for s in alone):
        return ()
    return (
        Suspect(
            "granted",
            "several of what the floor does not assume, together",
            f"all of it takes {at_light(case.optimistic_s)}: " + ", ".join(concessions(case.question, case.ctx_known)),
            "nothing: this is possible",
            "say what is known of them: --routing, --kv-dtype, --cp, a checkpoint instead of a format",
            0.5,
            float(np.minimum(case.optimistic_s, case.measured_s)),
            case.measured_s,
        ),
    )


ONE: tuple[Finder, ...] = (warm_cache, skewed_routing, narrow_cache, other_tensors)
FINDERS: tuple[Finder, ...] = (*ONE, together)
