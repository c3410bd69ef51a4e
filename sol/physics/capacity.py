"""How many bytes must fit: weights as stored, the KV cache of every sequence, activations of a step.

Capacity holds every expert and the input table, read or not. Activations are those of an engine that
runs long prompts in chunks of `CHUNK_TOKENS`; an engine's own profiled figure differs.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from sol.physics.cache import kv_bytes
from sol.physics.operators import Amount
from sol.specs.model import Model, MoE
from sol.specs.step import Array, Step, Storage

CHUNK_TOKENS = 2048.0
ACT, LOGIT = 2.0, 4.0  # bytes per activation and per logit (fp32)


@lru_cache(maxsize=1024)
def resident_weight_bytes(model: Model, storage: Storage) -> float:
    """Bytes of all stored parameters [B]: every expert, the input table, and the head unless it is tied."""
    d = model.hidden
    elements = {"embedding": model.embedding_elements, "norm": model.final_norm_elements}
    elements["lm_head"] = 0 if model.tied_embeddings else model.lm_head_elements
    for name in ("linear", "experts", "router", "bias"):
        elements[name] = 0
    for group in model.groups:
        att, ffn, n = group.attention, group.ffn, group.count
        elements["linear"] += n * (att.qkv_weights(d) + att.o_weights(d))
        elements["bias"] += n * sum(att.bias_elements(d))
        elements["norm"] += n * group.norm_elements(d)
        if isinstance(ffn, MoE):
            elements["router"] += n * ffn.router_weights(d)
            elements["experts"] += n * ffn.experts * ffn.expert_weights(d)
        else:
            elements["linear"] += n * (ffn.up_weights(d) + ffn.down_weights(d))
            elements["bias"] += n * sum(ffn.bias_elements(d))
    return sum(count * storage.of(name).bytes_per_weight for name, count in elements.items())


def activation_bytes(model: Model, step: Step) -> Array:
    """Bytes of activations alive at once, and of the logits [B].

    T·(2d + max(h·dk + k·(dk+dv), 2f, 2·top_k·f_e))·2 + R·V·4 with T the tokens of one chunk.
    """
    tokens = step.batch * step.new_tokens
    chunk = np.minimum(tokens, np.maximum(step.batch, CHUNK_TOKENS))
    widest = 0
    for group in model.groups:
        ffn = group.ffn
        through = 2 * ffn.experts_per_token * ffn.expert_ffn if isinstance(ffn, MoE) else (2 if ffn.gated else 1) * ffn.ffn
        widest = max(widest, group.attention.q_width + group.attention.kv_width, through)
    rows = {"last": step.batch, "all": chunk, "none": 0.0 * step.batch}[step.logits]
    return chunk * ((2 * model.hidden + widest) * ACT) + rows * (model.vocab * LOGIT)


def resident_bytes(model: Model, step: Step, storage: Storage) -> tuple[float, Array, Array]:
    """Weights, KV cache after the step, activations [B]; their sum must fit."""
    held: Amount = step.batch * kv_bytes(model, step.past_tokens + step.new_tokens, storage.cache)
    return resident_weight_bytes(model, storage), np.asarray(held), activation_bytes(model, step)
