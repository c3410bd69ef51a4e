"""Bytes that an engine reserves for the cache, in contrast to the bytes that its sequences need.

    pool = f·M − W − A  (total)    f·M − W  (static)    f·(M − W − A)  (free)    Σ whole blocks asked  (asked)

with M the device's memory, W weights, A activations, f the engine's memory fraction. The pool is divided into blocks,
and a sequence takes whole blocks. Not counted: the runtime's memory, CUDA graphs, fragmentation. A real pool is
smaller by them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sol.physics.memory.cache import kv_bytes, state_bytes
from sol.physics.operators.operator import Amount
from sol.specs.engines import Budget, Engine
from sol.specs.model import ModelPart
from sol.specs.parts import Count
from sol.specs.quantities import Array
from sol.specs.step import Storage


@dataclass(frozen=True, eq=False)
class Reservation:
    """What an engine holds: `kv_bytes` of pool [B], `kv_tokens` in whole blocks [token], `max_batch` sequences
    it holds at once [1], `wasted_bytes` that the last blocks of the sequences asked for leave empty [B]."""

    kv_bytes: Array
    kv_tokens: Array
    max_batch: Array
    wasted_bytes: Array


def cache_budget(budget: Budget, fraction: float, memory_bytes: float, weight_bytes: Amount, activation_bytes: Array) -> Array:
    """Bytes an engine leaves for the cache [B]; never below zero.

    >>> cache_budget("total", 0.9, 80e9, 16e9, np.array([1e9])) / 1e9
    array([55.])
    """
    if budget == "total":
        room = fraction * memory_bytes - weight_bytes - activation_bytes
    elif budget == "static":
        room = fraction * memory_bytes - weight_bytes + 0.0 * activation_bytes
    else:
        room = fraction * (memory_bytes - weight_bytes - activation_bytes)
    return np.maximum(room, 0.0)


def reservation(
    engine: Engine, fraction: float, model: ModelPart, storage: Storage, ctx: Array, batch: Array, memory_bytes: float,
    weight_bytes: Amount, activation_bytes: Array, cp: Count = 1,
) -> Reservation:  # fmt: skip
    """The pool of an engine on one device, and how many sequences of `ctx` tokens it holds.

    A sequence takes ⌈ctx/block⌉ blocks, at least one, and its recurrent states. Tokens of the pool are those
    below every window; a layer with a window is charged that window. A model without a cache has no tokens
    of it: its pool holds states.
    """
    block = engine.block_tokens
    blocks = np.maximum(np.ceil(ctx / block), 1.0) * block
    cached = kv_bytes(model, blocks, storage.cache, cp)
    wasted = batch * (cached - kv_bytes(model, ctx, storage.cache, cp))
    each = cached + state_bytes(model, storage)
    room = cache_budget(engine.budget, fraction, memory_bytes, weight_bytes, activation_bytes)
    if engine.budget == "asked":
        return Reservation(batch * each, batch * blocks, np.floor(room / each), wasted)
    token = kv_bytes(model, np.array([1.0]), storage.cache).item() / cp
    if not token:
        return Reservation(room, 0.0 * room, np.floor(room / each), wasted)
    tokens = np.floor(room / (block * token)) * block
    return Reservation(tokens * token, tokens, np.floor(tokens * token / each), wasted)
