"""How many bytes must fit: weights as stored, the KV cache of every sequence, activations of a step.

Capacity holds every expert and the input table, read or not. Activations are those of an engine that
runs long prompts in chunks of `CHUNK_TOKENS`; an engine's own profiled figure differs.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from sol.physics.cache import kv_bytes
from sol.physics.operators import Amount, expert_bytes, qkv_bytes
from sol.specs.model import Model, MoE
from sol.specs.step import Array, Step, Storage

CHUNK_TOKENS = 2048.0
ACT, LOGIT = 2.0, 4.0  # bytes per activation and per logit (fp32)


@lru_cache(maxsize=1024)
def resident_weight_bytes(model: Model, storage: Storage) -> float:
    """Bytes of all stored parameters [B]: every expert, the input table, and the head unless it is tied."""
    d, per = model.hidden, storage.bytes_per_weight
    head = model.lm_head_elements * per("lm_head", d)  # a tied table is stored as the head is
    table = 0.0 if model.tied_embeddings else model.embedding_elements * per("embedding", d)
    total = table + head + model.final_norm_elements * per("norm", 1)
    for group in model.groups:
        att, ffn = group.attention, group.ffn
        biases = sum(att.bias_elements(d))
        layer = qkv_bytes(att, d, storage) + att.o_weights(d) * per("o_proj", att.q_width) + group.norm_elements(d) * per("norm", 1)
        if isinstance(ffn, MoE):
            layer += ffn.router_weights(d) * per("router", d) + ffn.experts * expert_bytes(ffn, d, storage)
        else:
            layer += ffn.up_weights(d) * per("up_proj", d) + ffn.down_weights(d) * per("down_proj", ffn.ffn)
            biases += sum(ffn.bias_elements(d))
        total += group.count * (layer + biases * per("bias", 1))
    return total


def activation_bytes_per_token(model: Model) -> float:
    """Bytes of activations one token of a step keeps alive: (2d + max(h·dk + k·(dk+dv), 2f, 2·top_k·f_e))·2 [B]."""
    widest = 0
    for group in model.groups:
        ffn = group.ffn
        through = 2 * ffn.experts_per_token * ffn.expert_ffn if isinstance(ffn, MoE) else (2 if ffn.gated else 1) * ffn.ffn
        widest = max(widest, group.attention.q_width + group.attention.kv_width, through)
    return (2 * model.hidden + widest) * ACT


def logit_bytes_per_row(model: Model) -> float:
    """Bytes of one row of logits in fp32 [B]."""
    return model.vocab * LOGIT


def activation_bytes(model: Model, step: Step) -> Array:
    """Bytes of activations alive at once in one step, and of its logits [B].

    T·(per token) + R·V·4 with T the tokens of one chunk and R the rows of logits.
    """
    tokens = step.batch * step.new_tokens
    chunk = np.minimum(tokens, np.maximum(step.batch, CHUNK_TOKENS))
    rows = {"last": step.batch, "all": chunk, "none": 0.0 * step.batch}[step.logits]
    return chunk * activation_bytes_per_token(model) + rows * logit_bytes_per_row(model)


def max_batch(model: Model, storage: Storage, ctx: Array, capacity_bytes: float, step_tokens: float) -> Array:
    """The most sequences of `ctx` tokens that fit [1]: weights, their caches, and a step of `step_tokens` tokens or one per sequence."""
    free = capacity_bytes - resident_weight_bytes(model, storage)
    per_token = activation_bytes_per_token(model)
    each = kv_bytes(model, ctx, storage.cache) + logit_bytes_per_row(model)
    few = np.floor((free - step_tokens * per_token) / each)
    many = np.floor(free / (each + per_token))
    return np.maximum(np.where(few <= step_tokens, few, np.maximum(many, np.floor(step_tokens))), 0.0)


def resident_bytes(model: Model, step: Step, storage: Storage) -> tuple[float, Array, Array]:
    """Weights, KV cache after the step, activations [B]; their sum must fit."""
    held: Amount = step.batch * kv_bytes(model, step.past_tokens + step.new_tokens, storage.cache)
    return resident_weight_bytes(model, storage), np.asarray(held), activation_bytes(model, step)
