"""Bytes that must fit: weights as stored, the KV cache of every sequence, activations of a step.

All experts and the input table are held, whether or not a step reads them. Activations are those of an engine that
runs long prompts in chunks of `CHUNK_TOKENS`; a figure profiled by an engine differs.
"""

from __future__ import annotations

from functools import lru_cache, reduce

import numpy as np

from sol.physics.memory.cache import kv_bytes, state_bytes
from sol.physics.operators.linear import layer_bytes
from sol.physics.operators.operator import ACT_BYTES, Amount, larger, smaller
from sol.specs.model import ModelPart
from sol.specs.parts import Count
from sol.specs.quantities import Array
from sol.specs.step import Step, Storage

CHUNK_TOKENS = 2048.0
LOGIT_BYTES = 4.0  # of one logit (fp32)


@lru_cache(maxsize=1024)
def resident_weight_bytes(model: ModelPart, storage: Storage) -> Amount:
    """Bytes of all stored parameters [B]: every expert, the tables, the head unless it is tied, a tower, layers for prediction ahead."""
    d, per = model.hidden, storage.bytes_per_weight
    head = model.lm_head_elements * per("lm_head", d)  # a tied table is stored as the head is
    table = 0.0 if model.tied_embeddings else model.embedding_elements * per("embedding", d)
    total = table + head + (model.outer_norm_elements + model.scalars) * per("norm", 1)
    total += model.position_elements * per("embedding", d) + (model.vocab * per("bias", 1) if model.head_bias else 0.0)
    total += sum(group.count * layer_bytes(group, d, storage) for group in model.groups)
    total += _ahead(model, storage) + model.tower_parameters * storage.bytes_beside("tower")
    whole: Amount = np.rint(total)  # files hold whole bytes; an average over layers may miss them by a rounding
    return whole if isinstance(whole, np.ndarray) else float(whole)


def _ahead(model: ModelPart, storage: Storage) -> Amount:
    """Bytes of the layers for multi-token prediction: as a checkpoint stores them together, else each matrix by its class."""
    if storage.weights.covering("mtp"):
        return model.mtp_parameters * storage.bytes_beside("mtp")
    layers: Amount = sum(group.count * layer_bytes(group, model.hidden, storage) for group in model.mtp)
    tables: Amount = model.mtp_tables * model.embedding_elements * storage.bytes_per_weight("embedding", model.hidden)
    return layers + tables


@lru_cache(maxsize=1024)
def activation_bytes_per_token(model: ModelPart) -> Amount:
    """Bytes of activations that one token of a step keeps alive: (2d + the widest block)·2 [B]. Symbols: docs/notation.

    Widest: h·dk + k·(dk+dv) of attention, 2f of a dense block, 2·top_k·f_e of experts, a recurrent mixer's inputs.
    """
    widest = reduce(np.maximum, (block.activation_width(model.hidden) for block in model.blocks))
    alive: Amount = (2 * model.hidden + widest) * ACT_BYTES
    return alive


def logit_bytes_per_row(model: ModelPart) -> Amount:
    """Bytes of one row of logits in fp32 [B]."""
    return model.vocab * LOGIT_BYTES


def activation_bytes(model: ModelPart, step: Step) -> Amount:
    """Bytes of activations alive at once in one step, and of its logits [B].

    T·(per token) + R·V·4 with T the tokens of one chunk and R the rows of logits.
    """
    chunk = smaller(step.tokens, larger(step.sequences, CHUNK_TOKENS))
    rows = step.logit_rows if step.beside or step.logits != "all" else chunk
    return chunk * activation_bytes_per_token(model) + rows * logit_bytes_per_row(model)


def max_batch(
    model: ModelPart, storage: Storage, ctx: Array, free_bytes: Amount, step_tokens: float, layers_held: Amount = 1.0, cp: Count = 1
) -> Array:
    """The most sequences of `ctx` tokens that fit into what the weights leave [1]: their caches, and a step of `step_tokens` tokens
    or one per sequence. `layers_held`: the share of the layers whose caches lie here; `cp`: devices that divide their tokens."""
    per_token = activation_bytes_per_token(model)
    each = (kv_bytes(model, ctx, storage.cache, cp) + state_bytes(model, storage)) * layers_held + logit_bytes_per_row(model)
    few = np.floor((free_bytes - step_tokens * per_token) / each)
    many = np.floor(free_bytes / (each + per_token))
    return np.maximum(np.where(few <= step_tokens, few, np.maximum(many, np.floor(step_tokens))), 0.0)
