"""What an operator costs beyond its compulsory bytes: activations through memory, and kernel launches.

Three styles. `ideal`: everything between operators stays on chip (nothing here is charged).
`kernel`: one fused kernel per operator reads its input and writes its output, attention keeps its
scores on chip. `eager`: every elementwise operation is a pass of its own and attention writes its
scores, as eager PyTorch runs a Hugging Face decoder: 48 kernels per layer (64 with query and key
norms) and 23 outside the layers. Activations are 16-bit; eager norms and softmax run in fp32.

The floor never sees this page; the serial floor and the rows do.
"""

from __future__ import annotations

from typing import NamedTuple

from sol.specs.model import MLP, Attention, MoE
from sol.specs.step import Array, Fusion, Step

ACT = 2.0  # bytes per activation
# A Hugging Face RMSNorm, pass by pass (read + written bytes per element): to fp32 2+4, square 4+4, mean 4, rsqrt –,
# scale 4+4, to 16 bits 4+2, times weight 2+2. Eight launches.
EAGER_NORM_BYTES, EAGER_NORM_KERNELS = 36.0, 8
EAGER_ADD_BYTES = 3 * ACT  # a residual add reads two and writes one
# Scores, pass by pass: written 2, scaled 2+2, masked 2+2, softmax in fp32 2+4, back to 16 bits 4+2, read 2.
EAGER_SCORE_BYTES = 24.0
# Rotary, elements moved per rotated element: x·cos 2, negate half 1, concatenate 2, ·sin 2, add 3.
EAGER_ROPE_PASSES = 10


class Cost(NamedTuple):
    """Activation bytes [B] and launches [1] of one operator in one layer."""

    activation_bytes: Array | float
    kernels: int


FREE = Cost(0.0, 0)


class AttentionCosts(NamedTuple):
    """Costs of the attention block's operators."""

    qkv_proj: Cost
    rope: Cost
    attention: Cost
    o_proj: Cost


class MLPCosts(NamedTuple):
    """Costs of the feed-forward block's operators."""

    up: Cost
    activation: Cost
    down: Cost


class ExpertCosts(NamedTuple):
    """Costs of the mixture-of-experts operators."""

    router: Cost
    experts: Cost


def embedding(style: Fusion, hidden: int, tokens: Array) -> Cost:
    """The looked-up rows written; eager also prepares positions, rotary tables and the mask."""
    if style == "ideal":
        return FREE
    return Cost(tokens * (hidden * ACT), 1 if style == "kernel" else 14)


def attention(style: Fusion, att: Attention, hidden: int, step: Step, tokens: Array) -> AttentionCosts:
    """Projections read and write once; eager splits q, k and v, copies the cache and spells out the scores."""
    if style == "ideal":
        return AttentionCosts(FREE, FREE, FREE, FREE)
    q, kv = att.q_width, att.kv_width
    o_proj = Cost(tokens * ((q + hidden) * ACT), 1)
    if style == "kernel":
        return AttentionCosts(
            qkv_proj=Cost(tokens * ((hidden + q + kv) * ACT), 1),
            rope=Cost(tokens * ((2 * q + kv) * ACT), 1),
            attention=Cost(tokens * ((2 * q + kv) * ACT), 1),
            o_proj=o_proj,
        )
    held = step.past_tokens + step.new_tokens
    grown = (step.batch * (2 * kv * ACT)) * held  # the cache is concatenated anew: read and written whole
    # K and V are repeated for every query head and read back; the cache's own read is compulsory and counted elsewhere.
    repeated = (step.batch * (4 * q * ACT if att.kv_heads < att.heads else 0.0)) * held
    scores = (step.batch * (att.heads * EAGER_SCORE_BYTES)) * (step.new_tokens * held)
    rotated = tokens * ((q + kv * 0.5) * EAGER_ROPE_PASSES * ACT)
    return AttentionCosts(
        qkv_proj=Cost(tokens * ((3 * hidden + q + kv) * ACT), 3),
        rope=Cost(rotated + grown, 12),
        attention=Cost(repeated + scores + tokens * (4 * q * ACT), 9),
        o_proj=o_proj,
    )


def mlp(style: Fusion, block: MLP, hidden: int, tokens: Array) -> MLPCosts:
    """Up, activation, down; eager runs gate and up apart and the product after the activation."""
    if style == "ideal":
        return MLPCosts(FREE, FREE, FREE)
    f, wide = block.ffn, (2 if block.gated else 1) * block.ffn
    down = Cost(tokens * ((f + hidden) * ACT), 1)
    if style == "kernel":
        return MLPCosts(Cost(tokens * ((hidden + wide) * ACT), 1), Cost(tokens * ((wide + f) * ACT), 1), down)
    matrices = 2 if block.gated else 1
    passes = 5 if block.gated else 2  # silu reads and writes f; the product reads two and writes one
    return MLPCosts(Cost(tokens * ((matrices * hidden + wide) * ACT), matrices), Cost(tokens * (passes * f * ACT), matrices), down)


def experts(style: Fusion, block: MoE, hidden: int, tokens: Array) -> ExpertCosts:
    """Router logits, then the tokens' copies through gate, up, activation and down of their experts."""
    if style == "ideal":
        return ExpertCosts(FREE, FREE)
    k, f = block.experts_per_token, block.expert_ffn
    router = Cost(tokens * ((hidden + block.experts) * ACT), 1)
    through = hidden + k * (2 * f + 3 * f + f) + k * hidden + k * hidden + hidden  # gemm, activation, gemm, combine
    if style == "kernel":
        return ExpertCosts(router, Cost(tokens * (through * ACT), 4))
    # Eager loops over the experts: gather, three matrices, activation, product, weighting, scatter for each of the E.
    spread = through + k * (3 * hidden + 2 * f)
    return ExpertCosts(Cost(tokens * ((hidden + 4 * block.experts) * ACT), 4), Cost(tokens * (spread * ACT), 8 * block.experts))


def norms(style: Fusion, att: Attention, hidden: int, tokens: Array) -> Cost:
    """Two norms with their residual adds; query and key norms where the model has them."""
    if style == "ideal":
        return FREE
    if style == "kernel":
        extra = 2 * (att.q_width + att.kv_width * 0.5) if att.qk_norm else 0.0
        return Cost(tokens * ((2 * 4 * hidden + extra) * ACT), 3 if att.qk_norm else 2)
    elements, count = 2.0 * hidden, 2
    if att.qk_norm:
        elements, count = elements + att.q_width + att.kv_width * 0.5, 4
    return Cost(tokens * (elements * EAGER_NORM_BYTES + 2 * hidden * EAGER_ADD_BYTES), count * EAGER_NORM_KERNELS + 2)


def final_norm(style: Fusion, hidden: int, tokens: Array) -> Cost:
    """The norm before the head."""
    if style == "ideal":
        return FREE
    if style == "kernel":
        return Cost(tokens * (2 * hidden * ACT), 1)
    return Cost(tokens * (hidden * EAGER_NORM_BYTES), EAGER_NORM_KERNELS)


def lm_head(style: Fusion, vocab: int, hidden: int, rows: Array) -> Cost:
    """Hidden rows read, logits written."""
    return FREE if style == "ideal" else Cost(rows * ((hidden + vocab) * ACT), 1)
