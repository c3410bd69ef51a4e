"""What an engine finds taken when it starts: the largest step it measures, its own memory, graphs, and weights as it loads them.

    A = experts + max(forward, sampler)           forward = T·(a_f·f + a_d·d)·2
    experts = T·k·(max(2f_e, d) + max(f_e, d))·2  sampler = c·V·S·4 + 2·T·d·2

with T and S the tokens and sequences of the step, f the widest dense block's part on the device, f_e that of an expert, V the
whole vocabulary, and a_f, a_d, c fitted to what engines log. A stage of a pipeline without the head does not sample.
"""

from __future__ import annotations

from functools import reduce

import numpy as np

from sol.physics.memory.cache import kv_bytes
from sol.physics.memory.capacity import LOGIT_BYTES, activation_bytes_per_token
from sol.physics.operators.mixers import span_bytes, state_bytes_per_sequence
from sol.physics.operators.operator import ACT_BYTES, Amount
from sol.specs.engines import Engine
from sol.specs.model import ModelPart
from sol.specs.parts import Count
from sol.specs.quantities import Array
from sol.specs.step import Storage


def largest_step(engine: Engine, device: str, memory_bytes: float, ctx: Array) -> tuple[Array, float]:
    """Tokens and sequences of the step an engine measures by its own defaults, on a device of this id and memory [1]."""
    large = engine.large_bytes is None or (memory_bytes >= engine.large_bytes and not device.startswith(engine.small_devices or "\0"))
    tokens = engine.step_tokens if large else engine.small_step_tokens or engine.step_tokens
    seqs = engine.step_seqs if large else engine.small_step_seqs or engine.step_seqs
    step = 0.0 * ctx + (tokens or 0.0)
    if engine.chunked_from is not None:  # shorter contexts are taken in one piece
        step = np.where(ctx <= engine.chunked_from, np.maximum(ctx, step), step)
    return step, seqs or 0.0


def forward_bytes(engine: Engine, model: ModelPart, storage: Storage, tokens: Array) -> tuple[Array, Array]:
    """Bytes alive in the dense layers of a step, and in the buffers of its experts [B]."""
    d = model.hidden
    if engine.alive_hidden is None or engine.alive_ffn is None:  # nothing was fitted: the widest block, as in what is needed
        return tokens * activation_bytes_per_token(model), 0.0 * tokens
    ffn: Amount = reduce(np.maximum, (block.dense_ffn for block in model.blocks), 0)
    forward = tokens * ((engine.alive_ffn * ffn + engine.alive_hidden * d) * ACT_BYTES)
    if not engine.buffers_experts or storage.weights.id in engine.padded_formats:
        return forward, 0.0 * tokens
    routed: Amount = reduce(np.maximum, (block.routed_width(d) for block in model.blocks), 0)
    return forward, tokens * (routed * ACT_BYTES)


def sampler_bytes(engine: Engine, vocab: int, hidden: int, tokens: Array, seqs: Array) -> Array:
    """Bytes alive while a step of so many tokens samples for its sequences: copies of the logits, and what went into the head [B]."""
    if engine.sampler_copies is None:
        return 0.0 * tokens
    return engine.sampler_copies * LOGIT_BYTES * vocab * seqs + 2 * ACT_BYTES * hidden * tokens


def runtime_bytes(engine: Engine, tp: Count, pp: Count) -> Amount:
    """An engine's own memory on a device, what its peers exchange included [B]."""
    alone = engine.runtime_bytes or 0.0
    staged = np.where(np.asarray(pp) > 1, engine.stage_runtime_bytes or alone, alone)
    return np.where(np.asarray(tp) > 1, engine.peer_runtime_bytes or alone, staged)


def graph_bytes(engine: Engine, layers: Amount) -> Amount:
    """What an engine keeps free for its graphs before it makes the pool [B]; 0 where it captures them after."""
    if not engine.deducts_graphs:
        return 0.0 * layers
    return (engine.graph_bytes or 0.0) + (engine.graph_layer_bytes or 0.0) * layers


def padding_bytes(engine: Engine, model: ModelPart, storage: Storage) -> Amount:
    """What rounding the experts' widths up adds to the weights of all layers [B]."""
    if engine.pad_ffn is None or engine.pad_hidden is None or storage.weights.id not in engine.padded_formats:
        return 0.0
    f, d = engine.pad_ffn, engine.pad_hidden
    added: Amount = 0.0
    for group in model.groups:
        for block in group.blocks:
            for m in block.expert_matrices(model.hidden):
                rows, columns = (f, d) if m.tensor == "experts_up" else (d, f)
                wide = (-(-m.rows // rows) * rows) * (-(-m.columns // columns) * columns)
                each = storage.bytes_per_weight(m.tensor, m.columns)
                added = added + (wide - m.weights) * each * (group.count * block.experts_held)
    return added


def allocated_bytes(engine: Engine, model: ModelPart, ctx: Array, storage: Storage, step_tokens: Array, cp: Count = 1) -> Array:
    """Bytes an engine allocates for one sequence of `ctx` tokens of cache [B]: whole blocks, windows with a step where it holds one."""
    block = engine.block_tokens
    blocks = np.maximum(np.ceil(ctx / block), 1.0) * block
    total = kv_bytes(model, blocks, storage.cache, cp)
    if not engine.windows_hold_step:
        return total
    for group in model.groups:
        for part in group.blocks:
            for span in part.cache_spans:
                if span.tokens is not None:
                    held = np.minimum(np.ceil((span.tokens + step_tokens) / block) * block, blocks)
                    extra = np.maximum(held - np.minimum(blocks, float(span.tokens)), 0.0)
                    total = total + extra * (group.count * span_bytes(span, storage.cache))
    return total


def state_blocks(model: ModelPart, storage: Storage, pool_bytes: Array, block_tokens: float) -> Array | None:
    """How many blocks a pool has where layers with recurrent states share it with layers that cache [1]; None for other models.

    A block serves one layer of each kind in turn: as many layers as the rarer kind has, each with a page as large as the states
    of one layer, rounded up to whole blocks of tokens.
    """
    pages, tokens, stateful, cached = [], [], 0, 0
    for group in model.groups:
        for part in group.blocks:
            if part.states:
                pages.append(state_bytes_per_sequence(part, storage))
                stateful += group.count
            for span in part.cache_spans:
                tokens.append(span_bytes(span, storage.cache))
                cached += group.count
    if not pages:
        return None
    page = reduce(np.maximum, pages)
    if tokens:
        unit = block_tokens * reduce(np.maximum, tokens)
        page = np.ceil(page / unit) * unit
    share = min(n for n in (stateful, cached) if n)
    return np.floor(pool_bytes / (page * share))
