"""The optimistic floor: the least time that the inputs allow. Only a time below it is impossible.

Every assumption is at its optimistic end: the last-level cache still holds as much as it can, tokens choose the
fewest experts, every tensor has the narrow format, the KV cache is 8-bit unless given, and products run at the
fastest rate of any format that may compute them. The given model, batch, context and weight format are kept.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any, get_args

import numpy as np

from sol.answers.floor.floor import floor_of
from sol.answers.question.ask import Question
from sol.answers.question.formats import SIXTEEN
from sol.physics.time.roofline import Rates
from sol.sources.database.database import load_format
from sol.specs.formats import NumberFormat, StoredPart, TensorClass
from sol.specs.step import Role, Storage
from sol.units import show_bytes

NARROWEST_CACHE = "fp8"


def optimistic_s(q: Question) -> Any:
    """The optimistic floor [s], of a point or of each point of a sweep: never above its floor.

    Bytes that the last-level cache can hold from the previous step are not read again: max(0, moved − cache)/B, with a cache per stage.
    """
    storage = narrowed(q)
    best = replace(q, step=replace(q.step, imbalance=1.0), storage=storage, rates=_fastest(q, storage.cache), routing="min", fusion="ideal")
    f = floor_of(best)
    warm = q.split.pp * (q.gpu.last_level_cache_bytes or 0.0) / q.rates.memory_bytes_per_s
    compute = 0.0 if f.compute_s is None else f.compute_s
    least = np.maximum(np.maximum(np.maximum(f.memory_s - warm, compute), f.network_s), 0.0)
    return float(least) if q.scalar else least


def concessions(q: Question, ctx_known: bool) -> tuple[str, ...]:
    """The assumptions by which the optimistic floor is below the floor, one line each."""
    cache, weights = q.gpu.last_level_cache_bytes, q.storage.weights
    lines = [f"a warm cache of {show_bytes(cache)}" if cache else f"no warm cache: no source gives {q.gpu.id} a last-level cache"]
    if q.model.is_moe and q.routing != "min":
        lines.append("every token at the same experts")
    if everywhere(weights, q.storage.base) is not weights:
        lines.append(f"every tensor in {weights.id}")
    if not q.cache_stated:
        lines.append("an 8-bit kv cache, because no format was given")
    if not ctx_known:
        lines.append("an empty context, because none was given")
    return tuple(lines)


def narrowed(q: Question) -> Storage:
    """The step's storage with every tensor in the narrow format, and the narrowest cache format if none was given."""
    cache = q.storage.cache if q.cache_stated else load_format(NARROWEST_CACHE)
    return replace(q.storage, weights=everywhere(q.storage.weights, q.storage.base), cache=cache)


@lru_cache(maxsize=256)
def everywhere(weights: NumberFormat, base: NumberFormat) -> NumberFormat:
    """A narrow format as if it covered every tensor; the format itself if it does, or if the bits of each part are known."""
    classes = get_args(TensorClass)
    if weights.class_bits or weights.bits_per_weight >= base.bits_per_weight or all(map(weights.covering, classes)):
        return weights
    return weights.model_copy(update={"covers": ("linear", "experts", *get_args(StoredPart))})


def _fastest(q: Question, cache: NumberFormat) -> Rates:
    """The rates, with every product at the fastest sourced rate of the formats it may run in, 16-bit formats included."""
    if q.rates.ceiling is None:
        return q.rates
    ceiling = q.rates.ceiling
    products = max(ceiling["weights"], ceiling["rest"], *(q.gpu.ceiling(c) or 0.0 for c in SIXTEEN))
    scores = max(products, ceiling["attention"], q.gpu.ceiling(cache.compute) or 0.0)
    faster: dict[Role, float] = {"weights": products, "rest": products, "attention": scores, "index": max(ceiling["index"], scores)}
    return replace(q.rates, ceiling=faster)
