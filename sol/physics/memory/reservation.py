"""Bytes that an engine reserves for the cache, in contrast to the bytes that its sequences need.

    pool = f·M − W − A − N − G  (total)   f·(M − N) − W  (static)   f·(M − W − A − N)  (free)   Σ whole blocks asked  (asked)

with M the memory that the runtime counts, W weights as loaded, A the activations of the step that the engine measures, N its
own memory, G its graphs, and f its memory fraction. The pool is divided into blocks, and a sequence takes whole blocks.
Of a pipeline's stages, the one with the fewest tokens sets how many there are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sol.physics.memory import profiling
from sol.physics.memory.cache import kv_bytes, state_bytes
from sol.physics.operators.operator import Amount
from sol.specs.engines import Budget, Engine
from sol.specs.model import ModelPart
from sol.specs.quantities import Array, Flags
from sol.specs.split import Split
from sol.specs.step import Storage


@dataclass(frozen=True, eq=False)
class Taken:
    """What one stage holds before the pool [B]: weights as loaded, activations of the measured step, the engine's own, graphs.

    `share` is the part of all layers that the stage has [1].
    """

    weights: Amount
    activations: Array
    runtime: Amount
    graphs: Amount
    share: Amount = 1.0


@dataclass(frozen=True, eq=False)
class Reservation:
    """What an engine holds: `kv_bytes` of pool [B], `kv_tokens` in whole blocks [token], `max_batch` sequences
    it holds at once [1], `wasted_bytes` that the last blocks of the sequences asked for leave empty [B],
    `budget_bytes` left for the pool, negative where there is nothing left [B], `state_blocks` where
    layers with states share the pool [1], `taken` before it, and whether the engine `starts`."""

    kv_bytes: Array
    kv_tokens: Array
    max_batch: Array
    wasted_bytes: Array
    budget_bytes: Array
    state_blocks: Array | None
    taken: Taken
    starts: Flags


def cache_budget(
    budget: Budget, fraction: float, memory_bytes: float, weight_bytes: Amount, activation_bytes: Array, runtime_bytes: Amount = 0.0
) -> Array:
    """Bytes an engine leaves for the cache [B]; negative where weights and activations alone are more than its share.

    `runtime_bytes`: its own memory, and graphs where it takes them off.

    >>> cache_budget("total", 0.9, 80e9, 16e9, np.array([1e9])) / 1e9
    array([55.])
    """
    if budget == "total":
        return fraction * memory_bytes - weight_bytes - activation_bytes - runtime_bytes
    if budget == "static":
        return fraction * (memory_bytes - runtime_bytes) - weight_bytes + 0.0 * activation_bytes
    return fraction * (memory_bytes - weight_bytes - activation_bytes - runtime_bytes)


def reservation(
    engine: Engine, fraction: float, model: ModelPart, storage: Storage, ctx: Array, batch: Array, memory_bytes: float,
    stages: tuple[Taken, ...], split: Split, step_tokens: Array, seqs: float,
) -> Reservation:  # fmt: skip
    """The pool of an engine on the device that has the least room, and how many sequences of `ctx` tokens it holds.

    A sequence takes ⌈ctx/block⌉ blocks, at least one, and its recurrent states. Tokens of the pool are those
    below every window; a layer with a window is charged that window. A model without a cache has no tokens
    of it: its pool holds states. `step_tokens`, `seqs`: tokens and sequences of the step that the engine measures.
    """
    each = [_reserved(engine, fraction, model, storage, ctx, batch, memory_bytes, taken, split, step_tokens, seqs) for taken in stages]
    if len(each) == 1:
        return each[0]
    rooms = [r.kv_bytes * -1.0 if engine.budget == "asked" else r.kv_tokens for r in each]  # what is asked for counts where it is most
    if not np.any(rooms):
        rooms = [r.max_batch for r in each]
    least = np.argmin(np.stack(np.broadcast_arrays(*rooms)), axis=0)

    def of_least(*values: Amount) -> Array:
        found = np.broadcast_arrays(least, *values)[1:]
        taken: Array = np.take_along_axis(np.stack(found), np.broadcast_to(least, found[0].shape)[None], axis=0)[0]
        return taken

    first, before = each[0], [r.taken for r in each]
    return Reservation(
        of_least(*(r.kv_bytes for r in each)), of_least(*(r.kv_tokens for r in each)), of_least(*(r.max_batch for r in each)),
        of_least(*(r.wasted_bytes for r in each)), of_least(*(r.budget_bytes for r in each)),
        None if first.state_blocks is None else of_least(*(r.state_blocks for r in each if r.state_blocks is not None)),
        Taken(*(of_least(*(getattr(t, name) for t in before)) for name in ("weights", "activations", "runtime", "graphs", "share"))),
        np.logical_and.reduce(np.broadcast_arrays(*(r.starts for r in each))),
    )  # fmt: skip


def _reserved(
    engine: Engine, fraction: float, model: ModelPart, storage: Storage, ctx: Array, batch: Array, memory_bytes: float, taken: Taken,
    split: Split, step_tokens: Array, seqs: float,
) -> Reservation:  # fmt: skip
    block, cp, share = engine.block_tokens, split.cp, taken.share
    blocks = np.maximum(np.ceil(ctx / block), 1.0) * block
    cached = profiling.allocated_bytes(engine, model, ctx, storage, step_tokens, cp) * share
    wasted = batch * (kv_bytes(model, blocks, storage.cache, cp) - kv_bytes(model, ctx, storage.cache, cp)) * share
    each = cached + state_bytes(model, storage) * share
    own = taken.runtime + taken.graphs
    room = cache_budget(engine.budget, fraction, memory_bytes, taken.weights, taken.activations, own)
    left = np.maximum(room, 0.0)
    most = np.floor(left / each)
    if engine.budget == "asked":
        return Reservation(batch * each, batch * blocks, most, wasted, room, None, taken, most >= batch)
    token = kv_bytes(model, np.array([1.0]), storage.cache) / cp * share
    held, tokens = left, 0.0 * left
    if np.all(token > 0):
        tokens = np.floor(left / (block * token)) * block
        held = tokens * token
        most = np.floor(held / each)
    states = profiling.state_blocks(model, storage, held / share, block) if engine.counts_states else None
    starts = held > 0 if engine.needs == "a token" else held >= each
    if states is not None:
        starts = starts & (states >= seqs)
    return Reservation(held, tokens, most, wasted, room, states, taken, starts)
