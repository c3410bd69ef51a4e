"""The optimistic floor: the least time that the inputs allow. Only a time below it is impossible.

Every assumption is at its optimistic end: the last-level cache still holds as much as it can, tokens choose the
fewest experts, every tensor has the narrow format, the KV cache is 8-bit unless given and its tokens are divided
over all devices that would hold the same ones, experts are whole or divided, recurrent states have 16 bits,
activations are sent in 8 bits, cards that may have a bridge have it, and products run at the fastest rate of any
format that may compute them. The given model, batch, context and weight format are kept.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache, partial
from typing import Any, get_args

import numpy as np

from sol.answers.floor.floor import floor_of
from sol.answers.floor.strictness import NARROW_STATE_BITS
from sol.answers.question.ask import Question
from sol.answers.question.formats import SIXTEEN
from sol.physics.network.pricing import priced
from sol.physics.time.roofline import Rates
from sol.sources.database.database import load_format, load_gpu, shipped_gpu_ids
from sol.specs.formats import NumberFormat, StoredPart, TensorClass
from sol.specs.hardware import DeviceKind
from sol.specs.split import Split, cache_copies
from sol.specs.step import Role, Storage
from sol.units import show_bytes

NARROWEST_CACHE = "fp8"
NARROWEST_SENT = 1.0
"""Bytes of an activation on a link: TensorRT-LLM's all-reduce over PCIe sends 8 bits."""
ALL = 2**20
"""More devices than ever hold the same keys and values."""


def optimistic_s(q: Question) -> Any:
    """The optimistic floor [s], of a point or of each point of a sweep: never above its floor.

    Bytes that the last-level cache can hold from the previous step are not read again: max(0, moved − cache)/B, with a cache per stage.
    """
    return _least_s(q, q.gpu.last_level_cache_bytes or 0.0)


def unsure_s(q: Question) -> Any:
    """The optimistic floor [s] of a device whose last-level cache no source gives, if it had the largest one known of its kind.

    What is faster than the optimistic floor and not than this is neither possible nor impossible: nobody can tell. None where the
    device's cache is known. Where no device of its kind has a sourced cache, one may hold all of it.
    """
    if q.gpu.last_level_cache_bytes is not None:
        return None
    largest = largest_cache_bytes(q.gpu.kind)
    return _least_s(q, np.inf if largest is None else largest)


@lru_cache(maxsize=8)
def largest_cache_bytes(kind: DeviceKind) -> float | None:
    """The largest last-level cache that the database has a source for, of devices of one kind [B]; None where it has none."""
    return max((cache for cache in map(_cache_of, shipped_gpu_ids(kind)) if cache is not None), default=None)


def _cache_of(gpu_id: str) -> float | None:
    return load_gpu(gpu_id).last_level_cache_bytes


def _least_s(q: Question, cache_bytes: float) -> Any:
    least = _warm_s(q, q.split, cache_bytes)
    if q.model.is_moe and np.any(q.split.tp * q.split.dp > q.split.ep):  # whole experts lie closer in their blocks of a format
        least = np.minimum(least, _warm_s(q, q.split._replace(ep=q.split.tp * q.split.dp), cache_bytes))
    return float(least) if q.scalar else least


def _warm_s(q: Question, split: Split, cache_bytes: float) -> Any:
    f = floor_of(_best(q, split))
    warm = q.split.pp * cache_bytes / q.rates.memory_bytes_per_s
    compute = 0.0 if f.compute_s is None else f.compute_s
    return np.maximum(np.maximum(np.maximum(f.memory_s - warm, compute), f.network_s), 0.0)


def _best(q: Question, split: Split) -> Question:
    storage = replace(narrowed(q), sent_bytes=NARROWEST_SENT, state_bits=NARROW_STATE_BITS)
    # Devices that would hold the same keys and values divide their tokens, and exchange what that takes for nothing.
    step, split = replace(q.step, imbalance=1.0, cp=ALL), split._replace(cp=1)
    return replace(
        q, step=step, split=split, storage=storage, rates=_bridged(q, _fastest(q, storage.cache)), routing="min", fusion="ideal",
    )  # fmt: skip


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
    if np.any(q.split.devices > 1):
        lines.append("activations sent in 8 bits")
    if q.bridged is not None:
        lines.append(f"cards joined by {q.bridged.levels[0].id}, because no link was given")
    if np.any(cache_copies(q.model, q.split.tp) > q.split.cp):
        lines.append("cached tokens divided over the devices that would hold the same ones")
    if any(state.bits is not None and state.bits > NARROW_STATE_BITS for b in q.model.blocks for state in b.states):
        lines.append(f"{NARROW_STATE_BITS}-bit recurrent states")
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


def _bridged(q: Question, rates: Rates) -> Rates:
    """The rates over the bridge that these cards may have, where none was named."""
    return rates if q.bridged is None else replace(rates, network=partial(priced, links=q.bridged))


def _fastest(q: Question, cache: NumberFormat) -> Rates:
    """The rates, with every product at the fastest sourced rate of the formats it may run in, 16-bit formats included."""
    if q.rates.ceiling is None:
        return q.rates
    ceiling = q.rates.ceiling
    products = max(ceiling["weights"], ceiling["rest"], *(q.gpu.ceiling(c) or 0.0 for c in SIXTEEN))
    scores = max(products, ceiling["attention"], q.gpu.ceiling(cache.compute) or 0.0)
    faster: dict[Role, float] = {"weights": products, "rest": products, "attention": scores, "index": max(ceiling["index"], scores)}
    return replace(q.rates, ceiling=faster)
