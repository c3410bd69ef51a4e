"""The least time that what was said of a step allows: against this alone is a measurement impossible.

Every assumption at its optimistic end: a warm cache that holds as much as the last level can, the fewest
experts, every tensor in the narrow format, an 8-bit cache where none was named, its tokens divided over all
devices that would hold the same ones, recurrent states of 16 bits, 8 bits on the links, the fastest rate of any
format that may compute. What was said is kept: the model, the batch, the context, the weight format.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any, get_args

import numpy as np

from sol.answers.floor.floor import floor_of
from sol.answers.floor.strictness import NARROW_STATE_BITS
from sol.answers.question.ask import Question
from sol.answers.question.formats import SIXTEEN
from sol.physics.time.roofline import Rates
from sol.sources.database.database import load_format, load_gpu, shipped_gpu_ids
from sol.specs.formats import NumberFormat, StoredPart, TensorClass
from sol.specs.hardware import Kind
from sol.specs.split import cache_copies
from sol.specs.step import Role, Storage
from sol.units import show_bytes

NARROWEST_CACHE = "fp8"
NARROWEST_SENT = 1.0
"""Bytes of an activation on a link: TensorRT-LLM's all-reduce over PCIe sends 8 bits."""
ALL = 2**20
"""More devices than ever hold the same keys and values."""


def optimistic_s(q: Question) -> Any:
    """The optimistic floor [s], of a point or of each point of a sweep: never above its floor.

    Bytes the last-level cache can hold from the step before are not read again: max(0, moved − cache)/B, each stage's in its own.
    """
    return _warm_s(q, q.gpu.last_level_cache_bytes or 0.0)


def unsure_s(q: Question) -> Any:
    """The optimistic floor [s] of a device whose last-level cache no source gives, if it had the largest one known of its kind.

    What is faster than the optimistic floor and not than this is neither possible nor impossible: nobody can tell. None where the
    device's cache is known. Where no device of its kind has a sourced cache, one may hold all of it.
    """
    if q.gpu.last_level_cache_bytes is not None:
        return None
    largest = largest_cache_bytes(q.gpu.kind)
    return _warm_s(q, np.inf if largest is None else largest)


@lru_cache(maxsize=8)
def largest_cache_bytes(kind: Kind) -> float | None:
    """The largest last-level cache that the database has a source for, of devices of one kind [B]; None where it has none."""
    return max((cache for cache in map(_cache_of, shipped_gpu_ids(kind)) if cache is not None), default=None)


def _cache_of(gpu_id: str) -> float | None:
    return load_gpu(gpu_id).last_level_cache_bytes


def _warm_s(q: Question, cache_bytes: float) -> Any:
    f = floor_of(_best(q))
    warm = q.split.pp * cache_bytes / q.rates.memory_bytes_per_s
    compute = 0.0 if f.compute_s is None else f.compute_s
    least = np.maximum(np.maximum(np.maximum(f.memory_s - warm, compute), f.network_s), 0.0)
    return float(least) if q.scalar else least


def _best(q: Question) -> Question:
    storage = replace(narrowed(q), sent_bytes=NARROWEST_SENT, state_bits=NARROW_STATE_BITS)
    # Devices that would hold the same keys and values divide their tokens, and exchange what that takes for nothing.
    step, split = replace(q.step, imbalance=1.0, cp=ALL), q.split._replace(cp=1)
    return replace(
        q, step=step, split=split, storage=storage, rates=_fastest(q, storage.cache), routing="min", fusion="ideal",
    )  # fmt: skip


def concessions(q: Question, ctx_known: bool) -> tuple[str, ...]:
    """What the optimistic floor grants beyond the floor, one line each."""
    cache, weights = q.gpu.last_level_cache_bytes, q.storage.weights
    lines = [f"a warm cache of {show_bytes(cache)}" if cache else f"no warm cache: no source gives {q.gpu.id} a last-level cache"]
    if q.model.is_moe and q.routing != "min":
        lines.append("every token at the same experts")
    if everywhere(weights, q.storage.base) is not weights:
        lines.append(f"every tensor in {weights.id}")
    if not q.cache_stated:
        lines.append("a kv cache of 8 bits, as none was named")
    if np.any(q.split.devices > 1):
        lines.append("8 bits an activation on the links")
    if np.any(cache_copies(q.model, q.split.tp) > q.split.cp):
        lines.append("cached tokens divided over the devices that would hold them alike")
    if any(state.bits is not None and state.bits > NARROW_STATE_BITS for b in q.model.blocks for state in b.states):
        lines.append(f"recurrent states of {NARROW_STATE_BITS} bits")
    if not ctx_known:
        lines.append("an empty context, as none was said")
    return tuple(lines)


def narrowed(q: Question) -> Storage:
    """The step's storage with every tensor in the narrow format, and the narrowest cache where none was named."""
    cache = q.storage.cache if q.cache_stated else load_format(NARROWEST_CACHE)
    return replace(q.storage, weights=everywhere(q.storage.weights, q.storage.base), cache=cache)


@lru_cache(maxsize=256)
def everywhere(weights: NumberFormat, base: NumberFormat) -> NumberFormat:
    """A narrow format as if it covered every tensor; itself where it does, or where the bits of each part are known."""
    classes = get_args(TensorClass)
    if weights.class_bits or weights.bits_per_weight >= base.bits_per_weight or all(map(weights.covering, classes)):
        return weights
    return weights.model_copy(update={"covers": ("linear", "experts", *get_args(StoredPart))})


def _fastest(q: Question, cache: NumberFormat) -> Rates:
    """The rates with every product at the fastest sourced rate of a format it may run in, 16-bit formats included."""
    if q.rates.ceiling is None:
        return q.rates
    ceiling = q.rates.ceiling
    products = max(ceiling["weights"], ceiling["rest"], *(q.gpu.ceiling(c) or 0.0 for c in SIXTEEN))
    scores = max(products, ceiling["attention"], q.gpu.ceiling(cache.compute) or 0.0)
    faster: dict[Role, float] = {"weights": products, "rest": products, "attention": scores, "index": max(ceiling["index"], scores)}
    return replace(q.rates, ceiling=faster)
